public import Foundation

// The structs that drivers fill and read, with ODBC's memory layout (`sqltypes.h`; a test compares them).

/// SQL_DATE_STRUCT: a date of the proleptic Gregorian calendar.
@frozen
public struct DateParts: Hashable, Sendable, BitwiseCopyable {
    public var year: Int16
    public var month: UInt16
    public var day: UInt16

    public init(year: Int16, month: UInt16, day: UInt16) {
        self.year = year
        self.month = month
        self.day = day
    }

    /// Days since 1970-01-01.
    ///
    /// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
    @inlinable
    public var daysSince1970: Int {
        let year = month <= 2 ? Int(year) - 1 : Int(year)
        let era = (year >= 0 ? year : year - 399) / 400
        let yearOfEra = year - era * 400
        let dayOfYear = (153 * (Int(month) + (month > 2 ? -3 : 9)) + 2) / 5 + Int(day) - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    /// The date of a day count from 1970-01-01; nil when its year does not fit.
    ///
    /// Source: the same, `civil_from_days`.
    public init?(daysSince1970 days: Int) {
        let (shifted, overflow) = days.addingReportingOverflow(719_468)
        guard !overflow else { return nil }
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153  // 0 is March
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        guard let year = Int16(exactly: yearOfEra + era * 400 + (month <= 2 ? 1 : 0)) else { return nil }
        self.init(year: year, month: UInt16(month), day: UInt16(dayOfYear - (153 * shiftedMonth + 2) / 5 + 1))
    }
}

/// SQL_SS_TIME2_STRUCT: a time of day with nanoseconds.
@frozen
public struct TimeParts: Hashable, Sendable, BitwiseCopyable {
    public var hour: UInt16
    public var minute: UInt16
    public var second: UInt16
    /// Nanoseconds.
    public var fraction: UInt32

    public init(hour: UInt16, minute: UInt16, second: UInt16, fraction: UInt32 = 0) {
        self.hour = hour
        self.minute = minute
        self.second = second
        self.fraction = fraction
    }

    /// Nanoseconds since midnight.
    @inlinable
    public var nanoseconds: Int64 {
        ((Int64(hour) * 60 + Int64(minute)) * 60 + Int64(second)) * 1_000_000_000 + Int64(fraction)
    }

    /// The time at so many nanoseconds after midnight.
    public init(nanoseconds: Int64) {
        let (seconds, fraction) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        self.init(
            hour: UInt16(seconds / 3_600), minute: UInt16(seconds / 60 % 60), second: UInt16(seconds % 60),
            fraction: UInt32(fraction))
    }
}

/// SQL_TIMESTAMP_STRUCT: a date and time without a zone.
@frozen
public struct TimestampParts: Hashable, Sendable, BitwiseCopyable {
    public var year: Int16
    public var month: UInt16
    public var day: UInt16
    public var hour: UInt16
    public var minute: UInt16
    public var second: UInt16
    /// Nanoseconds.
    public var fraction: UInt32

    public init(date: DateParts, time: TimeParts) {
        year = date.year
        month = date.month
        day = date.day
        hour = time.hour
        minute = time.minute
        second = time.second
        fraction = time.fraction
    }

    @inlinable
    public var date: DateParts { DateParts(year: year, month: month, day: day) }
    @inlinable
    public var time: TimeParts { TimeParts(hour: hour, minute: minute, second: second, fraction: fraction) }
}

/// SQL_SS_TIMESTAMPOFFSET_STRUCT: a local date and time with its distance to UTC.
@frozen
public struct TimestampOffsetParts: Hashable, Sendable, BitwiseCopyable {
    public var year: Int16
    public var month: UInt16
    public var day: UInt16
    public var hour: UInt16
    public var minute: UInt16
    public var second: UInt16
    /// Nanoseconds.
    public var fraction: UInt32
    /// Hours ahead of UTC, and minutes of the same sign.
    public var zoneHour: Int16
    public var zoneMinute: Int16

    public init(local: TimestampParts, offsetMinutes: Int) {
        year = local.year
        month = local.month
        day = local.day
        hour = local.hour
        minute = local.minute
        second = local.second
        fraction = local.fraction
        zoneHour = Int16(offsetMinutes / 60)
        zoneMinute = Int16(offsetMinutes % 60)
    }

    /// The local date and time.
    @inlinable
    public var local: TimestampParts {
        TimestampParts(
            date: DateParts(year: year, month: month, day: day),
            time: TimeParts(hour: hour, minute: minute, second: second, fraction: fraction))
    }

    /// Minutes ahead of UTC.
    @inlinable
    public var offsetMinutes: Int { Int(zoneHour) * 60 + Int(zoneMinute) }
}

/// SQLGUID: as Windows stores it, the first three groups in native byte order.
@frozen
public struct GUIDParts: Hashable, Sendable, BitwiseCopyable {
    @usableFromInline var data1: UInt32
    @usableFromInline var data2: UInt16
    @usableFromInline var data3: UInt16
    /// The last two groups, in the order of the text.
    @usableFromInline var data4: UInt64

    public init(_ uuid: UUID) {
        let b = uuid.uuid
        data1 = UInt32(b.0) << 24 | UInt32(b.1) << 16 | UInt32(b.2) << 8 | UInt32(b.3)
        data2 = UInt16(b.4) << 8 | UInt16(b.5)
        data3 = UInt16(b.6) << 8 | UInt16(b.7)
        data4 = withUnsafeBytes(of: (b.8, b.9, b.10, b.11, b.12, b.13, b.14, b.15)) {
            $0.loadUnaligned(as: UInt64.self)
        }
    }

    /// The 16 bytes in the order of the text, as a big-endian number.
    @inlinable
    public var number: UInt128 {
        UInt128(data1) << 96 | UInt128(data2) << 80 | UInt128(data3) << 64 | UInt128(UInt64(bigEndian: data4))
    }

    public var uuid: UUID {
        UUID(uuid: withUnsafeBytes(of: number.bigEndian) { $0.loadUnaligned(as: uuid_t.self) })
    }
}

/// SQL_NUMERIC_STRUCT: an exact decimal of up to 38 digits.
@frozen
public struct NumericParts: Hashable, Sendable, BitwiseCopyable {
    public var precision: UInt8
    public var scale: Int8
    /// 1 for a positive value.
    @usableFromInline var sign: UInt8
    // The magnitude in little-endian order; bytes, since the struct has no alignment.
    @usableFromInline var low: ByteWord
    @usableFromInline var high: ByteWord

    /// The value times `10^scale`; nil when it does not fit in 127 bits.
    @inlinable
    public var unscaled: Int128? {
        guard let value = Int128(exactly: UInt128(high.value) << 64 | UInt128(low.value)) else { return nil }
        return sign == 0 ? -value : value
    }

    /// Eight bytes without alignment.
    @frozen
    @usableFromInline struct ByteWord: Hashable, Sendable, BitwiseCopyable {
        @usableFromInline var b0, b1, b2, b3, b4, b5, b6, b7: UInt8

        @inlinable var value: UInt64 {
            withUnsafeBytes(of: self) { UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) }
        }
    }
}
