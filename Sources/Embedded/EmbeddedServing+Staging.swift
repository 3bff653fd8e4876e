import GRDB
import GRDBSQLite
public import Tidemark

extension EmbeddedServing {
    // MARK: Writing

    public func stageSnapshot(
        of capture: Capture, source: String, after watermark: LSN, from changes: any BlockReader<ChangeBatch>
    ) async throws -> StagedSnapshot {
        let attempt = StagingAttempt(.snapshot, capture: capture.instance, source: source, watermark: watermark)
        let end = LSN(high: .max, low: .max)
        let staged = try await stage(
            attempt, capture, LSNWindow(after: watermark, through: end), from: changes
        ) { _, _ in }
        return StagedSnapshot(lsn: staged.last ?? watermark, rows: staged.rows, token: attempt.token)
    }

    public func ingest(
        _ capture: Capture, source: String, window: LSNWindow, commitTime: Timestamp?, snapshot: StagedSnapshot?,
        from reader: any BlockReader<ChangeBatch>
    ) async throws -> Int {
        let attempt = StagingAttempt(
            .changes(after: snapshot), capture: capture.instance, source: source, watermark: window.after)
        let time = now()
        return try await stage(attempt, capture, window, from: reader) { count, db in
            try Self.move(
                capture.instance, window, source, commitTime, rows: (snapshot?.rows ?? 0) + count, at: time, db)
            if snapshot != nil {
                try db.execute(
                    sql: """
                        UPDATE ctl_ingestion_watermarks
                        SET complete_from_lsn = last_ingested_lsn, resync_requested = 0
                        WHERE source_name = ? AND capture_instance = ?
                        """,
                    arguments: [source, capture.instance])
            }
            if window.after == .zero { try Self.voidProjections(of: capture.instance, db) }
        }.rows
    }

    /// Has the projections built in full that consumed the capture before it began anew.
    private static func voidProjections(of capture: String, _ db: Database) throws {
        try db.execute(
            sql: """
                UPDATE ctl_projection_metadata SET status = 'INIT' WHERE projection_name IN (
                    SELECT projection_name FROM ctl_projection_checkpoints
                    WHERE capture_instance = ? AND last_consumed_lsn > ?)
                """,
            arguments: [capture, LSN.zero.blob])
    }

    /// Stages what `reader` hands out, gathered before each transaction.
    ///
    /// - Parameter finish: what the last transaction does after that, told how many rows there were; what it does to the
    ///   watermark gives the staging token up.
    private func stage(
        _ attempt: StagingAttempt, _ capture: Capture, _ window: LSNWindow, from reader: any BlockReader<ChangeBatch>,
        finish: @escaping @Sendable (Int, Database) throws -> Void
    ) async throws -> (rows: Int, last: LSN?) {
        let label = file.label
        let time = now()
        var attempt = attempt
        var rows = 0
        var last: LSN?
        var isAtEnd = false
        while !isAtEnd {
            let gathered = try await pool.gather(from: reader)
            rows += gathered.blocks.reduce(0) { $0 + $1.count }
            last = gathered.blocks.last?.lsns.last ?? last
            var isStaged = false
            while !isStaged {
                let left = try await file.write { [attempt, rows] db in
                    let left = try Self.begin(attempt, capture, db)
                    guard left == nil else { return left }
                    let writer = try StagingWriter(db, capture, ingestedAt: time, in: label)
                    for batch in gathered.blocks { try writer.append(batch, window) }
                    if gathered.isAtEnd { try finish(rows, db) }
                    return nil
                }
                attempt = attempt.begun(clearing: left)
                isStaged = left == nil
            }
            isAtEnd = gathered.isAtEnd
        }
        return (rows, last)
    }

    /// Finds out whether a transaction of an attempt may go ahead, and deletes what an earlier one has left; the write
    /// lock is held.
    ///
    /// - Returns: where more is left than one transaction deletes; `nil` when the rows can be staged.
    private static func begin(_ attempt: StagingAttempt, _ capture: Capture, _ db: Database) throws -> LSN? {
        try requireHistory(of: attempt.source, db)
        switch attempt.decide(try position(of: attempt.capture, attempt.source, db)) {
        case .stop(let error):
            throw error
        case .stage(let clearing):
            try db.cachedStatement(
                sql: """
                    UPDATE ctl_ingestion_watermarks SET staging_token = :token
                    WHERE source_name = :source AND capture_instance = :capture AND staging_token IS NOT :token
                    """
            ).execute(arguments: ["token": attempt.token, "source": attempt.source, "capture": attempt.capture])
            guard let clearing else { return nil }
            let most = BlockLimits.transactionRows
            try db.execute(sql: ServingTables.deleteStaged(capture, rows: most), arguments: [clearing.blob])
            return db.changesCount < most ? nil : clearing
        }
    }

    private static func position(of capture: String, _ source: String, _ db: Database) throws
        -> StagingAttempt.Position?
    {
        let row = try Row.fetchOne(
            db.cachedStatement(
                sql: """
                    SELECT last_ingested_lsn, staging_token FROM ctl_ingestion_watermarks
                    WHERE source_name = ? AND capture_instance = ?
                    """), arguments: [source, capture])
        return try row.map { StagingAttempt.Position(watermark: try $0.lsn(0), token: $0[1]) }
    }

    public func advance(_ moves: [WatermarkMove], source: String, commitTime: Timestamp?) async throws {
        guard !moves.isEmpty else { return }
        let time = now()
        try await file.write { db in
            try Self.requireHistory(of: source, db)
            for move in moves {
                let present = try Self.position(of: move.capture, source, db)
                if let conflict = StagingAttempt.conflict(move, source: source, present) { throw conflict }
                try Self.move(
                    move.capture, move.window, source, commitTime, rows: 0, at: time, db,
                    keepsToken: move.window.isEmpty)
            }
        }
    }

    /// Moves a watermark whose compare was made; the write lock is held.
    private static func move(
        _ capture: String, _ window: LSNWindow, _ source: String, _ commitTime: Timestamp?, rows: Int,
        at time: Timestamp, _ db: Database, keepsToken: Bool = false
    ) throws {
        try db.cachedStatement(
            sql: """
                UPDATE ctl_ingestion_watermarks
                SET last_ingested_lsn = :to, last_commit_time = :commit_time, rows_ingested = rows_ingested + :rows,
                    status = 'OK', last_error = NULL, updated_at = :now\(keepsToken ? "" : ", staging_token = NULL")
                WHERE source_name = :source AND capture_instance = :capture AND last_ingested_lsn = :from
                """
        ).execute(arguments: [
            "to": window.through.blob, "commit_time": commitTime?.description, "rows": rows,
            "now": time.description, "source": source, "capture": capture, "from": window.after.blob,
        ])
    }

    // MARK: Reading

    public func staged(_ capture: Capture, in window: LSNWindow, limits: BlockLimits) async throws
        -> any BlockReader<ChangeBatch>
    {
        let label = file.label
        let last = Last(before: window.after)
        return try await file.openCursor { db in
            let statement = try SQLiteStatement(db, ServingTables.selectStaged(capture), in: label)
            try statement.bind(last.lsn, at: 1)
            try statement.bind(last.commandID, at: 2)
            try statement.bind(last.seqval, at: 3)
            try statement.bind(last.operation, at: 4)
            try statement.bind(window.through, at: 5)
            let decoder = SQLiteRowDecoder(
                table: capture.stagingTable, columns: capture.columns, key: capture.key, first: 4)
            return SQLiteCursor<ChangeBatch>.Opening(statement: statement) { statement in
                let batch = try Self.nextStaged(statement, decoder, capture, limits)
                if let batch { last.move(to: batch) }
                return batch
            }
        }
    }

    /// The last change that was read. Touched by one cursor only, on its connection's queue.
    private final class Last: @unchecked Sendable {
        var lsn: LSN
        var commandID = Int64.max
        var seqval = LSN(high: .max, low: .max)
        var operation = Int64.max

        /// What no change at `lsn` comes after.
        init(before lsn: LSN) { self.lsn = lsn }

        func move(to batch: ChangeBatch) {
            let row = batch.count - 1
            lsn = batch.lsns[row]
            commandID = Int64(batch.commandIDs[row])
            seqval = batch.seqvals[row]
            operation = Int64(batch.operations[row])
        }
    }

    private static func nextStaged(
        _ statement: SQLiteStatement, _ decoder: SQLiteRowDecoder, _ capture: Capture, _ limits: BlockLimits
    ) throws -> ChangeBatch? {
        let pointer = statement.pointer
        let budget = BlockBudget(limits, columns: capture.columns)
        var batch = ChangeBatch(columns: capture.columns, reserving: limits.reservation(for: capture.columns))
        while !budget.isFull(batch.columns, rows: batch.count), try statement.step() {
            guard let lsn = statement.lsn(at: 0), let seqval = statement.lsn(at: 2) else {
                throw TidemarkError.schema("\(capture.stagingTable) holds an LSN that is not 10 bytes long")
            }
            try decoder.decode(pointer, into: &batch.columns, lsn: lsn)
            batch.lsns.append(lsn)
            batch.commandIDs.append(sqlite3_column_int(pointer, 1))
            batch.seqvals.append(seqval)
            batch.operations.append(UInt8(truncatingIfNeeded: sqlite3_column_int(pointer, 3)))
        }
        return batch.isEmpty ? nil : batch
    }
}
