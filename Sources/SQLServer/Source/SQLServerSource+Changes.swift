package import ODBC
import Synchronization
public import Tidemark

extension SQLServerSource {
    public func windowEnd(of capture: Capture, after: LSN, upTo: LSN, maxRows: Int) async throws -> LSN {
        guard after < upTo, maxRows < .max else { return upTo }
        return try await database.run { [self] connection in
            try reading(capture, connection) { entry in
                let window = LSNWindow(after: after, through: upTo)
                guard case .read(let from) = try range(window, of: capture, connection) else { return upTo }
                let sql = Self.windowEndSQL(entry)
                let row = try database.data(connection) {
                    try connection.query(
                        sql, [.binary(from.bytes), .binary(upTo.bytes), .int(Int64(max(maxRows, 1)))]
                    ).rows().first
                }
                return try row?[0].lsn() ?? upTo
            }
        }
    }

    /// The LSN at which a window of at most so many rows ends: NULL when all fit, else the last one before that of the
    /// first row that does not fit, or that one when there is none before.
    ///
    /// The change table is read itself where the login may: its clustered index has the order, so as many rows are
    /// read as fit, and not the whole backlog.
    static func windowEndSQL(_ entry: CaptureEntry) -> String {
        let rows: String
        if let table = entry.readableChangeTable {
            rows = "\(table) WHERE [__$start_lsn] >= @from AND [__$start_lsn] <= @to AND [__$operation] IN (1, 2, 4)"
        } else {
            rows = "\(entry.function)(@from, @to, N'all') WHERE 1 = 1"
        }
        return """
            SET NOCOUNT ON;
            DECLARE @from binary(10) = ?, @to binary(10) = ?, @rows bigint = ?, @beyond binary(10), @end binary(10);
            SET @beyond = (
                SELECT [__$start_lsn] FROM \(rows)
                ORDER BY [__$start_lsn] OFFSET @rows ROWS FETCH NEXT 1 ROWS ONLY);
            IF @beyond IS NOT NULL
                SET @end = COALESCE(
                    (SELECT TOP (1) [__$start_lsn] FROM \(rows) AND [__$start_lsn] < @beyond
                    ORDER BY [__$start_lsn] DESC), @beyond);
            SELECT CAST(@end AS varbinary(10)) AS window_end;
            """
    }

    /// What may be asked for to read `window`.
    private func range(_ window: LSNWindow, of capture: Capture, _ connection: Connection) throws -> ReadRange {
        let sql = """
            SELECT CAST(sys.fn_cdc_get_min_lsn(\(literal(capture.instance))) AS varbinary(10)) AS min_lsn,
                CAST(sys.fn_cdc_increment_lsn(?) AS varbinary(10)) AS next_lsn
            """
        let row = try connection.query(sql, [.binary(window.after.bytes)]).rows()[0]
        let complete = state.withLock { $0.completeAt[capture.instance] }
        return ReadRange(
            window, next: try row[1].lsn() ?? window.through, minLSN: try row[0].lsn(), complete: complete)
    }

    public func changes(
        of capture: Capture, in window: LSNWindow, expecting positions: [SourcePosition], limits: BlockLimits
    ) async throws -> any BlockReader<ChangeBatch> {
        await database.stream { [self] connection, push in
            guard !window.isEmpty else { return }
            try reading(capture, connection) { entry in
                guard let from = try start(window, of: capture, connection) else {
                    return try require(positions, connection)
                }
                do {
                    let isRead = try database.data(connection) {
                        try read(capture, entry, from, window, limits, connection, push)
                    }
                    guard isRead else { return }
                } catch let error as ODBCError where error.errorClass != .transient && error.errorClass != .cancelled {
                    // The function refuses a range of which cleanup has taken a part meanwhile.
                    try requireKept(from, window, of: capture, connection)
                    throw error
                }
                try requireKept(from, window, of: capture, connection)
                try require(positions, connection)
            }
        }
    }

    /// Throws unless the log holds the positions as they were read.
    private func require(_ positions: [SourcePosition], _ connection: Connection) throws {
        for position in positions {
            switch try Self.bounds(connection, verifying: position).finding {
            case .kept, .forgotten, .unasked: continue
            case .beyond, .replaced:
                throw TidemarkError.lost(position, in: database.label)
            }
        }
    }

    /// The first LSN to ask for; `nil` when there can be no change in the window.
    ///
    /// - Throws: `TidemarkError.gap`, or why the capture cannot be read.
    private func start(_ window: LSNWindow, of capture: Capture, _ connection: Connection) throws -> LSN? {
        switch try range(window, of: capture, connection) {
        case .read(let from): return from
        case .empty: return nil
        case .gap(let minLSN):
            throw TidemarkError.gap(capture: capture.instance, watermark: window.after, minLSN: minLSN)
        case .notBegun:
            throw CaptureProblem.notBegun(capture.instance).error
        case .unreadable:
            guard let entry = try Self.entries(connection, instance: capture.instance).first else {
                throw CaptureProblem.unknown(capture.instance).error
            }
            throw (CaptureProblem(entry) ?? .denied(capture.instance, source: entry.source?.description)).error
        }
    }

    /// Throws a gap when changes from `from` on may have been purged by now.
    ///
    /// Cleanup moves the min LSN before it deletes. While that lies at or before what was read, all of it was there.
    private func requireKept(
        _ from: LSN, _ window: LSNWindow, of capture: Capture, _ connection: Connection
    ) throws {
        let minLSN = try Self.minLSN(capture, connection)
        guard minLSN <= from else {
            throw TidemarkError.gap(capture: capture.instance, watermark: window.after, minLSN: minLSN)
        }
    }

    /// Reads and pushes all changes of the window; `false` when nobody takes them any more.
    private func read(
        _ capture: Capture, _ entry: CaptureEntry, _ from: LSN, _ window: LSNWindow, _ limits: BlockLimits,
        _ connection: Connection, _ push: (ChangeBatch) -> Bool
    ) throws -> Bool {
        let givesCommandID = entry.hasCommandID && entry.readableChangeTable != nil
        if !givesCommandID { warn(Self.lesserOrder, capture: capture.instance) }
        let cursor = try connection.query(
            try Self.changesSQL(capture, entry), [.binary(from.bytes), .binary(window.through.bytes)],
            options: .init(limits))
        let decoder = SQLServerRowDecoder(
            table: capture.table, columns: capture.columns, key: capture.key, first: 4)
        var order = ChangeOrder(window: window, instance: capture.instance, numbersRows: !givesCommandID)
        while try cursor.fetch() {
            var batch = ChangeBatch(columns: capture.columns, reserving: cursor.count)
            try cursor.forEachBytes(column: 0) { _, bytes in batch.lsns.append(try Self.lsn(bytes)) }
            try cursor.forEachBytes(column: 1) { _, bytes in batch.seqvals.append(try Self.lsn(bytes)) }
            try cursor.withValues(of: Int32.self, column: 2) { values in
                for value in values { batch.operations.append(UInt8(truncatingIfNeeded: value)) }
            }
            try cursor.withValues(of: Int32.self, column: 3) { values in
                try cursor.withLengths(column: 3) { lengths in
                    guard !lengths.contains(-1) else {
                        throw TidemarkError.transient(
                            "change table of capture \(capture.instance) was written to in its past while it was read")
                    }
                }
                batch.commandIDs.append(contentsOf: values)
            }
            try order.check(&batch)
            let lsns = batch.lsns
            try decoder.decode(cursor, into: &batch.columns) { lsns[$0] }
            guard push(batch) else { return false }
        }
        return true
    }

    private static func lsn(_ bytes: UnsafeRawBufferPointer?) throws -> LSN {
        guard let bytes, let lsn = LSN(bytes: bytes) else {
            throw TidemarkError.schema("the source gives an LSN of \(bytes?.count ?? 0) bytes, where 10 are due")
        }
        return lsn
    }

    /// The statement that reads all changes of `capture` there are, for measurements.
    package func changesStatement(of capture: Capture) async throws -> (sql: String, parameters: [Value]) {
        let end = try await bounds().maxLSN
        return try await database.run { [self] connection in
            let minLSN = try Self.minLSN(capture, connection)
            return try reading(capture, connection) { entry in
                (try Self.changesSQL(capture, entry), [.binary(minLSN.bytes), .binary(end.bytes)])
            }
        }
    }

    private static let lesserOrder = """
        changes are read without __$command_id, as the change table has none or is hidden from this login: several \
        statements of one transaction that touch the same row may come out in the wrong order. GRANT SELECT ON SCHEMA::cdc
        """

    /// The function hides `__$command_id`, so it is joined to what the function gives. A statement writes a row's key
    /// once with an operation, so the key makes a row of the change table unique where `__$seqval` does not:
    /// https://support.microsoft.com/help/3030352
    /// Rows captured before an update of the server brought the column have NULL there; no match at all is another thing.
    ///
    /// A hash join, as statistics know nothing of the newest rows and a nested loop over one large transaction, in which
    /// all rows have one `__$start_lsn`, would take its square. Recompiled, for windows are small or large.
    static func changesSQL(_ capture: Capture, _ entry: CaptureEntry) throws -> String {
        let columns = try expressions(capture, entry, of: "c")
        let metadata = "c.[__$start_lsn], c.[__$seqval], c.[__$operation]"
        guard entry.hasCommandID, let table = entry.readableChangeTable else {
            return """
                SELECT \(metadata), 0 AS [__$command_id], \(columns)
                FROM \(entry.function)(?, ?, N'all') AS c
                ORDER BY c.[__$start_lsn], c.[__$seqval], c.[__$operation], \(list(capture.key, of: "c"))
                OPTION (RECOMPILE)
                """
        }
        return """
            SET NOCOUNT ON;
            DECLARE @from binary(10) = ?, @to binary(10) = ?;
            SELECT \(metadata),
                CASE WHEN t.[__$start_lsn] IS NOT NULL THEN COALESCE(t.[__$command_id], 0) END AS command_id, \(columns)
            FROM \(entry.function)(@from, @to, N'all') AS c
                LEFT OUTER HASH JOIN \(table) AS t
                ON t.[__$start_lsn] = c.[__$start_lsn] AND t.[__$seqval] = c.[__$seqval]
                    AND t.[__$operation] = c.[__$operation] AND \(equal(capture.key, "t", "c"))
                    AND t.[__$start_lsn] >= @from AND t.[__$start_lsn] <= @to
            ORDER BY c.[__$start_lsn], t.[__$command_id], c.[__$seqval], c.[__$operation]
            OPTION (RECOMPILE);
            """
    }

    /// The captured columns of a table, such that every driver hands out their exact values.
    private static func expressions(_ capture: Capture, _ entry: CaptureEntry, of table: String) throws -> String {
        try capture.columns.map { column in
            guard let mapping = entry.columns.first(where: { $0.name == column.name })?.type?.mapping else {
                throw TidemarkError.schema(
                    "capture \(capture.instance) has no column \(column.name) any more; restart to read its catalog")
            }
            return mapping.expression("\(table).\(quoted(column.name))")
        }.joined(separator: ", ")
    }

    static func list(_ columns: [String], of table: String) -> String {
        columns.map { "\(table).\(quoted($0))" }.joined(separator: ", ")
    }

    static func equal(_ columns: [String], _ a: String, _ b: String) -> String {
        columns.map { "\(a).\(quoted($0)) = \(b).\(quoted($0))" }.joined(separator: " AND ")
    }

    // MARK: Rows

    public func rows(of capture: Capture, limits: BlockLimits) async throws -> any BlockReader<RowBatch> {
        await database.stream { [self] connection, push in
            try reading(capture, connection) { entry in
                guard let table = entry.source else { throw CaptureProblem.noSource(capture.instance).error }
                let columns = try Self.expressions(capture, entry, of: "s")
                try Self.snapshotIfAllowed(connection) {
                    try database.data(connection) {
                        let cursor = try connection.query(
                            "SELECT \(columns) FROM \(table) AS s", options: .init(limits))
                        let decoder = SQLServerRowDecoder(
                            table: capture.table, columns: capture.columns, key: capture.key, first: 0)
                        while try cursor.fetch() {
                            var batch = RowBatch(columns: capture.columns, reserving: cursor.count)
                            try decoder.decode(cursor, into: &batch.columns) { _ in .zero }
                            guard push(batch) else { return }
                        }
                    }
                }
            }
        }
    }

    /// Runs `body` under SNAPSHOT isolation where the database allows it: it sees one moment, and blocks no writer.
    private static func snapshotIfAllowed(_ connection: Connection, _ body: () throws -> Void) throws {
        guard try connection.allowsSnapshot() else { return try body() }
        try connection.execute("SET TRANSACTION ISOLATION LEVEL SNAPSHOT")
        let result = Result { try body() }
        do {
            try connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        } catch {
            // The next one to use the connection counts on the usual level.
            connection.close()
        }
        try result.get()
    }
}

/// The order of a capture's changes, checked as they come.
struct ChangeOrder {
    let window: LSNWindow
    let instance: String
    /// Whether rows get a number within their transaction in place of the `__$command_id` that cannot be read.
    ///
    /// `__$seqval` is not unique in every transaction, and staging's primary key has to be.
    let numbersRows: Bool
    private var last: (lsn: LSN, commandID: Int32, seqval: LSN, operation: UInt8)?

    init(window: LSNWindow, instance: String, numbersRows: Bool) {
        self.window = window
        self.instance = instance
        self.numbersRows = numbersRows
    }

    /// - Throws: `TidemarkError.schema` unless the changes lie in the window and each comes after the one before.
    mutating func check(_ batch: inout ChangeBatch) throws {
        for row in 0..<batch.count {
            let lsn = batch.lsns[row]
            if numbersRows { batch.commandIDs[row] = last.map { $0.lsn == lsn ? $0.commandID + 1 : 0 } ?? 0 }
            let next = (lsn, batch.commandIDs[row], batch.seqvals[row], batch.operations[row])
            let isAscending = last.map { ($0.lsn, $0.commandID, $0.seqval, $0.operation) < next } ?? true
            guard window.contains(lsn), isAscending else {
                throw TidemarkError.schema(
                    """
                    the change table of capture \(instance) is out of order at LSN \(lsn), __$seqval \
                    \(batch.seqvals[row]): it was changed by hand or the source is another database. Start over with an \
                    empty serving database
                    """)
            }
            last = next
        }
    }
}
