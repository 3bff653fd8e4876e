import GRDB
import GRDBSQLite
import Tidemark

/// Inserts changes into a staging table, inside the caller's transaction.
struct StagingWriter {
    /// Rows inserted by one statement. While a statement runs SQLite keeps its place at the end of the B-tree;
    /// each new one starts at the root again.
    private static let groupRows = 32

    private let capture: Capture
    private let group: StagingInsert
    private let single: StagingInsert

    init(_ db: Database, _ capture: Capture, ingestedAt: Timestamp, in database: DatabaseLabel) throws {
        self.capture = capture
        group = try StagingInsert(db, capture, rows: Self.groupRows, ingestedAt: ingestedAt, in: database)
        single = try StagingInsert(db, capture, rows: 1, ingestedAt: ingestedAt, in: database)
    }

    /// - Throws: `TidemarkError.schema` for a change that is staged already, `TidemarkError.value` for a value
    ///   SQLite cannot hold.
    func append(_ batch: ChangeBatch, _ window: LSNWindow) throws {
        guard let first = batch.lsns.first, let last = batch.lsns.last else { return }
        guard window.contains(first), window.contains(last) else {
            throw TidemarkError.schema(
                "the source handed out changes of \(capture.instance) outside the window \(window)")
        }
        try SQLiteRowEncoder.withBuffers(batch.columns) { buffers in
            var row = 0
            while row < batch.count {
                // A group that fails leaves no row; inserted one by one, its rows tell which was at fault.
                if row + Self.groupRows <= batch.count, try group.insert(batch, from: row, buffers) {
                    row += Self.groupRows
                } else {
                    try insertSingly(batch, row..<min(row + Self.groupRows, batch.count), buffers)
                    row += Self.groupRows
                }
            }
        }
    }

    private func insertSingly(_ batch: ChangeBatch, _ rows: Range<Int>, _ buffers: [ColumnBuffers]) throws {
        for row in rows {
            guard try single.insert(batch, from: row, buffers) else {
                throw TidemarkError.schema(
                    """
                    \(capture.stagingTable) already holds the change (lsn \(batch.lsns[row]), command_id \
                    \(batch.commandIDs[row]), seqval \(batch.seqvals[row]), op \(batch.operations[row])): the source \
                    handed it out twice
                    """)
            }
        }
    }
}

/// A statement that inserts a fixed number of changes.
final class StagingInsert {
    private let statement: SQLiteStatement
    private let capture: Capture
    /// One for each row of the statement.
    private let encoders: [SQLiteRowEncoder]
    /// The LSN and the seqval of each row in hand. SQLite reads them at each step, so they are bound once.
    private let positions: UnsafeMutableRawPointer
    private let stride: Int32

    private static let lsnSlot = 16

    init(
        _ db: Database, _ capture: Capture, rows: Int, ingestedAt: Timestamp, in database: DatabaseLabel
    ) throws {
        self.capture = capture
        let stride = Int32(4 + capture.columns.count)
        self.stride = stride
        let statement = try SQLiteStatement(db, ServingTables.insertStaged(capture, rows: rows), in: database)
        self.statement = statement
        encoders = (0..<rows).map { row in
            SQLiteRowEncoder(
                statement, columns: capture.columns, key: capture.key, first: 6 + Int32(row) * stride)
        }
        positions = .allocate(byteCount: rows * 2 * Self.lsnSlot, alignment: 16)
        try statement.bind(ingestedAt.description, at: 1)
        for row in 0..<rows {
            let first = 2 + Int32(row) * stride
            for (parameter, slot) in [(first, 2 * row), (first + 2, 2 * row + 1)] {
                try statement.check(
                    sqlite3_bind_blob(
                        statement.pointer, parameter, positions + slot * Self.lsnSlot, Int32(LSN.byteCount), nil))
            }
        }
    }

    deinit { positions.deallocate() }

    /// Inserts as many rows as the statement has, from `start`; false when one of them is there already, and
    /// then none is inserted.
    func insert(_ batch: ChangeBatch, from start: Int, _ buffers: [ColumnBuffers]) throws -> Bool {
        for (offset, encoder) in encoders.enumerated() {
            let row = start + offset
            let first = 2 + Int32(offset) * stride
            place(batch.lsns[row], 2 * offset)
            place(batch.seqvals[row], 2 * offset + 1)
            sqlite3_bind_int(statement.pointer, first + 1, batch.commandIDs[row])
            sqlite3_bind_int(statement.pointer, first + 3, Int32(batch.operations[row]))
            do {
                try encoder.bind(row, of: buffers)
            } catch let refusal as SQLiteRowEncoder.Refusal {
                throw TidemarkError.value(
                    table: capture.table, column: refusal.column, lsn: batch.lsns[row], reason: refusal.reason)
            }
        }
        defer { statement.reset() }
        if sqlite3_step(statement.pointer) == SQLITE_DONE { return true }
        guard statement.failedOnPrimaryKey else { throw statement.failure() }
        return false
    }

    private func place(_ lsn: LSN, _ slot: Int) {
        let address = positions + slot * Self.lsnSlot
        address.storeBytes(of: lsn.high.bigEndian, as: UInt64.self)
        address.storeBytes(of: lsn.low.bigEndian, toByteOffset: 8, as: UInt16.self)
    }
}
