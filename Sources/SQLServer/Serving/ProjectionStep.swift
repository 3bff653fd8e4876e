import ODBC
import Tidemark

/// The changes of one step of a projection, applied inside the caller's transaction: each kind fills a temporary table, and
/// a few statements make the projection's table what it says.
final class ProjectionStep {
    private let serving: SQLServerServing
    private let table: ProjectionTable
    private let sql: ProjectionTableSQL
    private let json: SQLServerBulkInsert.JSONSupport
    private let connection: Connection
    private var keys: ProjectionFill?
    private var rows: ProjectionFill?

    /// Temporary tables, seen by the connection only.
    private static let keysTable = "#tidemark_keys"
    private static let rowsTable = "#tidemark_rows"

    init(
        _ serving: SQLServerServing, _ table: ProjectionTable, _ sql: ProjectionTableSQL,
        _ json: SQLServerBulkInsert.JSONSupport, _ connection: Connection
    ) {
        self.serving = serving
        self.table = table
        self.sql = sql
        self.json = json
        self.connection = connection
    }

    func apply(_ change: ProjectionChange) throws {
        switch change {
        case .deletes(let batch):
            guard !batch.isEmpty else { return }
            if keys == nil { keys = try fill(Self.keysTable, table.keyColumns) }
            try keys?.append(batch)
        case .upserts(let batch):
            guard !batch.isEmpty else { return }
            if rows == nil { rows = try fill(Self.rowsTable, table.columns) }
            try rows?.append(batch)
        }
    }

    /// - Returns: the number of rows written.
    func finish() throws -> Int {
        var written = 0
        if keys != nil {
            written += try connection.affected(sql.delete(keysIn: Self.keysTable))
            try connection.execute("DROP TABLE \(Self.keysTable)")
        }
        if rows != nil {
            try keyed(table) { _ = try connection.execute(sql.addKey(to: Self.rowsTable)) }
            if let update = sql.update(from: Self.rowsTable) { written += try connection.affected(update) }
            try keyed(table) { written += try connection.affected(sql.insert(from: Self.rowsTable)) }
            try connection.execute("DROP TABLE \(Self.rowsTable)")
        }
        return written
    }

    private func fill(_ name: String, _ columns: [Tidemark.Column]) throws -> ProjectionFill {
        guard let shape = try serving.shapes.shape(of: table.name, connection), sql.fits(shape) else {
            throw TidemarkError.schema(
                "\(table.name) was dropped or altered; run tidemark rebuild \(table.projection), which makes it anew")
        }
        try connection.execute(sql.makeTemporary(name, columns.map(\.name)))
        return ProjectionFill(connection, name, columns, shape, table, json: json)
    }
}

/// Inserts blocks into a table beside the projection's.
final class ProjectionFill {
    private let insert: SQLServerBulkInsert
    private let encoders: [SQLServerRowEncoder]
    private let columns: [Tidemark.Column]
    private let table: ProjectionTable

    /// - Parameters:
    ///   - name: the table to fill, quoted.
    ///   - shape: as the projection's table declares its columns.
    init(
        _ connection: Connection, _ name: String, _ columns: [Tidemark.Column], _ shape: ServingTableShape,
        _ table: ProjectionTable, json: SQLServerBulkInsert.JSONSupport
    ) {
        self.columns = columns
        self.table = table
        insert = SQLServerBulkInsert(connection, into: name, columns.map(\.name), json: json)
        encoders = columns.map { column in
            SQLServerRowEncoder(
                column: column, declared: shape.column(column.name)?.type ?? SQLServerType(column.type, maxLength: nil),
                isRequired: table.key.contains(column.name))
        }
    }

    func append(_ batch: RowBatch) throws {
        guard batch.columns.map(\.type) == columns.map(\.type) else {
            throw TidemarkError.projection(
                name: table.projection,
                reason: """
                    rows have the types (\(batch.columns.map(\.type.description).joined(separator: ", "))), the \
                    table (\(columns.map(\.type.description).joined(separator: ", ")))
                    """)
        }
        do {
            try insert.insert(
                zip(batch.columns, encoders).map { SQLServerBulkInsert.Source.values($0, $1) }, count: batch.count)
        } catch let refusal as SQLServerRowEncoder.Refusal {
            throw TidemarkError.projection(
                name: table.projection, reason: "column \(refusal.column): \(refusal.reason)")
        }
    }
}

/// Runs a statement that a repeated key fails.
func keyed(_ table: ProjectionTable, _ body: () throws -> Void) throws {
    do {
        try body()
    } catch let error as ODBCError where error.isKeyViolation {
        let isText = table.keyColumns.contains { $0.type == .string || $0.type == .binary }
        throw TidemarkError.projection(
            name: table.projection,
            reason: """
                the query returns more than one row for a key (\(table.key.joined(separator: ", ")))\
                \(isText ? "; keys that differ in blanks at their end only are one to SQL Server" : "")
                """)
    }
}
