/// Writes DuckDB's day and microsecond counts as dates and times, in the proleptic Gregorian calendar.
enum Calendar {
    private static let microsPerSecond: Int64 = 1_000_000
    private static let microsPerDay: Int64 = 86_400 * microsPerSecond

    static func date(_ days: Int32) -> String {
        // DuckDB's own marks for infinity.
        if days == .max { return "infinity" }
        if days == -.max { return "-infinity" }
        let (year, month, day) = civil(Int64(days))
        // There is no year 0: the year before 1 is 1 BC.
        return year > 0
            ? "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))"
            : "\(padded(1 - year, 4))-\(padded(month, 2))-\(padded(day, 2)) (BC)"
    }

    static func time(_ micros: Int64) -> String {
        let seconds = micros / microsPerSecond
        let clock = "\(padded(seconds / 3600, 2)):\(padded(seconds / 60 % 60, 2)):\(padded(seconds % 60, 2))"
        var fraction = padded(micros % microsPerSecond, 6)
        while fraction.hasSuffix("0") { fraction.removeLast() }
        return fraction.isEmpty ? clock : "\(clock).\(fraction)"
    }

    static func isInfinite(_ micros: Int64) -> Bool {
        micros == .max || micros == -.max
    }

    static func timestamp(_ micros: Int64) -> String {
        if isInfinite(micros) { return micros > 0 ? "infinity" : "-infinity" }
        let (days, rest) = floorDivide(micros, microsPerDay)
        return "\(date(Int32(days))) \(time(rest))"
    }

    /// The civil date of a day count from 1970-01-01.
    ///
    /// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
    private static func civil(_ days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let daysPerEra: Int64 = 146_097  // 400 years
        let (era, dayOfEra) = floorDivide(days + 719_468, daysPerEra)  // counted from 0000-03-01
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153  // 0 is March
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }

    private static func floorDivide(_ value: Int64, _ divisor: Int64) -> (quotient: Int64, remainder: Int64) {
        let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }

    private static func padded(_ value: Int64, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}
