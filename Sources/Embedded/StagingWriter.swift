import GRDB
import GRDBSQLite
import Tidemark

/// Inserts changes into a staging table, inside the caller's transaction.
final class StagingWriter {
    private let statement: SQLiteStatement
    private let encoder: SQLiteRowEncoder
    private let capture: Capture
    /// The LSN and the seqval of the row in hand. SQLite reads them at each step, so they are bound once.
    private let positions: UnsafeMutableRawBufferPointer

    private enum Parameter {
        static let lsn: Int32 = 1
        static let commandID: Int32 = 2
        static let seqval: Int32 = 3
        static let operation: Int32 = 4
        static let ingestedAt: Int32 = 5
        static let firstColumn: Int32 = 6
    }

    init(_ db: Database, _ capture: Capture, ingestedAt: Timestamp, in database: DatabaseLabel) throws {
        self.capture = capture
        statement = try SQLiteStatement(db, ServingTables.insertStaged(capture), in: database)
        encoder = SQLiteRowEncoder(
            statement, columns: capture.columns, key: capture.key, first: Parameter.firstColumn)
        positions = .allocate(byteCount: 32, alignment: 16)
        try statement.bind(ingestedAt.description, at: Parameter.ingestedAt)
        try bind(positions.baseAddress, Parameter.lsn)
        try bind(positions.baseAddress.map { $0 + 16 }, Parameter.seqval)
    }

    deinit { positions.deallocate() }

    private func bind(_ address: UnsafeMutableRawPointer?, _ parameter: Int32) throws {
        try statement.check(
            sqlite3_bind_blob(statement.pointer, parameter, address, Int32(LSN.byteCount), nil))
    }

    func append(_ batch: ChangeBatch, _ window: LSNWindow) throws {
        guard let first = batch.lsns.first, let last = batch.lsns.last else { return }
        guard window.contains(first), window.contains(last) else {
            throw TidemarkError.schema(
                "the source handed out changes of \(capture.instance) outside the window \(window)")
        }
        try SQLiteRowEncoder.withBuffers(batch.columns) { buffers in
            for row in 0..<batch.count {
                try insert(row, batch, buffers)
            }
        }
    }

    @inline(__always)
    private func insert(_ row: Int, _ batch: ChangeBatch, _ buffers: [ColumnBuffers]) throws {
        let pointer = statement.pointer
        batch.lsns[row].withBytes { positions.copyMemory(from: $0) }
        batch.seqvals[row].withBytes {
            UnsafeMutableRawBufferPointer(rebasing: positions[16...]).copyMemory(from: $0)
        }
        sqlite3_bind_int(pointer, Parameter.commandID, batch.commandIDs[row])
        sqlite3_bind_int(pointer, Parameter.operation, Int32(batch.operations[row]))
        do {
            try encoder.bind(row, of: buffers)
        } catch let refusal as SQLiteRowEncoder.Refusal {
            throw TidemarkError.value(
                table: capture.table, column: refusal.column, lsn: batch.lsns[row], reason: refusal.reason)
        }
        let code = sqlite3_step(pointer)
        guard code == SQLITE_DONE else {
            let isDuplicate = statement.failedOnPrimaryKey
            let failure = statement.failure()
            statement.reset()
            guard isDuplicate else { throw failure }
            throw TidemarkError.schema(
                """
                \(capture.stagingTable) already holds the change (lsn \(batch.lsns[row]), command_id \
                \(batch.commandIDs[row]), seqval \(batch.seqvals[row]), op \(batch.operations[row])): the source \
                handed it out twice
                """)
        }
        statement.reset()
    }
}
