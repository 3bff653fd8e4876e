import GRDB
public import Tidemark

/// Writes an embedded source database as an application does: through a connection of its own, with plain SQL.
public final class EmbeddedWriter: SourceWriter {
    private let connection: DatabaseQueue
    private let label: DatabaseLabel

    /// How long a transaction waits for another program's.
    private static let busySeconds = 10.0

    /// Opens the file.
    ///
    /// - Throws: `TidemarkError.unavailable` when it cannot be opened or has no change data capture.
    public init(path: String) async throws {
        label = DatabaseLabel(role: "source", place: path)
        // Opening through `EmbeddedSource` gives its errors, and WAL mode.
        _ = try await EmbeddedSource(path: path).captures()
        var configuration = Configuration()
        configuration.label = "tidemark.load"
        configuration.busyMode = .timeout(Self.busySeconds)
        do {
            connection = try DatabaseQueue(path: path, configuration: configuration)
            // An application's usual choice in WAL mode. The pipeline makes a position durable when it closes it.
            try await connection.writeWithoutTransaction { try $0.execute(sql: "PRAGMA synchronous = NORMAL") }
        } catch {
            throw SQLiteFailure.readable(error, in: label)
        }
    }

    public func write(_ transactions: [[String]]) async throws -> [SourceCommit] {
        do {
            return try await connection.writeWithoutTransaction { db in
                try transactions.map { statements in
                    var clock: Int64 = 0
                    try db.inTransaction(.immediate) {
                        for sql in statements { try db.execute(sql: sql) }
                        // The clock cannot advance while this transaction holds the write lock.
                        clock = try Int64.fetchOne(db.cachedStatement(sql: "SELECT value FROM cdc_clock")) ?? 0
                        return .commit
                    }
                    return SourceCommit(lsn: LSN(clock: clock), committedAt: .now())
                }
            }
        } catch {
            throw SQLiteFailure.readable(error, in: label)
        }
    }

    public func integer(_ sql: String) async throws -> Int64? {
        do {
            return try await connection.read { try Int64.fetchOne($0, sql: sql) }
        } catch {
            throw SQLiteFailure.readable(error, in: label)
        }
    }
}
