/// Text between Swift's UTF-8 and ODBC's UTF-16, without loss.
enum UTF16Text {
    /// UTF-8 bytes that one UTF-16 unit takes at most.
    static let maxBytesPerUnit = 3

    /// Writes UTF-16 as UTF-8 and returns the bytes written; nil for a lone surrogate, which UTF-8 cannot hold.
    ///
    /// - Parameter output: room for ``maxBytesPerUnit`` bytes for each unit.
    static func transcode(_ units: UnsafeBufferPointer<UInt16>, to output: UnsafeMutablePointer<UInt8>) -> Int? {
        guard var input = units.baseAddress else { return 0 }
        let end = input + units.count
        var output = output
        let start = output
        while input < end {
            // Four ASCII units at a time.
            while end - input >= 4 {
                let word = UInt64(littleEndian: UnsafeRawPointer(input).loadUnaligned(as: UInt64.self))
                guard word & 0xff80_ff80_ff80_ff80 == 0 else { break }
                output[0] = UInt8(truncatingIfNeeded: word)
                output[1] = UInt8(truncatingIfNeeded: word >> 16)
                output[2] = UInt8(truncatingIfNeeded: word >> 32)
                output[3] = UInt8(truncatingIfNeeded: word >> 48)
                input += 4
                output += 4
            }
            guard input < end else { break }
            let unit = UInt32(input.pointee)
            input += 1
            if unit < 0x80 {
                output[0] = UInt8(unit)
                output += 1
            } else if unit < 0x800 {
                output[0] = UInt8(0xc0 | unit >> 6)
                output[1] = UInt8(0x80 | unit & 0x3f)
                output += 2
            } else if unit & 0xf800 != 0xd800 {
                output[0] = UInt8(0xe0 | unit >> 12)
                output[1] = UInt8(0x80 | unit >> 6 & 0x3f)
                output[2] = UInt8(0x80 | unit & 0x3f)
                output += 3
            } else {
                guard unit < 0xdc00, input < end, input.pointee & 0xfc00 == 0xdc00 else { return nil }
                let scalar = 0x1_0000 + ((unit & 0x3ff) << 10 | UInt32(input.pointee & 0x3ff))
                input += 1
                output[0] = UInt8(0xf0 | scalar >> 18)
                output[1] = UInt8(0x80 | scalar >> 12 & 0x3f)
                output[2] = UInt8(0x80 | scalar >> 6 & 0x3f)
                output[3] = UInt8(0x80 | scalar & 0x3f)
                output += 4
            }
        }
        return output - start
    }

    /// Appends UTF-8 as UTF-16; false when it is not UTF-8.
    static func append(_ utf8: UnsafeRawBufferPointer, to units: inout [UInt16]) -> Bool {
        var index = 0
        let count = utf8.count
        while index < count {
            let lead = UInt32(utf8[index])
            if lead < 0x80 {
                units.append(UInt16(lead))
                index += 1
                continue
            }
            let length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0
            guard length > 0, index + length <= count else { return false }
            var scalar = lead & (0x7f >> UInt32(length))
            for offset in 1..<length {
                guard utf8[index + offset] & 0xc0 == 0x80 else { return false }
                scalar = scalar << 6 | UInt32(utf8[index + offset] & 0x3f)
            }
            index += length
            guard let scalar = Unicode.Scalar(scalar), UTF8.width(scalar) == length else { return false }
            units.append(contentsOf: UTF16.encode(scalar).unsafelyUnwrapped)
        }
        return true
    }

    /// How many of the first `limit` units can be cut off without splitting a surrogate pair.
    static func pieceLength(_ units: UnsafeBufferPointer<UInt16>, limit: Int) -> Int {
        guard units.count > limit else { return units.count }
        return units[limit - 1] & 0xfc00 == 0xd800 ? limit - 1 : limit
    }
}
