/// The type of a captured or projected column, whatever database it comes from or goes to.
public enum LogicalType: Hashable, Sendable {
    case bool
    /// SQL Server's `tinyint`: 0 to 255.
    case uint8
    case int16
    case int32
    case int64
    case float
    case double
    /// Exact decimal of `precision` digits (1 to 38), `scale` of them after the point.
    case decimal(precision: Int, scale: Int)
    case string
    case binary
    /// Days since 1970-01-01.
    case date
    /// Microseconds since midnight.
    case time
    /// Microseconds since 1970-01-01 00:00:00, without a zone (UTC by convention).
    case timestamp
    /// Microseconds since 1970-01-01 00:00:00 UTC.
    case timestampTZ
    case uuid

    /// Bytes a value takes in a `ColumnVector`; `nil` for variable-width types.
    ///
    /// Decimals have the physical width DuckDB gives them, so a column is copied, not converted.
    @inlinable
    public var byteWidth: Int? {
        switch self {
        case .bool, .uint8: 1
        case .int16: 2
        case .int32, .float, .date: 4
        case .int64, .double, .time, .timestamp, .timestampTZ: 8
        case .uuid: 16
        case .decimal(let precision, _):
            switch precision {
            case ...4: 2
            case ...9: 4
            case ...18: 8
            default: 16
            }
        case .string, .binary: nil
        }
    }
}

extension LogicalType: CustomStringConvertible {
    /// The type as people read it, in the usual words of SQL: `DECIMAL(18,2)`.
    public var description: String {
        switch self {
        case .bool: "BOOLEAN"
        case .uint8: "UTINYINT"
        case .int16: "SMALLINT"
        case .int32: "INTEGER"
        case .int64: "BIGINT"
        case .float: "FLOAT"
        case .double: "DOUBLE"
        case .decimal(let precision, let scale): "DECIMAL(\(precision),\(scale))"
        case .string: "VARCHAR"
        case .binary: "BLOB"
        case .date: "DATE"
        case .time: "TIME"
        case .timestamp: "TIMESTAMP"
        case .timestampTZ: "TIMESTAMPTZ"
        case .uuid: "UUID"
        }
    }
}
