/// The words of a trigger's text.
struct TriggerText {
    private let tokens: [String]

    /// - Parameter sql: as SQLite keeps it: `CREATE TRIGGER name …`.
    init(_ sql: String) { tokens = Self.tokens(of: sql) }

    /// Whether it runs after the change.
    var isAfter: Bool { tokens.count > 3 && tokens[3] == "AFTER" }

    /// Whether it may keep the triggers that come after it from running although the row has changed: it runs after the
    /// change, and ends in `RAISE(IGNORE)`, or in `RAISE(FAIL, …)`, which stops the statement without undoing it. Before
    /// a change `RAISE(IGNORE)` leaves the row as it was, and `ABORT` and `ROLLBACK` undo everything.
    var maySuppressOthers: Bool {
        isAfter
            && tokens.indices.dropLast(2).contains { index in
                tokens[index] == "RAISE" && tokens[index + 1] == "(" && ["IGNORE", "FAIL"].contains(tokens[index + 2])
            }
    }

    /// Words in capitals, and single other characters. A quoted name or a string is the word `'`, since no keyword is
    /// quoted; comments and blanks are left out.
    private static func tokens(of sql: String) -> [String] {
        var tokens: [String] = []
        var rest = Substring(sql)
        while let character = rest.first {
            if character.isWhitespace {
                rest.removeFirst()
            } else if rest.hasPrefix("--") {
                rest = rest.drop { $0 != "\n" }
            } else if rest.hasPrefix("/*") {
                rest = rest.dropFirst(2)
                while !rest.isEmpty, !rest.hasPrefix("*/") { rest.removeFirst() }
                rest = rest.dropFirst(2)
            } else if let end = ["'": "'", "\"": "\"", "`": "`", "[": "]"][character] as Character? {
                repeat {
                    rest = rest.dropFirst().drop { $0 != end }.dropFirst()
                    // A doubled quote stands for one.
                } while rest.first == end && character == end
                tokens.append("'")
            } else if isWord(character) {
                let word = rest.prefix(while: isWord)
                tokens.append(word.uppercased())
                rest = rest.dropFirst(word.count)
            } else {
                tokens.append(String(character))
                rest.removeFirst()
            }
        }
        return tokens
    }

    private static func isWord(_ character: Character) -> Bool {
        character.isLetter || character.isNumber || character == "_" || character == "$"
    }
}
