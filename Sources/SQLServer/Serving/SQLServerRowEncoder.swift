import Foundation
import ODBC
import Tidemark

/// Lays the values of a column out for SQL Server, and refuses what the table's column cannot hold unchanged.
///
/// SQL Server rounds a time with too many digits and pads a short `binary(n)` without a word, so such values are
/// refused here. What it refuses itself (NaN, text that is too long, years beyond 9999) is refused here too, with the
/// name of the column.
struct SQLServerRowEncoder {
    /// Why a value cannot be stored, and where it stands.
    struct Refusal: Error {
        let column: String
        let row: Int
        let reason: String
    }

    let column: Tidemark.Column
    /// The type of the table's column.
    let declared: SQLServerType
    /// Whether NULL is refused.
    let isRequired: Bool

    // MARK: As parameters

    /// How the values travel as parameters.
    var parameterType: ParameterType {
        switch column.type {
        case .bool: .bool
        case .uint8: .uint8
        case .int16: .int16
        case .int32: .int32
        case .int64: .int64
        case .float: .float
        case .double: .double
        case .decimal(let precision, let scale): .decimal(precision: precision, scale: scale)
        case .string: .string
        case .binary: .binary
        case .date: .date
        case .time: .time(scale: SQLServerType.carriedDigits)
        case .timestamp: .timestamp(scale: SQLServerType.carriedDigits)
        case .timestampTZ: .timestampOffset(scale: SQLServerType.carriedDigits)
        case .uuid: .uuid
        }
    }

    /// Appends the values at `rows` to `parameters`.
    ///
    /// - Throws: `Refusal`.
    func append(_ vector: ColumnVector, rows: some Sequence<Int>, to parameters: inout ParameterColumn) throws {
        try vector.withBuffers { buffers in
            for row in rows {
                guard try isPresent(buffers, row) else {
                    parameters.appendNull()
                    continue
                }
                switch column.type {
                case .bool, .uint8: parameters.append(buffers.value(row, as: UInt8.self))
                case .int16: parameters.append(buffers.value(row, as: Int16.self))
                case .int32: parameters.append(buffers.value(row, as: Int32.self))
                case .int64: parameters.append(buffers.value(row, as: Int64.self))
                case .float: parameters.append(buffers.value(row, as: Float.self))
                case .double: parameters.append(buffers.value(row, as: Double.self))
                case .decimal: parameters.append(scaled(buffers, row))
                case .string, .binary: parameters.append(bytes: buffers.bytes(row))
                case .date: parameters.append(Self.date(Int(buffers.value(row, as: Int32.self))))
                case .time: parameters.append(TimeParts(nanoseconds: buffers.value(row, as: Int64.self) * 1_000))
                case .timestamp: parameters.append(Self.parts(buffers.value(row)))
                case .timestampTZ:
                    parameters.append(TimestampOffsetParts(local: Self.parts(buffers.value(row)), offsetMinutes: 0))
                case .uuid:
                    let number = UInt128(truncatingIfNeeded: buffers.value(row, as: Int128.self)) ^ (1 << 127)
                    let bytes = withUnsafeBytes(of: number.bigEndian) { $0.loadUnaligned(as: uuid_t.self) }
                    parameters.append(GUIDParts(UUID(uuid: bytes)))
                }
            }
        }
    }

    // MARK: As JSON

    /// Whether the values at `rows` keep every bit on their way through JSON.
    ///
    /// A float does not for certain: SQL Server reads it from decimal digits. And whether a NUL in text passes,
    /// no page of its documentation says.
    func travelsAsJSON(_ vector: ColumnVector, rows: Range<Int>, _ json: SQLServerBulkInsert.JSONSupport) -> Bool {
        switch column.type {
        case .float, .double: false
        case .string:
            vector.withBuffers { buffers in
                rows.allSatisfy { row in
                    let bytes = buffers.bytes(row)
                    return json == .full ? !bytes.contains(0) : !bytes.contains(where: JSONRows.isEscaped)
                }
            }
        default: true
        }
    }

    /// Appends the value at `row`, which `travelsAsJSON`.
    ///
    /// - Throws: `Refusal`.
    func append(_ buffers: ColumnBuffers, _ row: Int, to json: inout JSONRows) throws {
        guard try isPresent(buffers, row) else {
            json.appendNull()
            if column.type == .binary { json.appendNull() }
            return
        }
        switch column.type {
        case .bool, .uint8: json.append(Int64(buffers.value(row, as: UInt8.self)))
        case .int16: json.append(Int64(buffers.value(row, as: Int16.self)))
        case .int32: json.append(Int64(buffers.value(row, as: Int32.self)))
        case .int64: json.append(buffers.value(row, as: Int64.self))
        case .string: json.append(text: buffers.bytes(row))
        case .binary: json.append(binary: buffers.bytes(row))
        default:
            do throws(UnreadableText) {
                try json.append(quoted: { slot throws(UnreadableText) in try format(buffers, row, slot) })
            } catch {
                throw Refusal(column: column.name, row: row, reason: error.reason)
            }
        }
    }

    private func format(
        _ buffers: ColumnBuffers, _ row: Int, _ slot: UnsafeMutableRawBufferPointer
    ) throws(UnreadableText) -> Int {
        switch column.type {
        case .decimal(_, let scale): return DecimalText.write(scaled(buffers, row), scale: scale, to: slot)
        case .date: return try CalendarText.writeDate(buffers.value(row), to: slot)
        case .time: return try CalendarText.writeTime(buffers.value(row), to: slot)
        case .uuid:
            UUIDText.write(buffers.value(row), to: slot)
            return UUIDText.length
        case .timestampTZ:
            let length = try CalendarText.writeTimestampTZ(buffers.value(row), to: slot)
            slot[Self.dateLength] = UInt8(ascii: "T")
            return length
        default:
            let length = try CalendarText.writeTimestamp(buffers.value(row), to: slot)
            // ISO 8601, which no setting of the session reads otherwise.
            slot[Self.dateLength] = UInt8(ascii: "T")
            return length
        }
    }

    /// Where `YYYY-MM-DD` ends.
    private static let dateLength = 10

    private func scaled(_ buffers: ColumnBuffers, _ row: Int) -> Int128 {
        switch column.type.byteWidth {
        case 2: Int128(buffers.value(row, as: Int16.self))
        case 4: Int128(buffers.value(row, as: Int32.self))
        case 8: Int128(buffers.value(row, as: Int64.self))
        default: buffers.value(row, as: Int128.self)
        }
    }

    // MARK: Checks

    /// Whether there is a value at `row`, one the column can hold.
    ///
    /// - Throws: `Refusal` when it cannot.
    private func isPresent(_ buffers: ColumnBuffers, _ row: Int) throws -> Bool {
        guard !buffers.isNull(row) else {
            guard !isRequired else { throw Refusal(column: column.name, row: row, reason: "a key column is NULL") }
            return false
        }
        if let reason = refusal(buffers, row) { throw Refusal(column: column.name, row: row, reason: reason) }
        return true
    }

    private func refusal(_ buffers: ColumnBuffers, _ row: Int) -> String? {
        switch column.type {
        case .float:
            let value = buffers.value(row, as: Float.self)
            return value.isFinite ? nil : "SQL Server cannot store \(value)"
        case .double:
            let value = buffers.value(row, as: Double.self)
            return value.isFinite ? nil : "SQL Server cannot store \(value)"
        case .decimal(let precision, let scale):
            let value = scaled(buffers, row)
            guard value.magnitude >= DecimalText.power(precision).magnitude else { return nil }
            return "\(DecimalText.string(value, scale: scale)) has more than \(precision) digits"
        case .string: return textRefusal(buffers.bytes(row))
        case .binary: return binaryRefusal(buffers.bytes(row).count)
        case .date: return Self.dateRefusal(Int(buffers.value(row, as: Int32.self)))
        case .time:
            let time: Int64 = buffers.value(row)
            return (0..<Self.day).contains(time)
                ? fractionRefusal(time) : "\(time) microseconds from midnight is no time of day"
        case .timestamp, .timestampTZ:
            let time: Int64 = buffers.value(row)
            return Self.dateRefusal(Int(Self.dayOf(time))) ?? fractionRefusal(time)
        default: return nil
        }
    }

    private func textRefusal(_ bytes: UnsafeRawBufferPointer) -> String? {
        // UTF-16 never has more units than UTF-8 has bytes.
        guard declared.maxLength >= 0, bytes.count > declared.maxLength / 2 else { return nil }
        let units = String(decoding: bytes, as: UTF8.self).utf16.count
        guard units > declared.maxLength / 2 else { return nil }
        return "has \(units) UTF-16 units where \(declared) has room for \(declared.maxLength / 2)"
    }

    private func binaryRefusal(_ count: Int) -> String? {
        guard declared.maxLength >= 0 else { return nil }
        let isHeld = declared.name == "binary" ? count == declared.maxLength : count <= declared.maxLength
        return isHeld ? nil : "has \(count) bytes, which \(declared) cannot hold unchanged"
    }

    /// Refuses a fraction of a second that the column would round.
    private func fractionRefusal(_ microseconds: Int64) -> String? {
        guard declared.scale < SQLServerType.carriedDigits else { return nil }
        var unit: Int64 = 1
        for _ in declared.scale..<SQLServerType.carriedDigits { unit *= 10 }
        guard microseconds % unit != 0 else { return nil }
        return """
            has more digits of a second's fraction than \(declared) keeps; declare the column with \
            \(SQLServerType.carriedDigits) digits
            """
    }

    // MARK: Dates

    private static let day: Int64 = 86_400_000_000

    /// 0001-01-01 to 9999-12-31, the dates SQL Server has.
    private static let days = -719_162...2_932_896

    private static func dateRefusal(_ day: Int) -> String? {
        days.contains(day) ? nil : "is a date outside the years 0001 to 9999, which SQL Server cannot store"
    }

    private static func dayOf(_ microseconds: Int64) -> Int64 {
        let (day, rest) = microseconds.quotientAndRemainder(dividingBy: day)
        return rest < 0 ? day - 1 : day
    }

    private static func date(_ day: Int) -> DateParts {
        DateParts(daysSince1970: min(max(day, days.lowerBound), days.upperBound))
            ?? DateParts(year: 1, month: 1, day: 1)
    }

    /// The parts of a time, of the years 0001 to 9999.
    static func parts(_ microseconds: Int64) -> TimestampParts {
        let day = dayOf(microseconds)
        return TimestampParts(
            date: date(Int(day)), time: TimeParts(nanoseconds: (microseconds - day * Self.day) * 1_000))
    }
}

/// Rows as a JSON array of arrays; binary values are kept beside it, and the JSON has their places and lengths.
struct JSONRows {
    private(set) var json: [UInt8] = [UInt8(ascii: "[")]
    private(set) var binaries: [UInt8] = []
    private var isRowEmpty = true

    /// Bytes so far.
    var byteCount: Int { json.count + binaries.count }

    mutating func beginRow() {
        if json.count > 1 { json.append(UInt8(ascii: ",")) }
        json.append(UInt8(ascii: "["))
        isRowEmpty = true
    }

    mutating func endRow() { json.append(UInt8(ascii: "]")) }

    mutating func end() { json.append(UInt8(ascii: "]")) }

    private mutating func separate() {
        if !isRowEmpty { json.append(UInt8(ascii: ",")) }
        isRowEmpty = false
    }

    mutating func appendNull() {
        separate()
        json.append(contentsOf: "null".utf8)
    }

    mutating func append(_ number: Int64) {
        separate()
        withUnsafeTemporaryAllocation(byteCount: 24, alignment: 1) { slot in
            var start = slot.count
            var rest = number.magnitude
            repeat {
                start -= 1
                slot[start] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
                rest /= 10
            } while rest > 0
            if number < 0 {
                start -= 1
                slot[start] = UInt8(ascii: "-")
            }
            json.append(contentsOf: slot[start...])
        }
    }

    /// Two numbers: where the value begins, from 1 as T-SQL counts, and its length.
    mutating func append(binary bytes: UnsafeRawBufferPointer) {
        append(Int64(binaries.count + 1))
        append(Int64(bytes.count))
        binaries.append(contentsOf: bytes)
    }

    /// Where the value begins; its length is known.
    mutating func append(lsn bytes: UnsafeRawBufferPointer) {
        append(Int64(binaries.count + 1))
        binaries.append(contentsOf: bytes)
    }

    /// Text that needs no escapes, at most 64 bytes of it, which `write` puts into the buffer it is given.
    mutating func append(
        quoted write: (UnsafeMutableRawBufferPointer) throws(UnreadableText) -> Int
    ) throws(UnreadableText) {
        separate()
        json.append(UInt8(ascii: "\""))
        let start = json.count
        json.append(contentsOf: repeatElement(0, count: 64))
        let result: Result<Int, UnreadableText> = json.withUnsafeMutableBytes { bytes in
            let slot = UnsafeMutableRawBufferPointer(rebasing: bytes[start...])
            do throws(UnreadableText) { return .success(try write(slot)) } catch { return .failure(error) }
        }
        json.removeLast(64 - (try result.get()))
        json.append(UInt8(ascii: "\""))
    }

    /// Whether a byte of text stands in JSON as an escape.
    static func isEscaped(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\")
    }

    mutating func append(text: UnsafeRawBufferPointer) {
        separate()
        json.append(UInt8(ascii: "\""))
        for byte in text {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                json.append(UInt8(ascii: "\\"))
                json.append(byte)
            case 0..<0x20:
                let digits = Array("0123456789abcdef".utf8)
                json.append(contentsOf: "\\u00".utf8)
                json.append(digits[Int(byte >> 4)])
                json.append(digits[Int(byte & 15)])
            default: json.append(byte)
            }
        }
        json.append(UInt8(ascii: "\""))
    }
}
