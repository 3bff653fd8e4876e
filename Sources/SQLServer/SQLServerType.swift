public import Tidemark

/// A column's type as SQL Server's catalog declares it, and what the pipeline makes of it.
///
/// Ranges and sizes: https://learn.microsoft.com/sql/t-sql/data-types/data-types-transact-sql
public struct SQLServerType: Hashable, Sendable {
    /// The system type's name in `sys.types`, e.g. `nvarchar`; an alias type's base.
    public let name: String
    /// `max_length` of `sys.columns`: bytes, -1 for `(max)`.
    public let maxLength: Int
    public let precision: Int
    public let scale: Int

    public init(name: String, maxLength: Int = 0, precision: Int = 0, scale: Int = 0) {
        self.name = name.lowercased()
        self.maxLength = maxLength
        self.precision = precision
        self.scale = scale
    }

    /// How a column of the type travels; `nil` for types the pipeline cannot carry (`sql_variant`, `geometry`,
    /// `geography`, `hierarchyid`, `vector` and other CLR types).
    public var mapping: Mapping? {
        switch name {
        case "bit": Mapping(.bool)
        case "tinyint": Mapping(.uint8)
        case "smallint": Mapping(.int16)
        case "int": Mapping(.int32)
        case "bigint": Mapping(.int64)
        case "decimal", "numeric": Mapping(.decimal(precision: precision, scale: scale))
        // FreeTDS describes money as text; as a decimal both drivers hand out the same exact number.
        case "money": Mapping(.decimal(precision: 19, scale: 4), cast: "decimal(19, 4)")
        case "smallmoney": Mapping(.decimal(precision: 10, scale: 4), cast: "decimal(10, 4)")
        case "real": Mapping(.float)
        case "float": Mapping(.double)
        case "date": Mapping(.date)
        // A time's seventh digit has no place in DuckDB's microseconds, so such columns travel as text.
        case "time":
            scale <= Self.carriedDigits
                ? Mapping(.time) : Mapping(.string, maxLength: 16, convert: ("nvarchar(16)", nil))
        case "datetime2":
            scale <= Self.carriedDigits
                ? Mapping(.timestamp) : Mapping(.string, maxLength: 27, convert: ("nvarchar(27)", 121))
        case "datetimeoffset":
            scale <= Self.carriedDigits
                ? Mapping(.timestampTZ) : Mapping(.string, maxLength: 34, convert: ("nvarchar(34)", 121))
        // Thousandths are how SQL Server itself shows the 300ths of a second datetime counts.
        case "datetime": Mapping(.timestamp, cast: "datetime2(3)")
        case "smalldatetime": Mapping(.timestamp, cast: "datetime2(0)")
        case "char", "varchar": text(units: maxLength)
        case "nchar", "nvarchar": text(units: maxLength < 0 ? -1 : maxLength / 2)
        case "text", "ntext", "xml", "json": text(units: -1)
        case "binary", "varbinary":
            Mapping(.binary, maxLength: maxLength < 0 ? nil : maxLength)
        case "image": Mapping(.binary, cast: "varbinary(max)")
        case "timestamp", "rowversion": Mapping(.binary, maxLength: 8, cast: "binary(8)")
        case "uniqueidentifier": Mapping(.uuid)
        default: nil
        }
    }

    /// Digits of a second's fraction that a microsecond has.
    static let carriedDigits = 6

    /// Text is asked for in UTF-16, so that the server translates its code pages and no driver has to.
    private func text(units: Int) -> Mapping {
        guard (0...4_000).contains(units) else { return Mapping(.string, cast: "nvarchar(max)") }
        return Mapping(.string, maxLength: units, cast: name == "nvarchar" ? nil : "nvarchar(\(units))")
    }

    /// How a column travels.
    public struct Mapping: Hashable, Sendable {
        public let type: LogicalType
        /// As `Column.maxLength`.
        public let maxLength: Int?
        /// Makes the selected expression of a quoted column name.
        private let wrapper: Wrapper

        private enum Wrapper: Hashable, Sendable {
            case none
            case cast(String)
            case convert(String, style: Int?)
        }

        init(
            _ type: LogicalType, maxLength: Int? = nil, cast: String? = nil, convert: (type: String, style: Int?)? = nil
        ) {
            self.type = type
            self.maxLength = maxLength
            wrapper =
                cast.map { .cast($0) } ?? convert.map { .convert($0.type, style: $0.style) } ?? .none
        }

        /// The expression that selects a column so that every driver hands out its exact value.
        func expression(_ column: String) -> String {
            switch wrapper {
            case .none: column
            case .cast(let type): "CAST(\(column) AS \(type))"
            case .convert(let type, let style?): "CONVERT(\(type), \(column), \(style))"
            case .convert(let type, nil): "CONVERT(\(type), \(column))"
            }
        }
    }
}

extension SQLServerType: CustomStringConvertible {
    /// As T-SQL declares it, e.g. `decimal(18,2)`.
    public var description: String {
        switch name {
        case "decimal", "numeric": "\(name)(\(precision),\(scale))"
        case "time", "datetime2", "datetimeoffset": "\(name)(\(scale))"
        case "char", "varchar", "binary", "varbinary": "\(name)(\(maxLength < 0 ? "max" : "\(maxLength)"))"
        case "nchar", "nvarchar": "\(name)(\(maxLength < 0 ? "max" : "\(maxLength / 2)"))"
        default: name
        }
    }
}

extension SQLServerType {
    /// The type that keeps every value of a logical type unchanged.
    ///
    /// - Parameter maxLength: as `Column.maxLength`; beyond what SQL Server bounds, `(max)`.
    init(_ type: LogicalType, maxLength: Int?) {
        func bytes(_ limit: Int, of unit: Int) -> Int {
            maxLength.flatMap { $0 <= limit ? max($0, 1) * unit : nil } ?? -1
        }
        switch type {
        case .bool: self.init(name: "bit")
        case .uint8: self.init(name: "tinyint")
        case .int16: self.init(name: "smallint")
        case .int32: self.init(name: "int")
        case .int64: self.init(name: "bigint")
        case .float: self.init(name: "real")
        case .double: self.init(name: "float")
        case .decimal(let precision, let scale): self.init(name: "decimal", precision: precision, scale: scale)
        case .string: self.init(name: "nvarchar", maxLength: bytes(4_000, of: 2))
        case .binary: self.init(name: "varbinary", maxLength: bytes(8_000, of: 1))
        case .date: self.init(name: "date")
        case .time: self.init(name: "time", scale: Self.carriedDigits)
        case .timestamp: self.init(name: "datetime2", scale: Self.carriedDigits)
        case .timestampTZ: self.init(name: "datetimeoffset", scale: Self.carriedDigits)
        case .uuid: self.init(name: "uniqueidentifier")
        }
    }
}

extension LogicalType {
    /// How T-SQL declares the type that keeps every value of this one.
    ///
    /// - Parameter maxLength: as `Column.maxLength`.
    func declaration(maxLength: Int?) -> String { SQLServerType(self, maxLength: maxLength).description }
}
