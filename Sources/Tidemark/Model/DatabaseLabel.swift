/// Which database a failure happened in, for the operator who reads about it.
package struct DatabaseLabel: Sendable, CustomStringConvertible {
    /// `source` or `serving`.
    package let role: String
    /// Where it is, without secrets: a file's path, or host and database.
    package let place: String

    package init(role: String, place: String) {
        self.role = role
        self.place = place
    }

    package var description: String { "the \(role) database \(place)" }

    /// A statement or a driver's message for the end of a sentence: on one line, cut where it gets long.
    package static func oneLine(_ text: String) -> String {
        let words = text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        return words.count > 300 ? words.prefix(300) + "…" : words
    }
}
