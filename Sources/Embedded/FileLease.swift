import Foundation
import Synchronization
import Tidemark

/// A lease held as an exclusive lock on a file: the kernel releases it when the process ends, however it ends.
final class FileLease: PipelineLease {
    private let descriptor: Mutex<Int32?>

    /// - Returns: `nil` when the lock is held elsewhere.
    /// - Throws: `TidemarkError.unavailable` when the lock file cannot be made.
    init?(path: String) throws {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw Self.failure("opened", path, errno)
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let reason = errno
            close(descriptor)
            if reason == EWOULDBLOCK { return nil }
            throw Self.failure("locked", path, reason)
        }
        self.descriptor = Mutex(descriptor)
    }

    deinit { release() }

    private static func failure(_ verb: String, _ path: String, _ code: Int32) -> TidemarkError {
        .unavailable("the lock file \(path) cannot be \(verb): \(String(cString: strerror(code)))")
    }

    func release() {
        descriptor.withLock { descriptor in
            if let open = descriptor { close(open) }
            descriptor = nil
        }
    }
}
