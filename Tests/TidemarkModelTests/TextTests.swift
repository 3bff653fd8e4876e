import Testing
import Tidemark

@Suite("Text of decimals, times and UUIDs")
struct TextTests {
    @Test(
        "decimals are read exactly",
        arguments: [
            ("0", 0), ("-0.00", 0), ("12.5", 1250), ("+12.50", 1250), (".5", 50), ("5.", 500), ("-0.01", -1),
            ("1.2300000000000000000000000000", 123), ("1.0e+3", 100_000), ("125E-1", 1250), ("1e-2", 1),
            ("0e999999999", 0), ("00000000000000000000000001", 100), ("9999999999999999.99", 999_999_999_999_999_999),
        ] as [(String, Int128)])
    func readDecimal(text: String, scaled: Int128) throws {
        #expect(try DecimalText.parse(text, precision: 18, scale: 2) == scaled)
    }

    @Test(
        "what is no decimal of the type is refused",
        arguments: [
            "", "-", ".", "e5", "1e", "1.2.3", "1,5", " 1", "1 ", "0x10", "NaN", "1.001", "1e-3",
            "10000000000000000", "1e16", "1e999999999", "99999999999999999999999999999999999999999",
        ])
    func refuseDecimal(text: String) {
        #expect(throws: UnreadableText.self) { try DecimalText.parse(text, precision: 18, scale: 2) }
    }

    @Test("decimals of every precision and scale come back from their text")
    func decimalRoundTrip() throws {
        for precision in 1...38 {
            for scale in 0...precision {
                let limit = DecimalText.power(precision) - 1
                for value in [limit, -limit, 0, 1, -1, limit / 7] {
                    let text = DecimalText.string(value, scale: scale)
                    #expect(text.utf8.count <= DecimalText.maxLength)
                    #expect(try DecimalText.parse(text, precision: precision, scale: scale) == value)
                }
            }
        }
        #expect(DecimalText.string(-5, scale: 2) == "-0.05")
        #expect(DecimalText.string(1250, scale: 0) == "1250")
    }

    @Test(
        "timestamps have one canonical text",
        arguments: [
            ("1970-01-01 00:00:00", "1970-01-01 00:00:00", 0),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31 23:59:59.999999", -1),
            ("2000-02-29 12:00:00.5000000000", "2000-02-29 12:00:00.500000", 951_825_600_500_000),
            ("0001-01-01 00:00:00.000", "0001-01-01 00:00:00", -62_135_596_800_000_000),
            ("9999-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999", 253_402_300_799_999_999),
            ("1970-01-01", "1970-01-01 00:00:00", 0), ("1970-01-01T", "1970-01-01 00:00:00", 0),
            ("1970-01-01T01:02", "1970-01-01 01:02:00", 3_720_000_000),
            ("1970-01-01 01:00 +01:30", "1969-12-31 23:30:00", -1_800_000_000),
            ("1970-01-01  00:00:01-00:01 ", "1970-01-01 00:01:01", 61_000_000),
        ] as [(String, String, Int64)])
    func timestamps(text: String, canonical: String, microseconds: Int64) throws {
        let time = try #require(Timestamp(text))
        #expect(time.microseconds == microseconds)
        #expect(time.description == canonical)
        #expect(Timestamp(canonical) == time)
    }

    @Test(
        "what is no time of the calendar is refused",
        arguments: [
            "2026-02-29 00:00:00", "1900-02-29 00:00:00", "2026-13-01 00:00:00", "2026-00-01 00:00:00",
            "2026-04-31 00:00:00", "0000-12-31 00:00:00", "2026-01-01 24:00:00", "2026-01-01 00:60:00",
            "2026-01-01 00:00:60", "2026-01-01 00:00:00.", "2026-01-01 00:00:00.0000001", "2026-01", "",
            "2026-01-01 00:00:00 x", "2026-1-1 00:00:00", "2026-01-01 00", "2026-01-01 00:00:00+15:00",
            "2026/01/01 00:00:00", "2026-01-01_00:00:00", "2026-01-01 00:00:00+01:00 Z", "2026-01-0100:00",
            "0001-01-01 00:00+00:01", "9999-12-31 23:59-00:01", "2026-01-01 00:00:00.5.5",
        ])
    func refuseTimestamp(text: String) {
        #expect(Timestamp(text) == nil)
    }

    @Test("every day from year 1 to 9999 has a text that reads back")
    func everyDay() throws {
        for day in CalendarText.dayRange {
            try withUnsafeTemporaryAllocation(byteCount: CalendarText.maxLength, alignment: 1) { buffer in
                let length = try CalendarText.writeDate(day, to: buffer)
                let back = try CalendarText.parseDate(UnsafeRawBufferPointer(rebasing: buffer[..<length]))
                guard back == day else { throw UnreadableText("day \(day) reads back as \(back)") }
            }
        }
    }

    @Test("an LSN's bytes are its numbers, big-endian")
    func lsnBytes() {
        #expect(LSN(high: 0x0102_0304_0506_0708, low: 0x090A).bytes == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
        #expect(LSN(bytes: LSN(high: .max, low: 1).bytes) == LSN(high: .max, low: 1))
    }
}
