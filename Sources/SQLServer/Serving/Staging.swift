import ODBC
import Tidemark

extension BlockCursor.Options {
    /// Blocks as the pipeline wants them.
    init(_ limits: BlockLimits) { self.init(rowsPerBlock: limits.rows, blockBytes: limits.bytes) }
}

/// The transactions of one attempt to stage a window or a snapshot. Used by one task.
final class Staging {
    private let serving: SQLServerServing
    private let table: StagingTable
    private let window: LSNWindow
    private let json: SQLServerBulkInsert.JSONSupport
    private var attempt: StagingAttempt
    private var order: LogOrder
    /// Changes staged, or to be staged by the transaction at hand.
    private(set) var rows = 0
    /// The last LSN of them.
    private(set) var last: LSN?

    init(
        _ serving: SQLServerServing, _ capture: Capture, _ attempt: StagingAttempt, _ window: LSNWindow,
        json: SQLServerBulkInsert.JSONSupport
    ) throws {
        self.serving = serving
        self.attempt = attempt
        self.window = window
        self.json = json
        table = try StagingTable(capture)
        order = LogOrder(capture, window)
    }

    /// Stages what was gathered, in a transaction of its own after as many as it takes to delete what an earlier attempt
    /// has left.
    ///
    /// - Throws: `TidemarkError.conflict` when somebody else has taken over.
    func stage(_ gathered: GatheredBlocks<ChangeBatch>) async throws {
        try note(gathered)
        while true {
            let left = try await serving.database.transaction { [serving, table, attempt, order, json] connection in
                let left = try serving.begin(attempt, table, connection)
                if left == nil { try serving.insert(gathered, table, order, json, connection) }
                return left
            }
            attempt = attempt.begun(clearing: left)
            if left == nil { return }
        }
    }

    /// Stages what was gathered in the attempt's last transaction.
    ///
    /// - Parameters:
    ///   - move: moves the watermark; `false` when it has found, by calling what it is given, that what an earlier attempt has
    ///     left takes more transactions to delete.
    ///   - finish: told how many changes there were in all.
    ///   - isDone: whether a transaction whose COMMIT gave no answer took place.
    func stage(
        _ gathered: GatheredBlocks<ChangeBatch>,
        move: @escaping @Sendable (Connection, () throws -> Bool) throws -> Bool,
        finish: @escaping @Sendable (Int, Connection) throws -> Void,
        isDone: @escaping @Sendable (Connection) throws -> Bool
    ) async throws {
        try note(gathered)
        while true {
            let left: LSN? = try await serving.write(attempts: SQLServerServing.attempts) {
                [serving, table, attempt, order, json, rows] connection in
                var left: LSN?
                let isMoved = try move(connection) {
                    left = try serving.begin(attempt, table, connection)
                    return left == nil
                }
                guard isMoved else { return left }
                try serving.insert(gathered, table, order, json, connection)
                try finish(rows, connection)
                return nil
            } isDone: { connection in
                try isDone(connection)
            }
            guard let left else { return }
            attempt = attempt.begun(clearing: left)
        }
    }

    private func note(_ gathered: GatheredBlocks<ChangeBatch>) throws {
        for batch in gathered.blocks {
            try order.append(batch)
            rows += batch.count
            last = batch.lsns.last ?? last
        }
    }
}

extension SQLServerServing {
    /// Finds out whether a transaction of an attempt may go ahead, and deletes what an earlier one has left. The capture's
    /// row is held from then on.
    ///
    /// - Returns: where more is left than one transaction deletes; `nil` when the rows can be staged.
    func begin(_ attempt: StagingAttempt, _ table: StagingTable, _ connection: Connection) throws -> LSN? {
        let present = try Self.lockPosition(of: attempt.capture, attempt.source, connection)
        // With the row held: whoever notes a mismatch writes it too.
        try Self.requireHistory(of: attempt.source, connection)
        switch attempt.decide(present) {
        case .stop(let error):
            throw error
        case .stage(let clearing):
            try connection.execute(
                """
                UPDATE [dbo].[ctl_ingestion_watermarks] SET staging_token = ?
                WHERE source_name = ? AND capture_instance = ?
                """, [.string(attempt.token), .string(attempt.source), .string(attempt.capture)])
            guard let clearing else { return nil }
            return try empty(table, beyond: clearing, connection) ? nil : clearing
        }
    }

    /// Deletes rows beyond an LSN: all of them at once when the login may, or else some. Returns whether none is left.
    private func empty(_ table: StagingTable, beyond lsn: LSN, _ connection: Connection) throws -> Bool {
        let mayTruncate =
            try lsn == .zero
            && connection.scalar("SELECT HAS_PERMS_BY_NAME(?, N'OBJECT', N'ALTER')", [.string(table.name)]) == .int(1)
        guard !mayTruncate else {
            try connection.execute("TRUNCATE TABLE \(table.name)")
            return true
        }
        let most = BlockLimits.transactionRows
        let deleted = try database.data(connection) {
            try connection.affected(table.delete(rows: most), [.lsn(lsn)])
        }
        return deleted < most
    }

    func insert(
        _ gathered: GatheredBlocks<ChangeBatch>, _ table: StagingTable, _ order: LogOrder,
        _ json: SQLServerBulkInsert.JSONSupport, _ connection: Connection
    ) throws {
        // Most windows are small, and many are empty: the catalog is asked when there is a row.
        guard !gathered.blocks.isEmpty else { return }
        let shape = try shape(of: table, connection)
        let insert = SQLServerBulkInsert(connection, into: table.name, table.columns, json: json)
        let time = now()
        for batch in gathered.blocks {
            do {
                try database.data(connection) { try Self.insert(batch, insert, table, shape, at: time) }
            } catch let error as ODBCError where error.isKeyViolation {
                throw order.duplicate
            }
        }
    }
}
