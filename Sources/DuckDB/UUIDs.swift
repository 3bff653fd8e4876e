/// Conversions between the three shapes of a UUID: text, number and what DuckDB stores.
enum UUIDs {
    /// DuckDB flips the top bit, so that its signed 128-bit order is the order of the text.
    static func number(stored: Int128) -> UInt128 {
        UInt128(bitPattern: stored) ^ (1 << 127)
    }

    static func stored(_ number: UInt128) -> Int128 {
        Int128(bitPattern: number ^ (1 << 127))
    }

    static func text(_ number: UInt128) -> String {
        var digits = String(number, radix: 16)
        digits = String(repeating: "0", count: 32 - digits.count) + digits
        for offset in [20, 16, 12, 8] {
            digits.insert("-", at: digits.index(digits.startIndex, offsetBy: offset))
        }
        return digits
    }

    /// Reads 32 hexadecimal digits, with or without the four hyphens; nil for anything else.
    static func number(_ text: String) -> UInt128? {
        let digits = text.utf8.filter { $0 != UInt8(ascii: "-") }
        // UInt128(_:radix:) would take a sign.
        guard digits.count == 32, digits.first != UInt8(ascii: "+") else { return nil }
        return UInt128(String(decoding: digits, as: UTF8.self), radix: 16)
    }
}
