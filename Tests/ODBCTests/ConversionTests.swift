import CODBC
import Foundation
import Testing

@testable import ODBC

@Suite("Conversions")
struct ConversionTests {
    @Test("the structs drivers fill have ODBC's layout")
    func layout() {
        func check<Ours, Theirs>(_: Ours.Type, _: Theirs.Type) {
            #expect(MemoryLayout<Ours>.size == MemoryLayout<Theirs>.size)
            #expect(MemoryLayout<Ours>.stride == MemoryLayout<Theirs>.stride)
        }
        check(DateParts.self, SQL_DATE_STRUCT.self)
        check(TimeParts.self, codbc_time2.self)
        check(TimestampParts.self, SQL_TIMESTAMP_STRUCT.self)
        check(TimestampOffsetParts.self, codbc_timestampoffset.self)
        check(GUIDParts.self, SQLGUID.self)
        check(NumericParts.self, SQL_NUMERIC_STRUCT.self)
        #expect(MemoryLayout<TimeParts>.offset(of: \.fraction) == MemoryLayout<codbc_time2>.offset(of: \.fraction))
        #expect(
            MemoryLayout<TimestampParts>.offset(of: \.fraction)
                == MemoryLayout<SQL_TIMESTAMP_STRUCT>.offset(of: \.fraction))
        #expect(
            MemoryLayout<TimestampOffsetParts>.offset(of: \.zoneMinute)
                == MemoryLayout<codbc_timestampoffset>.offset(of: \.timezone_minute))
        #expect(MemoryLayout<NumericParts>.offset(of: \.low) == MemoryLayout<SQL_NUMERIC_STRUCT>.offset(of: \.val))
    }

    @Test("a numeric struct is read to 38 digits, both signs")
    func numeric() {
        var numeric = SQL_NUMERIC_STRUCT()
        numeric.precision = 38
        numeric.scale = 2
        func parts(_ magnitude: UInt128, sign: UInt8) -> NumericParts {
            numeric.sign = sign
            withUnsafeMutableBytes(of: &numeric.val) { $0.storeBytes(of: magnitude.littleEndian, as: UInt128.self) }
            return withUnsafeBytes(of: numeric) { $0.loadUnaligned(as: NumericParts.self) }
        }
        let largest = UInt128(Decimals.powersOfTen[38] - 1)
        #expect(parts(1250, sign: 1).unscaled == 1250)
        #expect(parts(1250, sign: 0).unscaled == -1250)
        #expect(parts(largest, sign: 1).unscaled == Int128(largest))
        #expect(parts(largest, sign: 0).unscaled == -Int128(largest))
        #expect(parts(.max, sign: 1).unscaled == nil)
        #expect(parts(1, sign: 1).scale == 2)
    }

    @Test("dates and day counts are each other's inverse", arguments: [-719_162, -1, 0, 59, 11_016, 19_782, 2_932_896])
    func dates(days: Int) throws {
        let date = try #require(DateParts(daysSince1970: days))
        #expect(date.daysSince1970 == days)
    }

    @Test("known dates have known day counts")
    func knownDates() {
        #expect(DateParts(year: 1970, month: 1, day: 1).daysSince1970 == 0)
        #expect(DateParts(year: 1, month: 1, day: 1).daysSince1970 == -719_162)
        #expect(DateParts(year: 9999, month: 12, day: 31).daysSince1970 == 2_932_896)
        #expect(DateParts(year: 2000, month: 2, day: 29).daysSince1970 == 11_016)
    }

    @Test("a GUID struct holds a UUID's bytes in the order of its text")
    func guid() throws {
        let uuid = try #require(UUID(uuidString: "01234567-89AB-CDEF-0123-456789ABCDEF"))
        #expect(GUIDParts(uuid).uuid == uuid)
        #expect(GUIDParts(uuid).number == 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)
    }

    private func parse(_ text: String) -> (Int128, Int)? {
        Array(text.utf8).withUnsafeBytes { Decimals.parse($0).map { ($0.value, $0.scale) } }
    }

    @Test(
        "decimals are read from every way of writing them",
        arguments: [
            ("0", Int128(0), 0), ("-12.50", -1250, 2), ("+1", 1, 0), (".5", 5, 1), ("1.", 1, 0), (" 7 ", 7, 0),
            ("1e3", 1000, 0),
            ("1.5E-2", 15, 3), ("-0.0001", -1, 4),
        ])
    func decimals(text: String, value: Int128, scale: Int) throws {
        let parsed = try #require(parse(text))
        #expect(parsed == (value, scale))
    }

    @Test(
        "what is no decimal is refused",
        arguments: ["", " ", "NaN", "1,5", "1.2.3", "-", "e5", "1e", String(repeating: "9", count: 40)])
    func noDecimals(text: String) {
        #expect(parse(text) == nil)
    }

    @Test("38 digits survive the way to text and back")
    func longDecimals() throws {
        let value = Decimals.powersOfTen[38] - 1
        for scale in [0, 2, 37, 38] {
            let text = Decimals.text(-value, scale: scale)
            #expect(try #require(parse(text)) == (-value, scale))
        }
        #expect(Decimals.rescale(15, from: 1, to: 0) == nil)
        #expect(Decimals.rescale(150, from: 2, to: 1) == 15)
        #expect(Decimals.rescale(value, from: 0, to: 1) == nil)
    }

    @Test(
        "text survives UTF-16 and back",
        arguments: [
            "", "plain", "äöü€", "日本語", "😀", "a\u{0}b", "\u{10ffff}\u{ffff}\u{d7ff}\u{e000}",
            String(repeating: "é😀x", count: 1_000),
        ])
    func utf16(text: String) throws {
        var units: [UInt16] = []
        let isText = Array(text.utf8).withUnsafeBytes { UTF16Text.append($0, to: &units) }
        #expect(isText)
        #expect(units == Array(text.utf16))
        let bytes = [UInt8](unsafeUninitializedCapacity: units.count * 3 + 1) { buffer, count in
            count = units.withUnsafeBufferPointer { UTF16Text.transcode($0, to: buffer.baseAddress!) } ?? -1
        }
        #expect(bytes == Array(text.utf8))
    }

    @Test(
        "half a surrogate pair is refused, wherever it stands",
        arguments: [[0xd800], [0xdc00], [0x41, 0xd83d], [0xd83d, 0x41], [0xde00, 0xd83d]] as [[UInt16]])
    func loneSurrogates(units: [UInt16]) {
        var output = [UInt8](repeating: 0, count: units.count * 3)
        #expect(units.withUnsafeBufferPointer { UTF16Text.transcode($0, to: &output) } == nil)
    }

    @Test(
        "bytes that are not UTF-8 are refused",
        arguments: [
            [0xff], [0xc3], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xe2, 0x82], [0xf5, 0x80, 0x80, 0x80],
            [0xf0, 0x80, 0x80, 0x80],
        ] as [[UInt8]])
    func notUTF8(bytes: [UInt8]) {
        var units: [UInt16] = []
        #expect(!bytes.withUnsafeBytes { UTF16Text.append($0, to: &units) })
    }

    @Test("a piece of long text never ends within a pair")
    func pieces() {
        let units = Array("ab😀c".utf16)
        units.withUnsafeBufferPointer { units in
            #expect((1...5).map { UTF16Text.pieceLength(units, limit: $0) } == [1, 2, 2, 4, 5])
        }
    }

    @Test("times and offsets are written and read to the nanosecond")
    func times() {
        let time = TimeParts(hour: 1, minute: 2, second: 3, fraction: 45_600)
        #expect(DateText.time(time, scale: 7) == "01:02:03.0000456")
        #expect(DateText.time(time, scale: 0) == "01:02:03")
        #expect(Array("01:02:03.0000456".utf8).withUnsafeBytes { DateText.parseTime($0) } == time)
        #expect(Array("24:00:00".utf8).withUnsafeBytes { DateText.parseTime($0) } == nil)
        let stamp = TimestampParts(date: DateParts(year: 2024, month: 2, day: 29), time: time)
        #expect(
            DateText.timestampOffset(TimestampOffsetParts(local: stamp, offsetMinutes: -330), scale: 7)
                == "2024-02-29 01:02:03.0000456 -05:30")
        #expect(TimestampOffsetParts(local: stamp, offsetMinutes: -330).offsetMinutes == -330)
        #expect(TimeParts(nanoseconds: time.nanoseconds) == time)
    }
}
