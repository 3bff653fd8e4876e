/// What went wrong in DuckDB or on the way to it, with the SQL and DuckDB's own message.
public enum DuckDBError: Error, Hashable, Sendable {
    /// The database file could not be opened, or an option was refused.
    case open(path: String, message: String, kind: Kind)
    /// A statement could not be prepared, run or fetched from.
    case statement(sql: String, message: String, kind: Kind)
    /// A value could not be bound to a parameter. `parameter` is `$1`, `$name` or a count.
    case parameter(sql: String, parameter: String, message: String)
    /// An appender could not be made, or its rows were refused. Rows not yet flushed are lost.
    case append(table: String, message: String, kind: Kind)
    /// A result has a column of a type this wrapper does not read. `type` is DuckDB's name for it.
    case unsupportedType(type: String, column: String, sql: String)
    /// A column's values were asked for as an element type they are not stored as.
    case typeMismatch(column: Int, type: DuckDBType, requested: String)
    /// A decimal has more digits than its column, or a row is given bytes that are not UTF-8.
    case invalidValue(column: Int, row: Int, message: String)
    /// A query that should return a value returned no row.
    case noRow(sql: String)
    /// The connection, statement or appender was used after `close()`.
    case closed(String)

    /// The class of a failure, as DuckDB sorts its errors.
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        case binder = "Binder"
        case catalog = "Catalog"
        case connection = "Connection"
        case constraint = "Constraint"
        case conversion = "Conversion"
        /// A block of the file does not have the checksum it was written with.
        case corruption = "Data Corruption"
        case dependency = "Dependency"
        case fatal = "FATAL"
        case `internal` = "INTERNAL"
        case interrupt = "INTERRUPT"
        case invalidInput = "Invalid Input"
        case io = "IO"
        case notImplemented = "Not implemented"
        case outOfMemory = "Out of Memory"
        case outOfRange = "Out of Range"
        case parser = "Parser"
        case permission = "Permission"
        case serialization = "Serialization"
        case transaction = "TransactionContext"
        case other = "Other"
    }

    /// The class of the failure; `.invalidInput` for misuse that never reached DuckDB.
    public var kind: Kind {
        switch self {
        case .open(_, _, let kind), .statement(_, _, let kind), .append(_, _, let kind): kind
        case .unsupportedType: .notImplemented
        case .closed: .connection
        case .parameter, .typeMismatch, .invalidValue, .noRow: .invalidInput
        }
    }

    /// The SQL that failed, whole, where there is one.
    public var sql: String? {
        switch self {
        case .statement(let sql, _, _), .parameter(let sql, _, _), .unsupportedType(_, _, let sql), .noRow(let sql): sql
        case .open, .append, .typeMismatch, .invalidValue, .closed: nil
        }
    }
}

extension DuckDBError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .open(let path, let message, _):
            "DuckDB could not open \(path): \(message)"
        case .statement(let sql, let message, _):
            "DuckDB could not run a statement: \(message)\(Self.excerpt(sql))"
        case .parameter(let sql, let parameter, let message):
            "DuckDB could not bind \(parameter): \(message)\(Self.excerpt(sql))"
        case .append(let table, let message, _):
            "DuckDB could not append to \(table): \(message)"
        case .unsupportedType(let type, let column, let sql):
            "Column \"\(column)\" has the DuckDB type \(type), which is not supported; cast it in the query, e.g. to VARCHAR\(Self.excerpt(sql))"
        case .typeMismatch(let column, let type, let requested):
            "Column \(column) is \(type) and cannot be accessed as \(requested)"
        case .invalidValue(let column, let row, let message):
            "The value of column \(column) in row \(row) of the chunk is refused: \(message)"
        case .noRow(let sql):
            "The query returned no row where one was expected\(Self.excerpt(sql))"
        case .closed(let what):
            "The \(what) was used after it was closed"
        }
    }

    /// Keeps a log line readable when a statement is pages long; `sql` has all of it.
    private static let excerptLength = 1_000

    private static func excerpt(_ sql: String) -> String {
        let text = sql.count <= excerptLength ? sql : sql.prefix(excerptLength) + "…"
        return " [SQL: \(text)]"
    }
}
