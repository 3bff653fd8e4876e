import Foundation
import Synchronization
import Tidemark

/// The folder a demo works in, and what is removed from it afterwards: what the demo made, nothing else.
final class DemoFolder: Sendable {
    let url: URL
    /// Whether the databases stay: when asked for, and always when they were there before.
    let isKept: Bool

    /// Files and folders to remove.
    private let made: [URL]
    /// Whether the user named the folder and the demo made it: it goes too, unless something else came into it.
    private let isNewAndNamed: Bool
    private let isCleared = Mutex(false)

    private static let databases = ["source.db", "serving.db"]

    /// - Parameter path: the folder the user named; `nil` makes one that is removed as a whole.
    /// - Throws: `TidemarkError.unavailable` when it cannot be made.
    init(_ path: String?, keep: Bool) throws {
        let manager = FileManager.default
        let url =
            path.map { URL(filePath: $0) }
            ?? manager.temporaryDirectory.appending(path: "tidemark-demo-\(UUID().uuidString.prefix(8))")
        let isNew = !manager.fileExists(atPath: url.path)
        do {
            try manager.createDirectory(at: url, withIntermediateDirectories: true)
        } catch {
            throw TidemarkError.unavailable("the folder \(url.path) cannot be made: \(FileFailure.reason(error))")
        }
        self.url = url
        let files = Self.databases.flatMap { [$0, $0 + "-wal", $0 + "-shm"] } + ["state"]
        let present = files.filter { manager.fileExists(atPath: url.appending(path: $0).path) }
        isKept = keep || !Set(present).isDisjoint(with: Self.databases)
        made = path == nil ? [url] : files.filter { !present.contains($0) }.map { url.appending(path: $0) }
        isNewAndNamed = isNew && path != nil
    }

    /// Removes what the demo made, unless it is to be kept. Does its work once.
    func clear() {
        let isFirst = isCleared.withLock { isCleared in
            defer { isCleared = true }
            return !isCleared
        }
        guard isFirst, !isKept else { return }
        for file in made where FileManager.default.fileExists(atPath: file.path) {
            do {
                try FileManager.default.removeItem(at: file)
            } catch {
                Console.complaint("\(file.path) could not be removed: \(FileFailure.reason(error))")
            }
        }
        // Only succeeds on an empty folder.
        if isNewAndNamed { rmdir(url.path) }
    }
}
