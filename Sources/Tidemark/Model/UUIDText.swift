/// UUIDs between text and the 16 bytes of a `ColumnVector`.
///
/// The packed value is DuckDB's: the UUID as a big-endian number with its top bit flipped, so that signed
/// comparison orders UUIDs as their text does.
public enum UUIDText {
    public static let length = 36

    /// Reads `8-4-4-4-12` hexadecimal digits in either case.
    @inlinable
    public static func parse(_ bytes: UnsafeRawBufferPointer) throws(UnreadableText) -> Int128 {
        guard bytes.count == length else { throw UnreadableText(bytes, isNot: "a UUID") }
        var value: UInt128 = 0
        for index in 0..<length {
            let byte = bytes[index]
            if index == 8 || index == 13 || index == 18 || index == 23 {
                guard byte == UInt8(ascii: "-") else { throw UnreadableText(bytes, isNot: "a UUID") }
                continue
            }
            let digit: UInt8
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
            default: throw UnreadableText(bytes, isNot: "a UUID")
            }
            value = value << 4 | UInt128(digit)
        }
        return packed(value)
    }

    /// The packed value of a UUID given as a big-endian number.
    @inlinable
    public static func packed(_ number: UInt128) -> Int128 {
        Int128(truncatingIfNeeded: number ^ (1 << 127))
    }

    /// Writes 36 bytes with lower-case digits.
    @inlinable
    public static func write(_ packed: Int128, to buffer: UnsafeMutableRawBufferPointer) {
        let value = UInt128(truncatingIfNeeded: packed) ^ (1 << 127)
        var shift = 124
        for index in 0..<length {
            if index == 8 || index == 13 || index == 18 || index == 23 {
                buffer[index] = UInt8(ascii: "-")
                continue
            }
            let digit = UInt8(truncatingIfNeeded: value >> UInt128(shift)) & 15
            buffer[index] = digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10
            shift -= 4
        }
    }
}
