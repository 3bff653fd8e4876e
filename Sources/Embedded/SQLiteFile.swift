import Dispatch
import Foundation
import GRDB
import GRDBSQLite
import Synchronization
import Tidemark

/// A database file in WAL mode: one connection that writes, and connections that read, opened as needed.
///
/// Readers are connections of their own rather than a GRDB pool's, because a cursor keeps its connection, and
/// its snapshot, from one call to the next.
final class SQLiteFile: Sendable {
    let label: DatabaseLabel
    private let isFollowed: Bool
    private let connections: Mutex<Connections>
    private let opening = DispatchQueue(label: "tidemark.sqlite.open")
    /// Keeps a second pipeline out.
    let lock: FileLock
    private let patience = Patience()

    /// The connections to the file that was at the path when they were opened.
    private struct Connections {
        var file: FileIdentity
        var writer: DatabaseQueue
        var idleReaders: [DatabaseQueue] = []
        /// Counts the files there have been; part of the readers' label.
        var generation = 0
    }

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
    /// - Parameter isFollowed: whether another file that takes its place at the path is opened in its stead, as one put
    ///   back from a backup is. Otherwise it must stay the same one as long as this is in use.
    /// - Throws: `TidemarkError.unavailable`, `.transient` when it is locked.
    init(path: String, role: String, isFollowed: Bool = false) throws {
        label = DatabaseLabel(role: role, place: path)
        self.isFollowed = isFollowed
        let directory = URL(fileURLWithPath: path).deletingLastPathComponent().path
        var isDirectory: ObjCBool = false
        guard FileManager.default.fileExists(atPath: directory, isDirectory: &isDirectory), isDirectory.boolValue
        else {
            throw TidemarkError.unavailable("\(label) cannot be opened: there is no directory \(directory)")
        }
        let writer = try Self.openWriter(label, patience)
        guard let file = FileIdentity(path: path) else {
            throw TidemarkError.unavailable("\(label) cannot be opened: it was removed meanwhile")
        }
        connections = Mutex(Connections(file: file, writer: writer))
        lock = FileLock(path: path)
    }

    private static func openWriter(_ label: DatabaseLabel, _ patience: Patience) throws -> DatabaseQueue {
        var configuration = Configuration()
        configuration.label = "tidemark.\(label.role).writer"
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
            let writer = try DatabaseQueue(path: label.place, configuration: configuration)
            try writer.inDatabase { db in
                // By hand: GRDB's setting writes to a database whose WAL is empty, and nobody has the lease yet.
                let mode = try String.fetchOne(db, sql: "PRAGMA journal_mode = WAL")
                guard mode == "wal" else {
                    throw TidemarkError.unavailable(
                        "\(label) cannot be put into WAL mode (it stays in \(mode ?? "none")); keep it on a local disk")
                }
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
            return writer
        } catch {
            throw SQLiteFailure.readable(error, in: label)
        }
    }

    /// What is committed to a file that no path leads to any more is lost, and a new connection would open another one.
    ///
    /// - Throws: `TidemarkError.conflict`, which ends the pipeline; the next start opens what is there then.
    func requireInPlace() throws {
        try connections.withLock { connections in
            guard FileIdentity(path: label.place) != connections.file else { return }
            Self.leaveWAL(of: connections.writer)
            throw moved
        }
    }

    private var moved: TidemarkError {
        .conflict(
            """
            \(label) was moved, removed or replaced while it was in use, so nothing is written to it any more; start again \
            when the file is the right one
            """)
    }

    /// Has a connection leave the WAL in place when it closes: by now the name is the new file's.
    private static func leaveWAL(of writer: DatabaseQueue) {
        writer.unsafeReentrantWrite { db in
            var isPersistent: Int32 = 1
            _ = sqlite3_file_control(db.sqliteConnection, nil, SQLITE_FCNTL_PERSIST_WAL, &isPersistent)
        }
    }

    /// Opens the file that is at the path now, when it is another one.
    ///
    /// - Throws: `TidemarkError.unavailable` when there is none.
    private func follow() throws {
        guard isFollowed else { return try requireInPlace() }
        guard let present = FileIdentity(path: label.place) else {
            throw TidemarkError.unavailable(
                "\(label) is not there any more: put it back, or point the DSN at where it is now")
        }
        try connections.withLock { connections in
            guard connections.file != present else { return }
            let writer = try Self.openWriter(label, patience)
            Self.leaveWAL(of: connections.writer)
            connections = Connections(
                file: present, writer: writer, generation: connections.generation + 1)
        }
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
        let label = label
        let patience = patience
        do {
            try follow()
            return try await connections.withLock { $0.writer }.writeWithoutTransaction { db in
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

    /// Opens a cursor on a reading connection of its own that holds no snapshot between two blocks.
    ///
    /// - Parameter body: opens the statement where the last block ended; called for each block.
    func openCursor<Block: Sendable>(
        _ body: @Sendable @escaping (Database) throws -> SQLiteCursor<Block>.Opening
    ) async throws -> SQLiteCursor<Block> {
        try await openCursor(resume: body, with: { ((), try body($0)) }).1
    }

    /// Opens a cursor with one snapshot, which it ends, and returns with it what `body` read in the same one.
    func openCursor<Block: Sendable, Value: Sendable>(
        with body: @Sendable @escaping (Database) throws -> (Value, SQLiteCursor<Block>.Opening)
    ) async throws -> (Value, SQLiteCursor<Block>) {
        try await openCursor(resume: nil, with: body)
    }

    private func openCursor<Block: Sendable, Value: Sendable>(
        resume: (@Sendable (Database) throws -> SQLiteCursor<Block>.Opening)?,
        with body: @Sendable @escaping (Database) throws -> (Value, SQLiteCursor<Block>.Opening)
    ) async throws -> (Value, SQLiteCursor<Block>) {
        let reader = try await borrowReader()
        do {
            return try await reader.unsafeRead { db in
                do {
                    try db.execute(sql: "BEGIN DEFERRED")
                    let (value, opening) = try body(db)
                    return (value, SQLiteCursor(opening, resume: resume, on: reader, of: self))
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
        connections.withLock { connections in
            guard reader.configuration.label == readerLabel(connections.generation) else { return }
            if connections.idleReaders.count < Self.idleReaderLimit { connections.idleReaders.append(reader) }
        }
    }

    private func readerLabel(_ generation: Int) -> String { "tidemark.\(label.role).reader.\(generation)" }

    private func borrowReader() async throws -> DatabaseQueue {
        try follow()
        if let reader = connections.withLock({ $0.idleReaders.popLast() }) { return reader }
        return try await withCheckedThrowingContinuation { continuation in
            opening.async { continuation.resume(with: Result { try self.openReader() }) }
        }
    }

    private func openReader() throws -> DatabaseQueue {
        var configuration = Configuration()
        configuration.label = readerLabel(connections.withLock { $0.generation })
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

/// Which file is at a path: another one under the same name has another number.
private struct FileIdentity: Equatable {
    let device: UInt64
    let number: UInt64

    /// - Returns: `nil` when there is none.
    init?(path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        device = UInt64(truncatingIfNeeded: status.st_dev)
        number = UInt64(truncatingIfNeeded: status.st_ino)
    }
}
