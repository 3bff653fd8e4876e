/// Dates and times between text and the integers of a `ColumnVector`, byte by byte.
///
/// The calendar is the proleptic Gregorian one, years 0001 to 9999. Text has ISO 8601's order:
/// `2026-01-31`, `23:59:59.999999`, `2026-01-31 23:59:59`, `2026-01-31 23:59:59+00:00`. A fraction of zero is
/// not written, any other with six digits.
public enum CalendarText {
    /// Bytes the longest form takes: `2026-01-31 23:59:59.999999+00:00`.
    public static let maxLength = 32

    /// Days since 1970-01-01 of 0001-01-01 and of 9999-12-31.
    public static let dayRange: ClosedRange<Int32> = -719_162...2_932_896

    @usableFromInline static let dayMicroseconds: Int64 = 86_400_000_000

    // MARK: Reading

    /// Reads `YYYY-MM-DD` as days since 1970-01-01.
    @inlinable
    public static func parseDate(_ bytes: UnsafeRawBufferPointer) throws(UnreadableText) -> Int32 {
        guard bytes.count == 10, let days = days(bytes) else {
            throw UnreadableText(bytes, isNot: "a date (YYYY-MM-DD, 0001-01-01 to 9999-12-31)")
        }
        return days
    }

    /// Reads `HH:MM[:SS[.ffffff]]` as microseconds since midnight.
    @inlinable
    public static func parseTime(_ bytes: UnsafeRawBufferPointer) throws(UnreadableText) -> Int64 {
        guard let (time, end) = timeOfDay(bytes, from: 0), end == bytes.count else {
            throw UnreadableText(bytes, isNot: "a time (HH:MM or HH:MM:SS, at most 6 digits after the point)")
        }
        return time
    }

    /// Reads an instant as microseconds since 1970-01-01 00:00:00 UTC, in the forms SQLite's date functions read
    /// (<https://www.sqlite.org/lang_datefunc.html#time_values>, 1 to 7): `YYYY-MM-DD` with or without a time
    /// `HH:MM[:SS[.ffffff]]`, which `T` or blanks set off, and after the time `Z` or an offset `±HH:MM`. Without an
    /// offset it is in UTC.
    @inlinable
    public static func parseTimestamp(_ bytes: UnsafeRawBufferPointer) throws(UnreadableText) -> Int64 {
        // The usual form first.
        if let (value, end) = dateAndTime(bytes), end == bytes.count { return value }
        return try parseOtherTimestamp(bytes)
    }

    @usableFromInline
    static func parseOtherTimestamp(_ bytes: UnsafeRawBufferPointer) throws(UnreadableText) -> Int64 {
        guard let (local, offset) = localTimeAndOffset(bytes) else {
            throw UnreadableText(
                bytes,
                isNot: """
                    a timestamp (YYYY-MM-DD, or YYYY-MM-DD HH:MM:SS with at most 6 digits after the point, and Z or +HH:MM \
                    when it is not in UTC)
                    """)
        }
        let value = local - offset
        guard isInRange(microseconds: value) else {
            throw UnreadableText(bytes, isNot: "between the years 0001 and 9999 in UTC")
        }
        return value
    }

    /// Both in microseconds.
    private static func localTimeAndOffset(_ bytes: UnsafeRawBufferPointer) -> (Int64, offset: Int64)? {
        func blanks(from start: Int, or other: UInt8 = UInt8(ascii: " ")) -> Int {
            var index = start
            while index < bytes.count, bytes[index] == other || isBlank(bytes[index]) { index += 1 }
            return index
        }
        guard let days = days(bytes) else { return nil }
        let date = Int64(days) * dayMicroseconds
        let start = blanks(from: 10, or: UInt8(ascii: "T"))
        if start == bytes.count { return (date, 0) }
        guard start > 10, let (time, timeEnd) = timeOfDay(bytes, from: start) else { return nil }
        let end = blanks(from: timeEnd)
        if end == bytes.count { return (date + time, 0) }
        guard let (offset, offsetEnd) = offset(bytes, from: end), blanks(from: offsetEnd) == bytes.count else {
            return nil
        }
        return (date + time, offset)
    }

    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: " ") || (UInt8(ascii: "\t")...UInt8(ascii: "\r")).contains(byte)
    }

    /// `YYYY-MM-DD` at the front of `bytes`.
    @inlinable
    static func days(_ bytes: UnsafeRawBufferPointer) -> Int32? {
        guard bytes.count >= 10, bytes[4] == UInt8(ascii: "-"), bytes[7] == UInt8(ascii: "-"),
            let century = twoDigits(bytes, 0), let yearOfCentury = twoDigits(bytes, 2),
            let month = twoDigits(bytes, 5), let day = twoDigits(bytes, 8)
        else { return nil }
        let year = century * 100 + yearOfCentury
        guard year >= 1, month >= 1, month <= 12, day >= 1, day <= daysIn(month: month, year: year) else {
            return nil
        }
        return daysFromCivil(year: year, month: month, day: day)
    }

    /// `HH:MM[:SS[.f…]]` from `start`, and where it ends; digits after the sixth must be zeros.
    @inlinable
    static func timeOfDay(_ bytes: UnsafeRawBufferPointer, from start: Int) -> (Int64, end: Int)? {
        guard bytes.count >= start + 5, bytes[start + 2] == UInt8(ascii: ":"), let hour = twoDigits(bytes, start),
            let minute = twoDigits(bytes, start + 3), hour < 24, minute < 60
        else { return nil }
        guard bytes.count > start + 5, bytes[start + 5] == UInt8(ascii: ":") else {
            return (Int64(hour * 3600 + minute * 60) * 1_000_000, start + 5)
        }
        guard bytes.count >= start + 8, let second = twoDigits(bytes, start + 6), second < 60 else { return nil }
        var index = start + 8
        var fraction: Int64 = 0
        if index < bytes.count, bytes[index] == UInt8(ascii: ".") {
            index += 1
            var weight: Int64 = 100_000
            let first = index
            while index < bytes.count {
                let digit = bytes[index] &- UInt8(ascii: "0")
                guard digit <= 9 else { break }
                guard weight > 0 || digit == 0 else { return nil }
                fraction += Int64(digit) * weight
                weight /= 10
                index += 1
            }
            guard index > first else { return nil }
        }
        return (Int64(hour * 3600 + minute * 60 + second) * 1_000_000 + fraction, index)
    }

    @inlinable
    static func dateAndTime(_ bytes: UnsafeRawBufferPointer) -> (Int64, end: Int)? {
        guard bytes.count >= 19, bytes[10] == UInt8(ascii: " ") || bytes[10] == UInt8(ascii: "T"),
            let days = days(bytes), let (time, end) = timeOfDay(bytes, from: 11)
        else { return nil }
        return (Int64(days) * dayMicroseconds + time, end)
    }

    /// `Z` or `±HH:MM` from `start`, in microseconds, and where it ends; at most 14 hours, as in SQL Server.
    private static func offset(_ bytes: UnsafeRawBufferPointer, from start: Int) -> (Int64, end: Int)? {
        if bytes[start] == UInt8(ascii: "Z") || bytes[start] == UInt8(ascii: "z") { return (0, start + 1) }
        guard bytes.count >= start + 6, bytes[start + 3] == UInt8(ascii: ":"),
            let hours = twoDigits(bytes, start + 1), let minutes = twoDigits(bytes, start + 4), minutes < 60,
            hours * 60 + minutes <= 14 * 60
        else { return nil }
        let offset = Int64(hours * 60 + minutes) * 60_000_000
        switch bytes[start] {
        case UInt8(ascii: "+"): return (offset, start + 6)
        case UInt8(ascii: "-"): return (-offset, start + 6)
        default: return nil
        }
    }

    @inlinable
    static func twoDigits(_ bytes: UnsafeRawBufferPointer, _ index: Int) -> Int? {
        let tens = bytes[index] &- UInt8(ascii: "0")
        let ones = bytes[index + 1] &- UInt8(ascii: "0")
        return tens <= 9 && ones <= 9 ? Int(tens) * 10 + Int(ones) : nil
    }

    @inlinable
    static func daysIn(month: Int, year: Int) -> Int {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// Days since 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    @inlinable
    static func daysFromCivil(year: Int, month: Int, day: Int) -> Int32 {
        let year = month <= 2 ? year - 1 : year
        let era = (year >= 0 ? year : year - 399) / 400
        let yearOfEra = year - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return Int32(era * 146_097 + dayOfEra - 719_468)
    }

    /// The inverse of `daysFromCivil`.
    @inlinable
    static func civil(days: Int32) -> (year: Int, month: Int, day: Int) {
        let shifted = Int(days) + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }

    /// Whether an instant lies in the years 0001 to 9999.
    @inlinable
    public static func isInRange(microseconds: Int64) -> Bool {
        microseconds >= Int64(dayRange.lowerBound) * dayMicroseconds
            && microseconds < (Int64(dayRange.upperBound) + 1) * dayMicroseconds
    }

    // MARK: Writing

    /// Writes `YYYY-MM-DD` and returns the number of bytes.
    ///
    /// - Parameter buffer: at least `maxLength` bytes, as for the other functions that write.
    @inlinable
    public static func writeDate(
        _ days: Int32, to buffer: UnsafeMutableRawBufferPointer
    ) throws(UnreadableText) -> Int {
        guard dayRange.contains(days) else {
            throw UnreadableText("a date \(days) days from 1970-01-01 lies outside the years 0001 to 9999")
        }
        put(days: days, buffer)
        return 10
    }

    /// Writes `HH:MM:SS[.ffffff]` and returns the number of bytes.
    @inlinable
    public static func writeTime(
        _ microseconds: Int64, to buffer: UnsafeMutableRawBufferPointer
    ) throws(UnreadableText) -> Int {
        guard microseconds >= 0, microseconds < dayMicroseconds else {
            throw UnreadableText("\(microseconds) microseconds from midnight is not a time of day")
        }
        return put(time: microseconds, buffer, at: 0)
    }

    /// Writes `YYYY-MM-DD HH:MM:SS[.ffffff]` and returns the number of bytes.
    @inlinable
    public static func writeTimestamp(
        _ microseconds: Int64, to buffer: UnsafeMutableRawBufferPointer
    ) throws(UnreadableText) -> Int {
        guard isInRange(microseconds: microseconds) else {
            throw UnreadableText(
                "a timestamp \(microseconds) microseconds from 1970-01-01 lies outside the years 0001 to 9999")
        }
        var days = microseconds / dayMicroseconds
        var time = microseconds % dayMicroseconds
        if time < 0 {
            time += dayMicroseconds
            days -= 1
        }
        put(days: Int32(truncatingIfNeeded: days), buffer)
        buffer[10] = UInt8(ascii: " ")
        return put(time: time, buffer, at: 11)
    }

    /// Writes `YYYY-MM-DD HH:MM:SS[.ffffff]+00:00` and returns the number of bytes.
    @inlinable
    public static func writeTimestampTZ(
        _ microseconds: Int64, to buffer: UnsafeMutableRawBufferPointer
    ) throws(UnreadableText) -> Int {
        let length = try writeTimestamp(microseconds, to: buffer)
        buffer[length] = UInt8(ascii: "+")
        putTwo(0, buffer, length + 1)
        buffer[length + 3] = UInt8(ascii: ":")
        putTwo(0, buffer, length + 4)
        return length + 6
    }

    @inlinable
    static func put(days: Int32, _ buffer: UnsafeMutableRawBufferPointer) {
        let (year, month, day) = civil(days: days)
        putTwo(year / 100, buffer, 0)
        putTwo(year % 100, buffer, 2)
        buffer[4] = UInt8(ascii: "-")
        putTwo(month, buffer, 5)
        buffer[7] = UInt8(ascii: "-")
        putTwo(day, buffer, 8)
    }

    /// Writes a time of day from `start` and returns where it ends.
    @inlinable
    static func put(time: Int64, _ buffer: UnsafeMutableRawBufferPointer, at start: Int) -> Int {
        let seconds = Int(time / 1_000_000)
        let fraction = Int(time % 1_000_000)
        putTwo(seconds / 3600, buffer, start)
        buffer[start + 2] = UInt8(ascii: ":")
        putTwo(seconds / 60 % 60, buffer, start + 3)
        buffer[start + 5] = UInt8(ascii: ":")
        putTwo(seconds % 60, buffer, start + 6)
        guard fraction > 0 else { return start + 8 }
        buffer[start + 8] = UInt8(ascii: ".")
        putTwo(fraction / 10_000, buffer, start + 9)
        putTwo(fraction / 100 % 100, buffer, start + 11)
        putTwo(fraction % 100, buffer, start + 13)
        return start + 15
    }

    @inlinable
    static func putTwo(_ value: Int, _ buffer: UnsafeMutableRawBufferPointer, _ index: Int) {
        buffer[index] = UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: value / 10)
        buffer[index + 1] = UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: value % 10)
    }

    /// The text one of the functions above writes.
    static func string(
        _ write: (UnsafeMutableRawBufferPointer) throws(UnreadableText) -> Int
    ) throws(UnreadableText) -> String {
        var storage = [UInt8](repeating: 0, count: maxLength)
        let result: Result<Int, UnreadableText> = storage.withUnsafeMutableBytes { buffer in
            do throws(UnreadableText) { return .success(try write(buffer)) } catch { return .failure(error) }
        }
        return String(decoding: storage[..<(try result.get())], as: UTF8.self)
    }
}

extension Timestamp: CustomStringConvertible {
    /// Reads what `CalendarText.parseTimestamp` does; `nil` for anything else.
    public init?(_ text: some StringProtocol) {
        guard let value = try? withUTF8Bytes(of: text, CalendarText.parseTimestamp) else { return nil }
        self.init(microseconds: value)
    }

    /// `YYYY-MM-DD HH:MM:SS[.ffffff]`, in UTC.
    public var description: String {
        let text = try? CalendarText.string { buffer throws(UnreadableText) in
            try CalendarText.writeTimestamp(microseconds, to: buffer)
        }
        return text ?? "\(microseconds) microseconds since 1970-01-01"
    }
}
