internal import CDuckDB

/// Owns a DuckDB type description and frees it.
final class LogicalType {
    private(set) var handle: duckdb_logical_type?

    /// Takes over a description that DuckDB made for the caller.
    init(owning handle: duckdb_logical_type?) {
        self.handle = handle
    }

    convenience init(_ type: DuckDBType) {
        if case .decimal(let width, let scale) = type {
            precondition(
                (1...38).contains(width) && (0...width).contains(scale),
                "a DECIMAL has 1 to 38 digits and at most as many after the point")
            self.init(owning: duckdb_create_decimal_type(UInt8(width), UInt8(scale)))
        } else {
            self.init(owning: duckdb_create_logical_type(type.id))
        }
    }

    deinit {
        duckdb_destroy_logical_type(&handle)
    }

    /// The type in Swift's terms, or nil for one this wrapper does not read.
    var type: DuckDBType? {
        switch duckdb_get_type_id(handle) {
        case DUCKDB_TYPE_BOOLEAN: .bool
        case DUCKDB_TYPE_TINYINT: .int8
        case DUCKDB_TYPE_SMALLINT: .int16
        case DUCKDB_TYPE_INTEGER: .int32
        case DUCKDB_TYPE_BIGINT: .int64
        case DUCKDB_TYPE_UTINYINT: .uint8
        case DUCKDB_TYPE_USMALLINT: .uint16
        case DUCKDB_TYPE_UINTEGER: .uint32
        case DUCKDB_TYPE_UBIGINT: .uint64
        case DUCKDB_TYPE_HUGEINT: .hugeint
        case DUCKDB_TYPE_UHUGEINT: .uhugeint
        case DUCKDB_TYPE_FLOAT: .float
        case DUCKDB_TYPE_DOUBLE: .double
        case DUCKDB_TYPE_DECIMAL:
            .decimal(width: Int(duckdb_decimal_width(handle)), scale: Int(duckdb_decimal_scale(handle)))
        case DUCKDB_TYPE_VARCHAR: .varchar
        case DUCKDB_TYPE_BLOB: .blob
        case DUCKDB_TYPE_DATE: .date
        case DUCKDB_TYPE_TIME: .time
        case DUCKDB_TYPE_TIMESTAMP: .timestamp
        case DUCKDB_TYPE_TIMESTAMP_TZ: .timestampTZ
        case DUCKDB_TYPE_UUID: .uuid
        default: nil
        }
    }

    /// DuckDB's name of the type, without its parameters; for error messages.
    var name: String {
        if let type { return type.description }
        return switch duckdb_get_type_id(handle) {
        case DUCKDB_TYPE_TIMESTAMP_S: "TIMESTAMP_S"
        case DUCKDB_TYPE_TIMESTAMP_MS: "TIMESTAMP_MS"
        case DUCKDB_TYPE_TIMESTAMP_NS: "TIMESTAMP_NS"
        case DUCKDB_TYPE_TIME_TZ: "TIME WITH TIME ZONE"
        case DUCKDB_TYPE_TIME_NS: "TIME_NS"
        case DUCKDB_TYPE_INTERVAL: "INTERVAL"
        case DUCKDB_TYPE_ENUM: "ENUM"
        case DUCKDB_TYPE_LIST: "LIST"
        case DUCKDB_TYPE_ARRAY: "ARRAY"
        case DUCKDB_TYPE_STRUCT: "STRUCT"
        case DUCKDB_TYPE_MAP: "MAP"
        case DUCKDB_TYPE_UNION: "UNION"
        case DUCKDB_TYPE_BIT: "BIT"
        case DUCKDB_TYPE_BIGNUM: "BIGNUM"
        case DUCKDB_TYPE_SQLNULL: "NULL"
        case DUCKDB_TYPE_GEOMETRY: "GEOMETRY"
        case DUCKDB_TYPE_VARIANT: "VARIANT"
        case let id: "number \(id.rawValue)"
        }
    }
}

extension DuckDBType {
    fileprivate var id: duckdb_type {
        switch self {
        case .bool: DUCKDB_TYPE_BOOLEAN
        case .int8: DUCKDB_TYPE_TINYINT
        case .int16: DUCKDB_TYPE_SMALLINT
        case .int32: DUCKDB_TYPE_INTEGER
        case .int64: DUCKDB_TYPE_BIGINT
        case .uint8: DUCKDB_TYPE_UTINYINT
        case .uint16: DUCKDB_TYPE_USMALLINT
        case .uint32: DUCKDB_TYPE_UINTEGER
        case .uint64: DUCKDB_TYPE_UBIGINT
        case .hugeint: DUCKDB_TYPE_HUGEINT
        case .uhugeint: DUCKDB_TYPE_UHUGEINT
        case .float: DUCKDB_TYPE_FLOAT
        case .double: DUCKDB_TYPE_DOUBLE
        case .decimal: DUCKDB_TYPE_DECIMAL
        case .varchar: DUCKDB_TYPE_VARCHAR
        case .blob: DUCKDB_TYPE_BLOB
        case .date: DUCKDB_TYPE_DATE
        case .time: DUCKDB_TYPE_TIME
        case .timestamp: DUCKDB_TYPE_TIMESTAMP
        case .timestampTZ: DUCKDB_TYPE_TIMESTAMP_TZ
        case .uuid: DUCKDB_TYPE_UUID
        }
    }
}
