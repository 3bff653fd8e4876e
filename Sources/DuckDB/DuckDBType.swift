/// A column type of DuckDB that this wrapper reads and writes.
public enum DuckDBType: Hashable, Sendable {
    case bool
    case int8, int16, int32, int64
    case uint8, uint16, uint32, uint64
    /// 128-bit integers.
    case hugeint, uhugeint
    case float, double
    /// A fixed-point number of `width` digits (1 to 38), `scale` of them after the point.
    case decimal(width: Int, scale: Int)
    case varchar
    case blob
    /// Days since 1970-01-01.
    case date
    /// Microseconds since midnight.
    case time
    /// Microseconds since 1970-01-01 00:00:00, without time zone.
    case timestamp
    /// Microseconds since 1970-01-01 00:00:00 UTC.
    case timestampTZ
    case uuid
}

extension DuckDBType {
    /// How a vector stores the values of a type: one fixed-size element per row.
    public enum Storage: Hashable, Sendable {
        case bool
        case int8, int16, int32, int64, int128
        case uint8, uint16, uint32, uint64, uint128
        case float, double
        /// A length with either the bytes themselves (up to 12) or a pointer to them.
        case bytes
    }

    /// The storage of this type's values.
    ///
    /// A decimal is an integer scaled by `10^scale`, in the smallest of four widths that holds it
    /// (up to 4, 9, 18 and 38 digits). A UUID is an `Int128` whose top bit is flipped, so that signed
    /// order equals the order of its text.
    public var storage: Storage {
        switch self {
        case .bool: .bool
        case .int8: .int8
        case .int16: .int16
        case .int32, .date: .int32
        case .int64, .time, .timestamp, .timestampTZ: .int64
        case .hugeint, .uuid: .int128
        case .uint8: .uint8
        case .uint16: .uint16
        case .uint32: .uint32
        case .uint64: .uint64
        case .uhugeint: .uint128
        case .float: .float
        case .double: .double
        case .varchar, .blob: .bytes
        case .decimal(let width, _):
            if width <= 4 { .int16 } else if width <= 9 { .int32 } else if width <= 18 { .int64 } else { .int128 }
        }
    }
}

extension DuckDBType: CustomStringConvertible {
    /// The type's name in SQL, e.g. `DECIMAL(18,2)`.
    public var description: String {
        switch self {
        case .bool: "BOOLEAN"
        case .int8: "TINYINT"
        case .int16: "SMALLINT"
        case .int32: "INTEGER"
        case .int64: "BIGINT"
        case .uint8: "UTINYINT"
        case .uint16: "USMALLINT"
        case .uint32: "UINTEGER"
        case .uint64: "UBIGINT"
        case .hugeint: "HUGEINT"
        case .uhugeint: "UHUGEINT"
        case .float: "FLOAT"
        case .double: "DOUBLE"
        case .decimal(let width, let scale): "DECIMAL(\(width),\(scale))"
        case .varchar: "VARCHAR"
        case .blob: "BLOB"
        case .date: "DATE"
        case .time: "TIME"
        case .timestamp: "TIMESTAMP"
        case .timestampTZ: "TIMESTAMP WITH TIME ZONE"
        case .uuid: "UUID"
        }
    }
}
