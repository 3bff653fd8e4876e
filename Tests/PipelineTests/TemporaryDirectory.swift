import Foundation

/// A directory of its own for one test, removed with the value.
final class TemporaryDirectory: Sendable {
    let path: String

    /// - Parameter isFast: prefers a file system in memory, where a commit does not wait for a disk.
    init(isFast: Bool = false) throws {
        let shared = "/dev/shm"
        let parent =
            isFast && FileManager.default.isWritableFile(atPath: shared) ? shared + "/" : NSTemporaryDirectory()
        path = parent + "tidemark-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { "\(path)/\(name)" }
}
