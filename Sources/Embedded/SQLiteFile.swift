import Dispatch
import Foundation
import GRDB
import Synchronization
import Tidemark

/// A database file in WAL mode: one connection that writes, and connections that read, opened as needed.
///
/// Readers are connections of their own rather than a GRDB pool's, because a cursor keeps its connection, and
/// its snapshot, from one call to the next.
final class SQLiteFile: Sendable {
    let label: DatabaseLabel
    private let writer: DatabaseQueue
    private let idleReaders = Mutex<[DatabaseQueue]>([])
    private let opening = DispatchQueue(label: "tidemark.sqlite.open")
    /// Keeps a second pipeline out.
    let lock: FileLock
    /// The file that was opened.
    private let identity: FileIdentity?
    private let mustStay: Bool
    private let patience: Patience

    /// Readers kept open while nobody uses them.
    private static let idleReaderLimit = 4

    /// How long the writing connection waits for another program's transaction, unless told otherwise.
    static let defaultWait: Duration = .seconds(10)

    /// The bound of the present wait for a lock, in microseconds.
    private final class Patience: Sendable {
        let microseconds = Atomic<Int>(10_000_000)
    }

    /// Opens the file, creating it when it is missing.
    ///
    /// - Parameter mustStay: whether the file must be the same one as long as this is in use.
    /// - Throws: `TidemarkError.unavailable`, `.transient` when it is locked.
    init(path: String, role: String, mustStay: Bool = false) throws {
        self.mustStay = mustStay
        label = DatabaseLabel(role: role, place: path)
        let patience = Patience()
        self.patience = patience
        let directory = URL(fileURLWithPath: path).deletingLastPathComponent().path
        var isDirectory: ObjCBool = false
        guard FileManager.default.fileExists(atPath: directory, isDirectory: &isDirectory), isDirectory.boolValue
        else {
            throw TidemarkError.unavailable("\(label) cannot be opened: there is no directory \(directory)")
        }
        var configuration = Configuration()
        configuration.label = "tidemark.\(role).writer"
        configuration.journalMode = .wal
        configuration.foreignKeysEnabled = false
        // Short, even sleeps rather than SQLite's growing ones: under writers without a pause the lock is free
        // only for moments.
        let nap: Int = 500
        configuration.busyMode = .callback { attempts in
            guard attempts * nap < patience.microseconds.load(ordering: .relaxed) else { return false }
            usleep(UInt32(nap))
            return true
        }
        do {
            writer = try DatabaseQueue(path: path, configuration: configuration)
            try writer.inDatabase { db in
                // FULL: a commit is on the disk when it returns, also after a power cut. On the source, a clock
                // that fell back below a watermark would hand out the same LSNs again, and the changes under
                // them would be skipped. On the serving side, a watermark is a promise that its changes are kept.
                try db.execute(sql: "PRAGMA synchronous = FULL")
                // After a large transaction the WAL file goes back to 64 MiB.
                try db.execute(sql: "PRAGMA journal_size_limit = 67108864")
                // Room for the inner pages of a staging table of some hundred million rows: 16 MiB.
                try db.execute(sql: "PRAGMA cache_size = -16384")
                // A view of the user's on a projection must not keep its new table from being renamed.
                try db.execute(sql: "PRAGMA legacy_alter_table = ON")
            }
        } catch {
            throw SQLiteFailure.readable(error, in: label)
        }
        lock = FileLock(path: path)
        identity = FileIdentity(path: path)
    }

    /// What is committed to a file that no path leads to any more is lost, and a new connection would open another one.
    ///
    /// - Throws: `TidemarkError.conflict`, which ends the pipeline; the next start opens what is there then.
    func requireInPlace() throws {
        guard mustStay, FileIdentity(path: label.place) != identity else { return }
        throw TidemarkError.conflict(
            """
            \(label) was moved, removed or replaced while it was in use, so nothing is written to it any more; start again \
            when the file is the right one
            """)
    }

    // MARK: Writing

    /// Runs `body` in a transaction that holds the write lock from its start.
    func write<T: Sendable>(
        waiting: Duration = SQLiteFile.defaultWait, _ body: @Sendable @escaping (Database) throws -> T
    ) async throws -> T {
        try await withWriter(waiting: waiting) { db in
            var result: T?
            try db.inTransaction(.immediate) {
                result = try body(db)
                return .commit
            }
            return result!
        }
    }

    /// Runs `body` in such a transaction, or returns `nil` when another program still holds the lock after
    /// `waiting`.
    func writeUnlessBusy<T: Sendable>(
        waiting: Duration, _ body: @Sendable @escaping (Database) throws -> T
    ) async throws -> T? {
        try await withWriter(waiting: waiting) { db in
            do {
                try db.beginTransaction(.immediate)
            } catch let error as DatabaseError where error.resultCode == .SQLITE_BUSY {
                return nil
            }
            do {
                let result = try body(db)
                try db.commit()
                return result
            } catch {
                try? db.rollback()
                throw error
            }
        }
    }

    /// Runs `body` on the writing connection, in no transaction.
    func withWriter<T: Sendable>(
        waiting: Duration = SQLiteFile.defaultWait, _ body: @Sendable @escaping (Database) throws -> T
    ) async throws -> T {
        try requireInPlace()
        let label = label
        let patience = patience
        do {
            return try await writer.writeWithoutTransaction { db in
                let (seconds, attoseconds) = waiting.components
                patience.microseconds.store(
                    Int(seconds) * 1_000_000 + Int(attoseconds / 1_000_000_000_000), ordering: .relaxed)
                return try body(db)
            }
        } catch {
            throw SQLiteFailure.readable(error, in: label)
        }
    }

    // MARK: Reading

    /// Runs `body` on a reading connection, in one snapshot.
    func read<T: Sendable>(_ body: @Sendable @escaping (Database) throws -> T) async throws -> T {
        let reader = try await borrowReader()
        defer { giveBack(reader) }
        do {
            return try await reader.read(body)
        } catch {
            throw SQLiteFailure.readable(error, in: label)
        }
    }

    /// Opens a cursor on a reading connection of its own, in a transaction that the cursor ends.
    func openCursor<Block: Sendable>(
        _ body: @Sendable @escaping (Database) throws -> SQLiteCursor<Block>.Opening
    ) async throws -> SQLiteCursor<Block> {
        try await openCursor(with: { ((), try body($0)) }).1
    }

    /// Opens a cursor, and returns with it what `body` read in the same snapshot.
    func openCursor<Block: Sendable, Value: Sendable>(
        with body: @Sendable @escaping (Database) throws -> (Value, SQLiteCursor<Block>.Opening)
    ) async throws -> (Value, SQLiteCursor<Block>) {
        let reader = try await borrowReader()
        do {
            return try await reader.unsafeRead { db in
                do {
                    try db.execute(sql: "BEGIN DEFERRED")
                    let (value, opening) = try body(db)
                    return (value, SQLiteCursor(opening, on: reader, of: self))
                } catch {
                    if db.isInsideTransaction { try? db.execute(sql: "ROLLBACK") }
                    throw error
                }
            }
        } catch {
            giveBack(reader)
            throw SQLiteFailure.readable(error, in: label)
        }
    }

    func giveBack(_ reader: DatabaseQueue) {
        idleReaders.withLock { idle in
            if idle.count < Self.idleReaderLimit { idle.append(reader) }
        }
    }

    private func borrowReader() async throws -> DatabaseQueue {
        try requireInPlace()
        if let reader = idleReaders.withLock({ $0.popLast() }) { return reader }
        return try await withCheckedThrowingContinuation { continuation in
            opening.async { continuation.resume(with: Result { try self.openReader() }) }
        }
    }

    private func openReader() throws -> DatabaseQueue {
        var configuration = Configuration()
        configuration.label = "tidemark.\(label.role).reader"
        configuration.readonly = true
        configuration.foreignKeysEnabled = false
        configuration.allowsUnsafeTransactions = true
        configuration.busyMode = .timeout(5)
        do {
            return try DatabaseQueue(path: label.place, configuration: configuration)
        } catch {
            throw SQLiteFailure.readable(error, in: label)
        }
    }
}
