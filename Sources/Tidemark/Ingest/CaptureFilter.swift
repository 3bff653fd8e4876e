/// Which tables are captured and ingested: `CDC_INCLUDE` less `CDC_EXCLUDE`.
///
///     let filter = try CaptureFilter(include: "shop_*", exclude: "*_audit, *_tmp")
///     filter.includes("Shop_Orders")  // true
public struct CaptureFilter: Sendable, Equatable {
    /// Patterns of tables' names, in which `*` stands for any text and `?` for any one character. Case does not count.
    public let include: [String]
    public let exclude: [String]

    /// Lets every table in.
    public static let all = CaptureFilter(include: ["*"], exclude: [])

    public init(include: [String], exclude: [String]) {
        self.include = include
        self.exclude = exclude
    }

    /// The patterns of a list separated by commas; `nil` when one of them is empty.
    public static func patterns(_ text: some StringProtocol) -> [String]? {
        let patterns = text.split(separator: ",", omittingEmptySubsequences: false).map {
            $0.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed()
        }.map { String($0) }
        return patterns.contains("") ? nil : patterns
    }

    public func includes(_ table: String) -> Bool {
        include.contains { Self.matches(table, $0) } && !exclude.contains { Self.matches(table, $0) }
    }

    /// A sentence for each pattern that none of `tables` matches, which is most likely a slip.
    public func complaints(tables: [String]) -> [String] {
        func unused(_ setting: String, _ patterns: [String]) -> [String] {
            patterns.filter { pattern in pattern != "*" && !tables.contains { Self.matches($0, pattern) } }
                .map { "\(setting) has \($0), which is the name of no table of the source" }
        }
        return unused("CDC_INCLUDE", include) + unused("CDC_EXCLUDE", exclude)
    }

    /// Goes on after a `*` as soon as the rest fits, and comes back to the last `*` when it turns out not to: time is
    /// bounded by the product of the lengths.
    static func matches(_ name: String, _ pattern: String) -> Bool {
        let (name, pattern) = (Array(name.lowercased()), Array(pattern.lowercased()))
        var (at, place) = (0, 0)
        var star: (place: Int, at: Int)?
        while at < name.count {
            if place < pattern.count, pattern[place] == "*" {
                star = (place, at)
                place += 1
            } else if place < pattern.count, pattern[place] == "?" || pattern[place] == name[at] {
                at += 1
                place += 1
            } else if let last = star {
                star = (last.place, last.at + 1)
                (at, place) = (last.at + 1, last.place + 1)
            } else {
                return false
            }
        }
        return pattern[place...].allSatisfy { $0 == "*" }
    }
}
