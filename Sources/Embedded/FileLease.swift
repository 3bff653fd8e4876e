import Foundation
import Synchronization
import Tidemark

/// A lease held as an exclusive lock on the database file itself, by whatever path it is reached: the kernel releases it
/// when the process ends, however it ends.
final class FileLease: PipelineLease {
    private let lock: FileLock

    /// - Returns: `nil` when the lock is held elsewhere.
    /// - Throws: `TidemarkError.unavailable` when the file cannot be locked.
    init?(on lock: FileLock) throws {
        guard try lock.acquire() else { return nil }
        self.lock = lock
    }

    deinit { release() }

    func release() { lock.release() }
}

/// A lock on one byte of a database file, far behind its end and behind the bytes SQLite locks.
///
/// It belongs to an open file description (`F_OFD_SETLK`), so that two of one process exclude each other like two of two
/// processes. Ranges that do not touch do not disturb each other, neither on a local disk nor on NFS; a lock on the whole
/// file (`flock`) would be taken for one on SQLite's own bytes on macOS and on NFS.
///
/// The descriptor, one for each serving database a process opens, stays open until the process ends: to close any
/// descriptor of a file drops all locks the process has on it by POSIX's rules, and those are SQLite's
/// (<https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_>).
final class FileLock: Sendable {
    /// SQLite locks bytes from 2^30 on, and a file of its has at most 2^48 (<https://www.sqlite.org/limits.html>).
    private static let offset: Int64 = 1 << 62
    #if canImport(Darwin)
    /// `F_OFD_SETLK` of <sys/fcntl.h>.
    private static let setLock: Int32 = 90
    #else
    private static let setLock: Int32 = 37
    #endif

    private let path: String
    private let state = Mutex(State())

    private struct State {
        var descriptor: Int32?
        var isHeld = false
    }

    init(path: String) { self.path = path }

    /// Returns whether the lock was got; `false` when it is held elsewhere.
    func acquire() throws -> Bool {
        try state.withLock { state in
            guard !state.isHeld else { return false }
            let descriptor = try state.descriptor ?? open()
            state.descriptor = descriptor
            guard set(F_WRLCK, descriptor) else {
                let reason = errno
                if reason == EAGAIN || reason == EACCES { return false }
                throw failure("locked", reason)
            }
            state.isHeld = true
            return true
        }
    }

    func release() {
        state.withLock { state in
            guard state.isHeld, let descriptor = state.descriptor else { return }
            _ = set(F_UNLCK, descriptor)
            state.isHeld = false
        }
    }

    private func open() throws -> Int32 {
        let descriptor = Foundation.open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("opened", errno) }
        return descriptor
    }

    private func set(_ kind: Int32, _ descriptor: Int32) -> Bool {
        var range = flock()
        range.l_type = Int16(kind)
        range.l_whence = Int16(SEEK_SET)
        range.l_start = off_t(Self.offset)
        range.l_len = 1
        return fcntl(descriptor, Self.setLock, &range) == 0
    }

    private func failure(_ verb: String, _ code: Int32) -> TidemarkError {
        .unavailable(
            """
            the database file \(path) cannot be \(verb) for the lease, which keeps a second pipeline out: \
            \(String(cString: strerror(code)))
            """)
    }
}
