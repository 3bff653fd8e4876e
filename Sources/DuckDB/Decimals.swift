/// Arithmetic on scaled integers.
enum Decimals {
    /// 10 to the powers 0 to 38, the last of which is the largest that a 128-bit integer holds.
    private static let powersOfTen: [Int128] = (0...38).map { exponent in
        (0..<exponent).reduce(Int128(1)) { power, _ in power * 10 }
    }

    /// Whether a scaled integer has at most `width` digits.
    static func fits(_ value: Int128, width: Int) -> Bool {
        value.magnitude < powersOfTen[width].magnitude
    }

    static func text(_ value: Int128, scale: Int) -> String {
        var digits = String(value.magnitude)
        if scale > 0 {
            digits = String(repeating: "0", count: max(0, scale + 1 - digits.count)) + digits
            digits.insert(".", at: digits.index(digits.endIndex, offsetBy: -scale))
        }
        return value < 0 ? "-" + digits : digits
    }
}
