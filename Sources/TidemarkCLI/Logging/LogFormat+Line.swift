import Logging
import Tidemark

extension LogFormat {
    /// Keys of the json form that metadata cannot take.
    private static let reserved: Set<String> = ["time", "level", "component", "message"]

    /// One line for `event`, without the line break.
    ///
    /// - Parameter metadata: the handler's and the event's own, merged.
    func line(time: Timestamp, component: String, event: LogEvent, metadata: Logger.Metadata) -> String {
        let pairs = metadata.sorted { $0.key < $1.key }
        switch self {
        case .text:
            // The longest name, CRITICAL, may stick out: it should.
            let level = event.level.rawValue.uppercased()
            let padding = String(repeating: " ", count: max(0, 5 - level.count))
            let tail = pairs.map { " \($0.key)=\(Self.plain($0.value))" }.joined()
            return "\(time.text(separator: " ")) \(level)\(padding) \(component): "
                + Self.oneLine("\(event.message)") + tail
        case .json:
            var fields = [
                ("time", Self.quoted(time.text(separator: "T") + "Z")), ("level", Self.quoted(event.level.rawValue)),
                ("component", Self.quoted(component)), ("message", Self.quoted("\(event.message)")),
            ]
            fields += pairs.map { (Self.reserved.contains($0.key) ? $0.key + "_" : $0.key, Self.json($0.value)) }
            return "{" + fields.map { "\(Self.quoted($0.0)):\($0.1)" }.joined(separator: ",") + "}"
        }
    }

    /// A line break in a message, such as a database's error, must not look like a line of its own.
    private static func oneLine(_ text: String) -> String {
        guard text.contains(where: \.isNewline) else { return text }
        return text.split(whereSeparator: \.isNewline).joined(separator: " | ")
    }

    /// A metadata value: bare when it is one word, quoted as in JSON otherwise.
    private static func plain(_ value: Logger.MetadataValue) -> String {
        let text = "\(value)"
        let isWord = !text.isEmpty && text.allSatisfy { !$0.isWhitespace && $0 != "\"" && $0 != "=" }
        return isWord ? text : quoted(text)
    }

    private static func json(_ value: Logger.MetadataValue) -> String {
        switch value {
        case .string(let text): return quoted(text)
        case .stringConvertible(let value):
            switch value {
            case let number as any FixedWidthInteger: return "\(number)"
            case let number as Double where number.isFinite: return "\(number)"
            case let flag as Bool: return flag ? "true" : "false"
            default: return quoted(value.description)
            }
        case .array(let values): return "[" + values.map(json).joined(separator: ",") + "]"
        case .dictionary(let values):
            let fields = values.sorted { $0.key < $1.key }.map { "\(quoted($0.key)):\(json($0.value))" }
            return "{" + fields.joined(separator: ",") + "}"
        }
    }

    /// `text` as a JSON string.
    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

extension Timestamp {
    /// `2026-01-02 03:04:05.678` in UTC, with `separator` between the date and the time.
    fileprivate func text(separator: String) -> String {
        let milliseconds = microseconds / 1000 - (microseconds % 1000 < 0 ? 1 : 0)
        let day: Int64 = 86_400_000
        let (days, inDay) = (
            milliseconds / day - (milliseconds % day < 0 ? 1 : 0), (milliseconds % day + day) % day
        )
        // The civil calendar from a count of days: howardhinnant.github.io/date_algorithms.html#civil_from_days
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)

        func padded(_ number: Int64, _ width: Int) -> String {
            let digits = String(number)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        let date = [padded(year, 4), padded(month, 2), padded(dayOfYear - (153 * monthFromMarch + 2) / 5 + 1, 2)]
        let time = [inDay / 3_600_000, inDay / 60_000 % 60, inDay / 1000 % 60].map { padded($0, 2) }
        return date.joined(separator: "-") + separator + time.joined(separator: ":") + "." + padded(inDay % 1000, 3)
    }
}
