import ODBC
public import Tidemark

extension SQLServerServing {
    /// Rows of a snapshot staged in one transaction, and deleted by one statement: what the log of a small server
    /// takes with ease.
    private static let snapshotTransactionRows = 100_000

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

    // MARK: Snapshot

    public func stageSnapshot(
        of capture: Capture, source: String, after watermark: LSN, from changes: any BlockReader<ChangeBatch>
    ) async throws -> Int {
        let table = try StagingTable(capture)
        let json = try await jsonSupport()
        let now = now
        // Each transaction compares the watermark, whose row it then holds. Rows staged before a failure are no harm:
        // nothing reads beyond the watermark, and the next attempt deletes them.
        return try await database.run { [self] connection in
            func transaction(_ body: () throws -> Void) throws {
                try connection.transaction {
                    try Self.requireWatermark(watermark, of: capture.instance, source, connection)
                    try body()
                }
            }
            try empty(table, beyond: watermark, connection, transaction)
            let shape = try shape(of: table, connection)
            let insert = SQLServerBulkInsert(connection, into: table.name, table.columns, json: json)
            var count = 0
            var isAtEnd = false
            while !isAtEnd {
                try transaction {
                    var rowsHere = 0
                    while rowsHere < Self.snapshotTransactionRows {
                        guard let batch = try changes.next() else {
                            isAtEnd = true
                            break
                        }
                        try database.data(connection) {
                            try Self.insert(batch, insert, table, shape, at: now())
                        }
                        rowsHere += batch.count
                        count += batch.count
                    }
                }
            }
            return count
        }
    }

    /// Deletes the rows beyond the watermark: all of them at once when the login may, or else some at a time.
    private func empty(
        _ table: StagingTable, beyond watermark: LSN, _ connection: Connection,
        _ transaction: (() throws -> Void) throws -> Void
    ) throws {
        let mayTruncate =
            try watermark == .zero
            && connection.scalar("SELECT HAS_PERMS_BY_NAME(?, N'OBJECT', N'ALTER')", [.string(table.name)]) == .int(1)
        var isEmpty = false
        while !isEmpty {
            try transaction {
                if mayTruncate {
                    try connection.execute("TRUNCATE TABLE \(table.name)")
                    isEmpty = true
                } else {
                    let some = """
                        DELETE TOP (\(Self.snapshotTransactionRows)) FROM \(table.name) WHERE lsn > CAST(? AS binary(10))
                        """
                    isEmpty = try database.data(connection) { try connection.affected(some, [.lsn(watermark)]) } == 0
                }
            }
        }
    }

    // MARK: Changes

    public func ingest(
        _ capture: Capture, source: String, window: LSNWindow, commitTime: Timestamp?, snapshot: Int?,
        from reader: any BlockReader<ChangeBatch>
    ) async throws -> Int {
        let table = try StagingTable(capture)
        let json = try await jsonSupport()
        let time = now()
        if window.after == .zero, snapshot == nil {
            // What was staged before the capture began anew, or by a read that was given up.
            try await database.run { [self] connection in
                try empty(table, beyond: .zero, connection) { body in
                    try connection.transaction {
                        try Self.requireWatermark(.zero, of: capture.instance, source, connection)
                        try body()
                    }
                }
            }
        }
        return try await write { [self] connection in
            // The compare-and-swap comes first: its row lock lets a second pipeline wait, and then see that it lost,
            // before it has written a million rows.
            try Self.move(capture.instance, window, source, commitTime, at: time, connection)
            var order = LogOrder(capture, window)
            var count = 0
            // Most windows are small, and many are empty: the catalog is asked when there is a row.
            var target: (shape: ServingTableShape, insert: SQLServerBulkInsert)?
            while let batch = try reader.next() {
                try order.append(batch)
                if target == nil {
                    target = (
                        try shape(of: table, connection),
                        SQLServerBulkInsert(connection, into: table.name, table.columns, json: json)
                    )
                }
                guard let target else { break }
                do {
                    try database.data(connection) {
                        try Self.insert(batch, target.insert, table, target.shape, at: time)
                    }
                } catch let error as ODBCError where error.isKeyViolation {
                    throw order.duplicate
                }
                count += batch.count
            }
            if window.after == .zero { try Self.voidProjections(of: capture.instance, connection) }
            if snapshot != nil || count > 0 {
                let completed = snapshot == nil ? "" : ", complete_from_lsn = last_ingested_lsn, resync_requested = 0"
                try connection.execute(
                    """
                    UPDATE [dbo].[ctl_ingestion_watermarks] SET rows_ingested = rows_ingested + ?\(completed)
                    WHERE source_name = ? AND capture_instance = ?
                    """, [.int(Int64((snapshot ?? 0) + count)), .string(source), .string(capture.instance)])
            }
            return count
        } isDone: { connection in
            try Self.lockWatermark(of: capture.instance, source, connection) == window.through
        }
    }

    private static func insert(
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

    private func shape(of table: StagingTable, _ connection: Connection) throws -> ServingTableShape {
        guard let shape = try shapes.shape(of: table.capture.stagingTable, connection) else {
            throw TidemarkError.schema("\(table.capture.stagingTable) is missing; restart the pipeline, which makes it")
        }
        return shape
    }

    public func staged(_ capture: Capture, in window: LSNWindow, blockRows: Int) async throws
        -> any BlockReader<ChangeBatch>
    {
        let table = try StagingTable(capture)
        let decoder = SQLServerRowDecoder(
            table: capture.stagingTable, columns: capture.columns, key: capture.key, first: 4)
        return await database.stream(of: ChangeBatch.self) { [self] connection, push in
            let sql = table.select(try shape(of: table, connection))
            try database.data(connection) {
                let cursor = try connection.query(
                    sql, [.lsn(window.after), .lsn(window.through)], options: .init(rowsPerBlock: blockRows))
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
