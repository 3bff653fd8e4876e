internal import CODBC

/// A type of SQL, as a driver describes a result's column.
public enum SQLType: Hashable, Sendable {
    case bit
    case tinyint, smallint, integer, bigint
    case real, double
    case decimal(precision: Int, scale: Int)
    /// Text of at most so many characters; nil when nothing bounds it.
    case text(length: Int?)
    /// Bytes; nil when nothing bounds them.
    case binary(length: Int?)
    case date
    /// `scale` is the digits of a second's fraction.
    case time(scale: Int)
    case timestamp(scale: Int)
    case timestampOffset(scale: Int)
    case guid
    case xml
    /// ODBC's code of a type that this wrapper does not read.
    case other(Int)
}

/// How the values of a column lie in a ``BlockCursor``.
public enum ColumnStorage: Hashable, Sendable {
    /// `UInt8`, 0 or 1.
    case bool
    case uint8, int16, int32, int64
    case float, double
    /// ``NumericParts``.
    case numeric
    /// ``DateParts``.
    case date
    /// ``TimeParts``.
    case time
    /// ``TimestampParts``.
    case timestamp
    /// ``TimestampOffsetParts``.
    case timestampOffset
    /// ``GUIDParts``.
    case guid
    /// Text in ASCII that stands for a decimal, a time or a GUID; read it with the accessor for those.
    case decimalText, timeText, guidText
    /// Text, kept as the driver gave it; read it as UTF-8.
    case utf8, utf16
    case binary
}

/// A column of a result.
public struct Column: Hashable, Sendable {
    public let name: String
    public let type: SQLType
    /// The database's own name for the type, e.g. `nvarchar`.
    public let typeName: String
    /// False only where the driver is sure of it.
    public let isNullable: Bool
    public let storage: ColumnStorage
    /// Values come one by one in pieces, since no size bounds them; all rows of such a result do.
    public let isStreamed: Bool

    /// Bytes of a value in the block; for text and binary, of the longest one.
    let width: Int
    let cType: SQLSMALLINT
    /// For SQL_C_NUMERIC, which wants both told.
    let precision: Int
    let scale: Int
}

extension Column {
    /// Describes column `number`, the first being 1, and chooses how to fetch it.
    init(_ statement: Statement, number: Int, options: BlockCursor.Options) throws {
        let handle = try statement.openHandle()
        let traits = statement.connection.traits
        var units = [SQLWCHAR](repeating: 0, count: 1_024)
        var code: SQLSMALLINT = 0
        var size: SQLULEN = 0
        var digits: SQLSMALLINT = 0
        var nullable: SQLSMALLINT = 0
        try statement.check(
            SQLDescribeColW(
                handle, SQLUSMALLINT(number), &units, SQLSMALLINT(units.count), nil, &code, &size, &digits, &nullable))
        let name = String(decoding: units.prefix { $0 != 0 }, as: UTF16.self)
        let typeName = Self.typeName(handle, number)
        // Unlimited sizes come as 0, or as 2^31 - 1 and the like, or as SQL_NO_TOTAL in an unsigned number.
        let length = (1...Int(Int32.max) / 2).contains(Int(truncatingIfNeeded: size)) ? Int(size) : nil
        let scale = Int(digits)
        let isUnsigned = Self.isUnsigned(handle, number)

        guard let type = SQLType(code: Int(code), length: length, scale: scale) else {
            throw ODBCError.unsupportedType(
                sql: statement.sql, column: name, type: typeName.isEmpty ? "\(code)" : typeName)
        }
        self.name = name
        self.type = type
        self.typeName = typeName
        self.isNullable = Int32(nullable) != SQL_NO_NULLS
        self.scale = scale
        self.precision = length ?? 0

        var storage: ColumnStorage
        var cType: Int
        var width: Int?
        func set(_ newStorage: ColumnStorage, _ newType: Int, _ newWidth: Int?) {
            (storage, cType, width) = (newStorage, newType, newWidth)
        }
        func setText(_ length: Int?) {
            if traits.usesUTF8 {
                set(.utf8, CODBC_C_CHAR, length.map { $0 * 4 + 1 })
            } else {
                set(.utf16, CODBC_C_WCHAR, length.map { ($0 * traits.unitsPerCharacter + 1) * 2 })
            }
        }
        // Both drivers call SQL Server's tinyint unsigned; elsewhere it may be signed.
        (storage, cType, width) = (.int64, CODBC_C_SBIGINT, 8)
        switch type {
        case .bit: set(.bool, CODBC_C_BIT, 1)
        case .tinyint where isUnsigned && !traits.hasWideIntegers: set(.uint8, CODBC_C_UTINYINT, 1)
        case .tinyint where !traits.hasWideIntegers: set(.int16, CODBC_C_SSHORT, 2)
        case .smallint where !isUnsigned && !traits.hasWideIntegers: set(.int16, CODBC_C_SSHORT, 2)
        case .smallint where !traits.hasWideIntegers: set(.int32, CODBC_C_SLONG, 4)
        case .integer where !isUnsigned && !traits.hasWideIntegers: set(.int32, CODBC_C_SLONG, 4)
        case .bigint where isUnsigned && !traits.hasWideIntegers: set(.decimalText, CODBC_C_CHAR, 22)
        case .tinyint, .smallint, .integer, .bigint: break
        case .real: set(.float, CODBC_C_FLOAT, 4)
        case .double: set(.double, CODBC_C_DOUBLE, 8)
        case .decimal(let precision, _):
            switch traits.decimalBinding(typeName: typeName) {
            case .numeric: set(.numeric, CODBC_C_NUMERIC, MemoryLayout<NumericParts>.size)
            case .binaryNumeric: set(.numeric, CODBC_C_BINARY, MemoryLayout<NumericParts>.size)
            // A sign, a leading zero, a point, a terminator; and some where precision is not what it seems.
            case .text: set(.decimalText, CODBC_C_CHAR, max(precision, 38) + 8)
            }
        case .text(let length): setText(length)
        case .xml: setText(nil)
        case .binary(let length): set(.binary, CODBC_C_BINARY, length)
        case .date: set(.date, CODBC_C_TYPE_DATE, MemoryLayout<DateParts>.size)
        // SQL_TIME_STRUCT has no fraction, so only SQL Server's own struct will do.
        case .time where Int(code) == CODBC_SS_TIME2: set(.time, CODBC_C_BINARY, MemoryLayout<TimeParts>.size)
        case .time: set(.timeText, CODBC_C_CHAR, 32)
        case .timestamp: set(.timestamp, CODBC_C_TYPE_TIMESTAMP, MemoryLayout<TimestampParts>.size)
        case .timestampOffset: set(.timestampOffset, CODBC_C_BINARY, MemoryLayout<TimestampOffsetParts>.size)
        case .guid where traits.hasGUIDs: set(.guid, CODBC_C_GUID, MemoryLayout<GUIDParts>.size)
        case .guid: set(.guidText, CODBC_C_CHAR, 40)
        case .other: break
        }
        let isVariable = [.utf8, .utf16, .binary].contains(storage)
        let isBounded = !isVariable || traits.enforcesDeclaredSizes && width.map { $0 <= options.boundBytes } == true
        self.storage = storage
        self.cType = SQLSMALLINT(cType)
        self.isStreamed = !isBounded
        self.width = isBounded ? max(1, width ?? 1) : 0
    }

    private static func typeName(_ handle: SQLHSTMT, _ number: Int) -> String {
        var units = [SQLWCHAR](repeating: 0, count: 256)
        let bytes = SQLSMALLINT((units.count - 1) * 2)
        let result = SQLColAttributeW(
            handle, SQLUSMALLINT(number), SQLUSMALLINT(SQL_DESC_TYPE_NAME), &units, bytes, nil, nil)
        return succeeded(result) ? String(decoding: units.prefix { $0 != 0 }, as: UTF16.self) : ""
    }

    private static func isUnsigned(_ handle: SQLHSTMT, _ number: Int) -> Bool {
        var value: SQLLEN = 0
        let result = SQLColAttributeW(
            handle, SQLUSMALLINT(number), SQLUSMALLINT(SQL_DESC_UNSIGNED), nil, 0, nil, &value)
        return succeeded(result) && value == SQLLEN(SQL_TRUE)
    }
}

extension SQLType {
    /// - Parameters:
    ///   - length: the declared size or precision; nil when it is unlimited.
    /// - Returns: nil for a type that is not read.
    init?(code: Int, length: Int?, scale: Int) {
        switch code {
        case Int(SQL_BIT): self = .bit
        case Int(SQL_TINYINT): self = .tinyint
        case Int(SQL_SMALLINT): self = .smallint
        case Int(SQL_INTEGER): self = .integer
        case Int(SQL_BIGINT): self = .bigint
        case Int(SQL_REAL): self = .real
        case Int(SQL_FLOAT), Int(SQL_DOUBLE): self = .double
        case Int(SQL_DECIMAL), Int(SQL_NUMERIC): self = .decimal(precision: length ?? 38, scale: scale)
        case Int(SQL_CHAR), Int(SQL_VARCHAR), Int(SQL_WCHAR), Int(SQL_WVARCHAR): self = .text(length: length)
        case Int(SQL_LONGVARCHAR), Int(SQL_WLONGVARCHAR): self = .text(length: nil)
        case Int(SQL_BINARY), Int(SQL_VARBINARY): self = .binary(length: length)
        case Int(SQL_LONGVARBINARY): self = .binary(length: nil)
        // ODBC 2's codes as well, which some drivers keep.
        case Int(SQL_TYPE_DATE), Int(SQL_DATE): self = .date
        case Int(SQL_TYPE_TIME), Int(SQL_TIME): self = .time(scale: scale)
        case Int(SQL_TYPE_TIMESTAMP), Int(SQL_TIMESTAMP): self = .timestamp(scale: scale)
        case CODBC_SS_TIME2: self = .time(scale: scale)
        case CODBC_SS_TIMESTAMPOFFSET: self = .timestampOffset(scale: scale)
        case Int(SQL_GUID): self = .guid
        case CODBC_SS_XML: self = .xml
        default: return nil
        }
    }
}
