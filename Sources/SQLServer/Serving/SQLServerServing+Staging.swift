import ODBC
public import Tidemark

extension SQLServerServing {
    public func prepareStaging(for capture: Capture, source: String) async throws {
        let table = try StagingTable(capture)
        let time = now()
        shapes.forget(capture.stagingTable)
        try await database.transaction { connection in
            let other = try connection.query(
                """
                SELECT source_name FROM [dbo].[ctl_ingestion_watermarks]
                WHERE capture_instance = ? AND source_name <> ? AND last_ingested_lsn > CAST(? AS binary(10))
                """, [.string(capture.instance), .string(source), .lsn(.zero)]
            ).rows().first?[0].string
            if let other { throw TidemarkError.stagedUnder(other, instead: source, capture: capture.instance) }
            guard let shape = try ServingTableShape.read(capture.stagingTable, connection) else {
                try connection.execute(table.create)
                return
            }
            guard let misfit = table.misfit(shape) else { return }
            // A table that was never used gives way, such as the sample's when the source has orders of its own.
            let isUsed = try connection.scalar(
                """
                SELECT CASE WHEN EXISTS (SELECT 1 FROM \(table.name))
                    OR EXISTS (
                        SELECT 1 FROM [dbo].[ctl_ingestion_watermarks]
                        WHERE capture_instance = ? AND last_ingested_lsn > CAST(? AS binary(10))
                    ) THEN 1 ELSE 0 END
                """, [.string(capture.instance), .lsn(.zero)]
            ).int64
            guard isUsed == 0 else {
                throw TidemarkError.schema(
                    """
                    \(capture.stagingTable) \(misfit): the captured columns of \(capture.table) are not those it was made \
                    for. Start over with an empty serving database
                    """)
            }
            try connection.execute("DROP TABLE \(table.name)")
            try connection.execute(table.create)
        }
        try await upsert { connection in
            try connection.affected(
                """
                UPDATE [dbo].[ctl_ingestion_watermarks] SET updated_at = updated_at
                WHERE source_name = ? AND capture_instance = ?
                """, [.string(source), .string(capture.instance)])
        } insert: { connection in
            try connection.execute(
                """
                INSERT INTO [dbo].[ctl_ingestion_watermarks]
                    (source_name, capture_instance, last_ingested_lsn, rows_ingested, status, updated_at)
                VALUES (?, ?, ?, 0, N'INIT', ?)
                """, [.string(source), .string(capture.instance), .lsn(.zero), .time(time)])
        }
    }

    // MARK: Staging

    public func stageSnapshot(
        of capture: Capture, source: String, after watermark: LSN, from changes: any BlockReader<ChangeBatch>
    ) async throws -> StagedSnapshot {
        let attempt = StagingAttempt(.snapshot, capture: capture.instance, source: source, watermark: watermark)
        let window = LSNWindow(after: watermark, through: LSN(high: .max, low: .max))
        let staging = try Staging(self, capture, attempt, window, json: await jsonSupport())
        while true {
            let gathered = try await pool.gather(from: changes)
            try await staging.stage(gathered)
            guard !gathered.isAtEnd else { break }
        }
        return StagedSnapshot(lsn: staging.last ?? watermark, rows: staging.rows, token: attempt.token)
    }

    public func ingest(
        _ capture: Capture, source: String, window: LSNWindow, commitTime: Timestamp?, snapshot: StagedSnapshot?,
        from reader: any BlockReader<ChangeBatch>
    ) async throws -> Int {
        let attempt = StagingAttempt(
            .changes(after: snapshot), capture: capture.instance, source: source, watermark: window.after)
        let time = now()
        let staging = try Staging(self, capture, attempt, window, json: await jsonSupport())
        while true {
            let gathered = try await pool.gather(from: reader)
            guard gathered.isAtEnd else {
                try await staging.stage(gathered)
                continue
            }
            try await staging.stage(gathered) { connection, begin in
                // The compare-and-swap comes first: its row lock lets a second pipeline wait, and then see that it lost,
                // before it has written a million rows. It does for most windows, beyond whose watermark nothing is staged.
                let isMoved = try Self.moveUnstaged(
                    capture.instance, window, source, commitTime, at: time, connection)
                if !isMoved {
                    guard try begin() else { return false }
                    try Self.move(capture.instance, window, source, commitTime, at: time, connection)
                }
                return true
            } finish: { rows, connection in
                if window.after == .zero { try Self.voidProjections(of: capture.instance, connection) }
                let count = (snapshot?.rows ?? 0) + rows
                guard snapshot != nil || count > 0 else { return }
                let completed = snapshot == nil ? "" : ", complete_from_lsn = last_ingested_lsn, resync_requested = 0"
                try connection.execute(
                    """
                    UPDATE [dbo].[ctl_ingestion_watermarks] SET rows_ingested = rows_ingested + ?\(completed)
                    WHERE source_name = ? AND capture_instance = ?
                    """, [.int(Int64(count)), .string(source), .string(capture.instance)])
            } isDone: { connection in
                try Self.lockPosition(of: capture.instance, source, connection)?.watermark == window.through
            }
            return staging.rows
        }
    }

    static func insert(
        _ batch: ChangeBatch, _ insert: SQLServerBulkInsert, _ table: StagingTable, _ shape: ServingTableShape,
        at time: Timestamp
    ) throws {
        do {
            try insert.insert(table.sources(batch, shape, at: time), count: batch.count)
        } catch let refusal as SQLServerRowEncoder.Refusal {
            throw TidemarkError.value(
                table: table.capture.table, column: refusal.column, lsn: batch.lsns[refusal.row],
                reason: refusal.reason)
        }
    }

    func shape(of table: StagingTable, _ connection: Connection) throws -> ServingTableShape {
        guard let shape = try shapes.shape(of: table.capture.stagingTable, connection) else {
            throw TidemarkError.schema("\(table.capture.stagingTable) is missing; restart the pipeline, which makes it")
        }
        return shape
    }

    public func staged(_ capture: Capture, in window: LSNWindow, limits: BlockLimits) async throws
        -> any BlockReader<ChangeBatch>
    {
        let table = try StagingTable(capture)
        let decoder = SQLServerRowDecoder(
            table: capture.stagingTable, columns: capture.columns, key: capture.key, first: 4)
        return await database.stream(of: ChangeBatch.self) { [self] connection, push in
            let sql = table.select(try shape(of: table, connection))
            try database.data(connection) {
                let cursor = try connection.query(
                    sql, [.lsn(window.after), .lsn(window.through)], options: .init(limits))
                defer { cursor.close() }
                while try cursor.fetch() {
                    var batch = ChangeBatch(columns: capture.columns, reserving: cursor.count)
                    batch.lsns = try Self.lsns(cursor, 0, capture)
                    batch.seqvals = try Self.lsns(cursor, 2, capture)
                    try cursor.withValues(of: Int32.self, column: 1) { batch.commandIDs.append(contentsOf: $0) }
                    try cursor.withValues(of: UInt8.self, column: 3) { batch.operations.append(contentsOf: $0) }
                    let lsns = batch.lsns
                    try decoder.decode(cursor, into: &batch.columns) { lsns[$0] }
                    guard push(batch) else { return }
                }
            }
        }
    }

    private static func lsns(_ cursor: BlockCursor, _ column: Int, _ capture: Capture) throws -> [LSN] {
        var lsns: [LSN] = []
        lsns.reserveCapacity(cursor.count)
        try cursor.forEachBytes(column: column) { _, bytes in
            guard let lsn = bytes.flatMap({ LSN(bytes: $0) }) else {
                throw TidemarkError.schema("\(capture.stagingTable) holds an LSN that is not 10 bytes long")
            }
            lsns.append(lsn)
        }
        return lsns
    }
}
