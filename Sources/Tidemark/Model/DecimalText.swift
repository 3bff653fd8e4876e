/// Decimals between text and the scaled integers of a `ColumnVector`, byte by byte.
///
///     try DecimalText.parse("12.5", precision: 18, scale: 2)  // 1250
///     DecimalText.string(1250, scale: 2)                      // "12.50"
public enum DecimalText {
    /// Bytes the longest decimal takes: a sign, 38 digits, a point and a zero before it.
    public static let maxLength = 41

    /// 10 to the power of `exponent`, 0 to 38.
    @inlinable
    public static func power(_ exponent: Int) -> Int128 {
        exponent <= 18 ? Int128(smallPowers[exponent]) : Int128(smallPowers[18]) * power(exponent - 18)
    }

    @usableFromInline
    static let smallPowers: [Int64] = (0...18).map { exponent in
        (0..<exponent).reduce(Int64(1)) { power, _ in power * 10 }
    }

    /// Reads `[+-]digits[.digits][e[+-]digits]` as an integer scaled by `scale`.
    ///
    /// Zeros beyond the scale are dropped; any other digit there is an error, as is a value of more digits
    /// than `precision` allows. An exponent is fine when the value is exact at the scale.
    @inlinable
    public static func parse(
        _ bytes: UnsafeRawBufferPointer, precision: Int, scale: Int
    ) throws(UnreadableText) -> Int128 {
        // Up to 18 digits fit an Int64, and nearly all decimals have fewer.
        if bytes.count <= 19, precision <= 18 {
            var index = 0
            var value: Int64 = 0
            var digits = 0
            var fraction = -1
            let negative = bytes.first == UInt8(ascii: "-")
            if negative { index = 1 }
            var plain = true
            while index < bytes.count {
                let digit = bytes[index] &- UInt8(ascii: "0")
                if digit <= 9 {
                    value = value &* 10 &+ Int64(digit)
                    digits += 1
                    if fraction >= 0 { fraction += 1 }
                } else if bytes[index] == UInt8(ascii: "."), fraction < 0 {
                    fraction = 0
                } else {
                    plain = false
                    break
                }
                index += 1
            }
            let shift = scale - max(fraction, 0)
            if plain, digits > 0, digits <= 18, shift >= 0, digits + shift <= precision {
                for _ in 0..<shift { value &*= 10 }
                return Int128(negative ? -value : value)
            }
        }
        return try parseAnyForm(bytes, precision: precision, scale: scale)
    }

    /// `parse` for text that has an exponent, excess zeros, more than 18 digits, or is wrong.
    @usableFromInline
    static func parseAnyForm(
        _ bytes: UnsafeRawBufferPointer, precision: Int, scale: Int
    ) throws(UnreadableText) -> Int128 {
        var index = 0
        var negative = false
        if let sign = bytes.first, sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") {
            negative = sign == UInt8(ascii: "-")
            index = 1
        }
        // The digits are held without their trailing zeros, so that a digit that does not fit is never a zero.
        var significand: Int128 = 0
        var digits = 0
        var trailingZeros = 0
        var fraction = 0
        var sawDigit = false
        var sawPoint = false
        scan: while index < bytes.count {
            let byte = bytes[index]
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                sawDigit = true
                if sawPoint { fraction += 1 }
                if byte == UInt8(ascii: "0") {
                    if digits > 0 { trailingZeros += 1 }
                } else {
                    digits += trailingZeros + 1
                    // Beyond 38 digits the value is an error below, whatever they are.
                    if digits <= 38 {
                        significand = significand * power(trailingZeros + 1) + Int128(byte - UInt8(ascii: "0"))
                    }
                    trailingZeros = 0
                }
            case UInt8(ascii: ".") where !sawPoint:
                sawPoint = true
            default:
                break scan
            }
            index += 1
        }
        guard sawDigit else { throw UnreadableText(bytes, isNot: "a decimal number") }
        var exponent = 0
        if index < bytes.count, bytes[index] | 0x20 == UInt8(ascii: "e") {
            index += 1
            var isNegative = false
            if index < bytes.count, bytes[index] == UInt8(ascii: "-") || bytes[index] == UInt8(ascii: "+") {
                isNegative = bytes[index] == UInt8(ascii: "-")
                index += 1
            }
            let start = index
            while index < bytes.count, bytes[index] &- UInt8(ascii: "0") <= 9 {
                exponent = min(exponent * 10 + Int(bytes[index] - UInt8(ascii: "0")), 1_000_000)
                index += 1
            }
            guard index > start else { throw UnreadableText(bytes, isNot: "a decimal number") }
            if isNegative { exponent = -exponent }
        }
        guard index == bytes.count else { throw UnreadableText(bytes, isNot: "a decimal number") }
        guard digits > 0 else { return 0 }
        let shift = trailingZeros - fraction + exponent + scale
        guard shift >= 0 else {
            throw UnreadableText(bytes, isNot: "exact with \(scale) digits after the point")
        }
        guard digits + shift <= precision else {
            throw UnreadableText(bytes, isNot: "within the \(precision) digits of DECIMAL(\(precision),\(scale))")
        }
        let magnitude = significand * power(shift)
        return negative ? -magnitude : magnitude
    }

    public static func parse(
        _ text: some StringProtocol, precision: Int, scale: Int
    ) throws(UnreadableText) -> Int128 {
        try withUTF8Bytes(of: text) { bytes throws(UnreadableText) in
            try parse(bytes, precision: precision, scale: scale)
        }
    }

    /// Writes `value` with exactly `scale` digits after the point and returns the number of bytes.
    ///
    /// - Parameter buffer: at least `maxLength` bytes.
    @inlinable
    public static func write(_ value: Int128, scale: Int, to buffer: UnsafeMutableRawBufferPointer) -> Int {
        // Digits are produced from the last to the first at the end of the buffer, then moved to its front.
        var position = maxLength
        var written = 0
        func put(_ byte: UInt8) {
            position -= 1
            buffer[position] = byte
        }
        func putDigit(_ digit: UInt8) {
            if written == scale, scale > 0 { put(UInt8(ascii: ".")) }
            put(UInt8(ascii: "0") &+ digit)
            written += 1
        }
        var magnitude = value.magnitude
        while magnitude > UInt128(UInt64.max) {
            let (quotient, remainder) = magnitude.quotientAndRemainder(dividingBy: 10)
            putDigit(UInt8(truncatingIfNeeded: remainder))
            magnitude = quotient
        }
        var small = UInt64(truncatingIfNeeded: magnitude)
        while small > 0 || written <= scale {
            let quotient = small / 10
            putDigit(UInt8(truncatingIfNeeded: small &- quotient &* 10))
            small = quotient
        }
        if value < 0 { put(UInt8(ascii: "-")) }
        let length = maxLength - position
        buffer.baseAddress!.copyMemory(from: buffer.baseAddress! + position, byteCount: length)
        return length
    }

    /// `value` with exactly `scale` digits after the point.
    public static func string(_ value: Int128, scale: Int) -> String {
        withUnsafeTemporaryAllocation(byteCount: maxLength, alignment: 1) { buffer in
            let length = write(value, scale: scale, to: buffer)
            return String(decoding: buffer[..<length], as: UTF8.self)
        }
    }
}
