/// One value of a row or of a parameter.
///
/// Integers up to 64 bits are `.int`, whatever their width; only UBIGINT is `.uint64`.
public enum Value: Hashable, Sendable {
    case null
    case bool(Bool)
    case int(Int64)
    case uint64(UInt64)
    case hugeint(Int128)
    case uhugeint(UInt128)
    case float(Float)
    case double(Double)
    /// The value times `10^scale`: 12.50 is `.decimal(1250, scale: 2)`.
    case decimal(Int128, scale: Int)
    case string(String)
    case blob([UInt8])
    /// Days since 1970-01-01.
    case date(Int32)
    /// Microseconds since midnight.
    case time(Int64)
    /// Microseconds since 1970-01-01 00:00:00, without time zone.
    case timestamp(Int64)
    /// Microseconds since 1970-01-01 00:00:00 UTC.
    case timestampTZ(Int64)
    /// Hexadecimal in groups of 8-4-4-4-12; lower case when DuckDB returned it.
    case uuid(String)

    public var isNull: Bool { self == .null }

    /// The integer, where there is one that fits in 64 bits.
    public var int64: Int64? {
        switch self {
        case .int(let value): value
        case .uint64(let value): Int64(exactly: value)
        case .hugeint(let value): Int64(exactly: value)
        case .uhugeint(let value): Int64(exactly: value)
        default: nil
        }
    }

    public var string: String? {
        if case .string(let value) = self { value } else { nil }
    }
}

extension Value: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByFloatLiteral, ExpressibleByStringLiteral
{
    public init(nilLiteral: ()) { self = .null }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(integerLiteral value: Int64) { self = .int(value) }
    public init(floatLiteral value: Double) { self = .double(value) }
    public init(stringLiteral value: String) { self = .string(value) }
}

extension Value: CustomStringConvertible {
    /// The value as DuckDB prints it, but that a decimal always has a digit before the point.
    public var description: String {
        switch self {
        case .null: "NULL"
        case .bool(let value): "\(value)"
        case .int(let value): "\(value)"
        case .uint64(let value): "\(value)"
        case .hugeint(let value): "\(value)"
        case .uhugeint(let value): "\(value)"
        case .float(let value): "\(value)"
        case .double(let value): "\(value)"
        case .decimal(let value, let scale): Decimals.text(value, scale: scale)
        case .string(let value), .uuid(let value): value
        case .blob(let bytes): bytes.map(Self.blobText).joined()
        case .date(let days): Calendar.date(days)
        case .time(let micros): Calendar.time(micros)
        case .timestamp(let micros): Calendar.timestamp(micros)
        case .timestampTZ(let micros):
            Calendar.isInfinite(micros) ? Calendar.timestamp(micros) : Calendar.timestamp(micros) + "+00"
        }
    }

    /// A byte of a blob: itself where it is printable and plain, else `\x` and two hexadecimal digits.
    private static func blobText(_ byte: UInt8) -> String {
        if (0x20...0x7e).contains(byte) && !#"\"'"#.utf8.contains(byte) { return String(UnicodeScalar(byte)) }
        let digits = String(byte, radix: 16, uppercase: true)
        return (byte < 16 ? "\\x0" : "\\x") + digits
    }
}
