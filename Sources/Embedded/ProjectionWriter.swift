import GRDB
import GRDBSQLite
import Tidemark

/// Runs a statement for each row of a block, inside the caller's transaction.
final class ProjectionWriter {
    /// What the rows hold.
    enum Shape {
        /// The key's columns, in the order of the key.
        case keys
        /// All columns.
        case rows
    }

    private let statement: SQLiteStatement
    private let encoder: SQLiteRowEncoder
    private let table: ProjectionTable
    private let columns: [Column]

    init(
        _ db: Database, _ sql: String, _ table: ProjectionTable, _ shape: Shape, in database: DatabaseLabel
    ) throws {
        self.table = table
        columns = shape == .keys ? table.keyColumns : table.columns
        statement = try SQLiteStatement(db, sql, in: database)
        encoder = SQLiteRowEncoder(statement, columns: columns, key: table.key, first: 1)
    }

    /// - Returns: the number of rows inserted, changed or deleted; those of triggers on the table do not count.
    /// - Throws: `TidemarkError.projection` for a NULL or repeated key, or a value SQLite cannot hold.
    @discardableResult
    func append(_ batch: RowBatch) throws -> Int {
        guard batch.columns.map(\.type) == columns.map(\.type) else {
            throw TidemarkError.projection(
                name: table.projection,
                reason: """
                    rows have the types (\(batch.columns.map(\.type.description).joined(separator: ", "))), the \
                    table (\(columns.map(\.type.description).joined(separator: ", ")))
                    """)
        }
        return try SQLiteRowEncoder.withBuffers(batch.columns) { buffers in
            try (0..<batch.count).reduce(0) { try $0 + write($1, buffers) }
        }
    }

    private func write(_ row: Int, _ buffers: [ColumnBuffers]) throws -> Int {
        do {
            try encoder.bind(row, of: buffers)
        } catch let refusal as SQLiteRowEncoder.Refusal {
            throw TidemarkError.projection(
                name: table.projection, reason: "column \(refusal.column): \(refusal.reason)")
        }
        guard sqlite3_step(statement.pointer) == SQLITE_DONE else {
            let isDuplicate = statement.failedOnPrimaryKey
            let failure = statement.failure()
            statement.reset()
            guard isDuplicate else { throw failure }
            throw TidemarkError.projection(
                name: table.projection,
                reason: "the query returns more than one row for a key (\(table.key.joined(separator: ", ")))")
        }
        defer { statement.reset() }
        return Int(sqlite3_changes(sqlite3_db_handle(statement.pointer)))
    }
}
