/// What went wrong in a database, its driver, or on the way there, with the SQL and every record reported.
///
/// No error holds a password: connection strings are redacted before they get here.
public enum ODBCError: Error, Hashable, Sendable {
    /// No connection came about. `target` is the redacted connection string.
    case connect(target: String, records: [Diagnostic])
    /// A statement could not be prepared, run or fetched from; or a transaction not ended.
    case statement(sql: String, records: [Diagnostic])
    /// Some rows of a ``ParameterArray`` were refused. `rows` are their positions; the others may have been
    /// stored, so the caller must roll back.
    case rows(sql: String, rows: [Int], records: [Diagnostic])
    /// A statement was stopped because the caller asked for it.
    case cancelled(sql: String)
    /// Parameters do not fit the statement or their declared type. `parameter` counts from 1.
    case parameter(sql: String, parameter: Int, message: String)
    /// A value did not fit the memory its column's declared size asks for.
    case truncated(sql: String, column: String, message: String)
    /// A value is not what its column's type promises, e.g. a lone surrogate in a string.
    case invalidValue(sql: String, column: String, row: Int, message: String)
    /// A result has a column of a type this wrapper does not read.
    case unsupportedType(sql: String, column: String, type: String)
    /// A column's values were asked for as something they are not stored as.
    case typeMismatch(column: String, storage: ColumnStorage, requested: String)
    /// The statement returned no result set, or no row where one was expected.
    case noResult(sql: String)
    /// `transaction` was called within a transaction on the same connection.
    case nestedTransaction
    /// The connection, statement or cursor was used after it was closed.
    case closed(String)
    /// The connection was given up in an earlier call, to which the server did not answer in time; connect anew.
    case givenUp

    /// The records of the driver and the database, the first being the most telling.
    public var records: [Diagnostic] {
        switch self {
        case .connect(_, let records), .statement(_, let records), .rows(_, _, let records): records
        default: []
        }
    }

    /// What a caller can do about it.
    public var errorClass: ErrorClass {
        switch self {
        // Nobody's verdict on the statement: FreeTDS leaves some connections so that are lost.
        case .statement(_, let records) where records.isEmpty: .transient
        case .connect, .statement, .rows: ErrorClass(records)
        case .cancelled: .cancelled
        case .givenUp: .transient
        default: .permanent
        }
    }

    /// The SQL that failed, whole, where there is one.
    public var sql: String? {
        switch self {
        case .statement(let sql, _), .rows(let sql, _, _), .cancelled(let sql), .parameter(let sql, _, _),
            .truncated(let sql, _, _), .invalidValue(let sql, _, _, _), .unsupportedType(let sql, _, _),
            .noResult(let sql):
            sql
        case .connect, .typeMismatch, .nestedTransaction, .closed, .givenUp: nil
        }
    }
}

extension ODBCError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .connect(let target, let records):
            "Could not connect to \(target): \(Self.text(records))"
        case .statement(let sql, let records):
            "A statement failed: \(Self.text(records))\(Self.excerpt(sql))"
        case .rows(let sql, let rows, let records):
            "\(rows.count) of the rows sent were refused, the first at position \(rows.first ?? 0): \(Self.text(records))\(Self.excerpt(sql))"
        case .cancelled(let sql):
            "A statement was cancelled\(Self.excerpt(sql))"
        case .parameter(let sql, let parameter, let message):
            "Parameter \(parameter) is refused: \(message)\(Self.excerpt(sql))"
        case .truncated(let sql, let column, let message):
            "Column \"\(column)\" has a value longer than the size it declares (\(message)); read it with a boundBytes of 0, or cast it to an unbounded type\(Self.excerpt(sql))"
        case .invalidValue(let sql, let column, let row, let message):
            "Column \"\(column)\" has a value that cannot be read, in row \(row) of the block: \(message)\(Self.excerpt(sql))"
        case .unsupportedType(let sql, let column, let type):
            "Column \"\(column)\" has the type \(type), which is not supported; cast it in the query or leave it out\(Self.excerpt(sql))"
        case .typeMismatch(let column, let storage, let requested):
            "Column \"\(column)\" is stored as \(storage) and cannot be read as \(requested)"
        case .noResult(let sql):
            "The statement returned no row where one was expected\(Self.excerpt(sql))"
        case .nestedTransaction:
            "A transaction was begun within a transaction on the same connection; end the first one before"
        case .closed(let what):
            "The \(what) was used after it was closed"
        case .givenUp:
            "The connection was given up before, because the server did not answer in time"
        }
    }

    private static func text(_ records: [Diagnostic]) -> String {
        records.isEmpty ? "the driver gave no reason" : records.map(\.description).joined(separator: "; ")
    }

    /// Keeps a log line readable when a statement is pages long; `sql` has all of it.
    private static let excerptLength = 1_000

    private static func excerpt(_ sql: String) -> String {
        let text = sql.count <= excerptLength ? sql : sql.prefix(excerptLength) + "…"
        return " [SQL: \(text)]"
    }
}
