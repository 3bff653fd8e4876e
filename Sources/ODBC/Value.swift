public import Foundation

/// One value of a row or of a parameter.
public enum Value: Hashable, Sendable {
    /// NULL; as a parameter it is sent as a string, which every type but SQL Server's `varbinary` takes.
    case null
    /// NULL of a declared type, as a parameter.
    case typedNull(ParameterType)
    case bool(Bool)
    /// An integer of any width up to 64 bits.
    case int(Int64)
    case float(Float)
    case double(Double)
    /// The value times `10^scale`: 12.50 is `.decimal(1250, scale: 2)`.
    case decimal(Int128, scale: Int)
    case string(String)
    case binary([UInt8])
    case date(DateParts)
    case time(TimeParts)
    case timestamp(TimestampParts)
    case timestampOffset(TimestampOffsetParts)
    case uuid(UUID)

    public var isNull: Bool {
        switch self {
        case .null, .typedNull: true
        default: false
        }
    }

    public var int64: Int64? {
        if case .int(let value) = self { value } else { nil }
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
