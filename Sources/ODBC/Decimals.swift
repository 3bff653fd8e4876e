/// Decimals as text and as scaled integers.
enum Decimals {
    /// 10 to the powers 0 to 38, the last of which is the largest that a 128-bit integer holds.
    static let powersOfTen: [Int128] = (0...38).map { exponent in
        (0..<exponent).reduce(Int128(1)) { power, _ in power * 10 }
    }

    /// Whether a scaled integer has at most `precision` digits.
    static func fits(_ value: Int128, precision: Int) -> Bool {
        value.magnitude < powersOfTen[precision].magnitude
    }

    static func text(_ value: Int128, scale: Int) -> String {
        var digits = String(value.magnitude)
        if scale > 0 {
            digits = String(repeating: "0", count: max(0, scale + 1 - digits.count)) + digits
            digits.insert(".", at: digits.index(digits.endIndex, offsetBy: -scale))
        }
        return value < 0 ? "-" + digits : digits
    }

    /// The value times `10^(to - from)`; nil when digits would be lost.
    @inline(__always)
    static func rescale(_ value: Int128, from: Int, to: Int) -> Int128? {
        if from == to { return value }
        guard abs(to - from) <= 38 else { return value == 0 ? 0 : nil }
        if to > from {
            let (result, overflow) = value.multipliedReportingOverflow(by: powersOfTen[to - from])
            return overflow ? nil : result
        }
        let (quotient, remainder) = value.quotientAndRemainder(dividingBy: powersOfTen[from - to])
        return remainder == 0 ? quotient : nil
    }

    /// Reads `-12.50`, `+1`, `.5`, `1e3`, blanks around; nil for anything else or more than 38 digits.
    static func parse(_ bytes: UnsafeRawBufferPointer) -> (value: Int128, scale: Int)? {
        var index = bytes.startIndex
        var end = bytes.endIndex
        while index < end, bytes[index] == UInt8(ascii: " ") { index += 1 }
        while end > index, bytes[end - 1] == UInt8(ascii: " ") || bytes[end - 1] == 0 { end -= 1 }
        guard index < end else { return nil }
        let isNegative = bytes[index] == UInt8(ascii: "-")
        if isNegative || bytes[index] == UInt8(ascii: "+") { index += 1 }
        var value: Int128 = 0
        var scale = 0
        var digits = 0
        var seenPoint = false
        while index < end {
            let byte = bytes[index]
            if byte == UInt8(ascii: "."), !seenPoint {
                seenPoint = true
            } else if byte == UInt8(ascii: "e") || byte == UInt8(ascii: "E"), digits > 0 {
                guard let exponent = Int(String(decoding: bytes[(index + 1)..<end], as: UTF8.self)),
                    abs(exponent) <= 1_000
                else { return nil }
                scale -= exponent
                index = end
                break
            } else {
                let (digit, underflow) = byte.subtractingReportingOverflow(UInt8(ascii: "0"))
                guard !underflow, digit <= 9 else { return nil }
                let (product, overflow) = value.multipliedReportingOverflow(by: 10)
                let (sum, carry) = product.addingReportingOverflow(Int128(digit))
                guard !overflow, !carry else { return nil }
                value = sum
                digits += 1
                if seenPoint { scale += 1 }
            }
            index += 1
        }
        guard digits > 0 else { return nil }
        if scale < 0 {
            guard let whole = rescale(value, from: scale, to: 0) else { return nil }
            value = whole
            scale = 0
        }
        return (isNegative ? -value : value, scale)
    }
}
