/// A T-SQL script as sqlcmd reads it: batches parted by `GO` lines, with `$(NAME)` for values from outside.
///
/// ```swift
/// let script = try SQLScript(text, variables: ["DATABASE": "shop"])
/// for batch in script.batches {
///     for _ in 0..<batch.count { try await connection.execute(batch.sql) }
/// }
/// ```
///
/// `GO` is no T-SQL: a server refuses it. A line with nothing but `GO`, a count and a comment ends a batch, in any
/// case, unless it is inside a block comment, a string or a quoted name.
///
/// A value goes in so that it cannot end what it stands in. Where the reference stands in
/// - a string (`'…'`, `N'…'`), `'` is doubled;
/// - a name in brackets (`[…]`), `]` is doubled; in double quotes, `"` is doubled;
/// - plain code, the value has to be a number or an unquoted name: ASCII letters, digits and `_`;
/// - a comment, it stays as it is.
///
/// sqlcmd itself puts values in as they are. A string within a string, such as dynamic SQL, is the script's own
/// business: assign the value to a variable, and use `QUOTENAME` or a parameter.
///
/// The syntax: learn.microsoft.com/sql/t-sql/language-elements/sql-server-utilities-statements-go and
/// learn.microsoft.com/sql/tools/sqlcmd/sqlcmd-use-scripting-variables
public struct SQLScript: Sendable, Hashable {
    /// The batches in order. Those with nothing but blanks are left out.
    public let batches: [Batch]

    /// What the server gets at once.
    public struct Batch: Sendable, Hashable {
        /// The text, values put in, without the `GO` line.
        public let sql: String
        /// The line of the script that `sql` begins with, from 1. A server counts an error's lines from the batch's
        /// first, so line `n` of the batch is `firstLine + n - 1` of the script.
        public let firstLine: Int
        /// How often to run it: the number after `GO`, otherwise 1.
        public let count: Int
    }

    /// Splits a script and puts values in.
    ///
    /// - Parameters:
    ///   - text: the script, with any line ends.
    ///   - variables: values by name. Names are compared without regard to case, as sqlcmd does.
    /// - Throws: `SQLScriptError`, which names the line and the variable and never holds a value.
    public init(_ text: String, variables: [String: String] = [:]) throws(SQLScriptError) {
        var values: [String: String] = [:]
        for (name, value) in variables { values[name.uppercased()] = value }
        var reader = Reader(text: Array(text.unicodeScalars), values: values)
        batches = try reader.read()
    }
}

/// Why a script cannot be run.
public struct SQLScriptError: Error, Hashable, CustomStringConvertible {
    public enum Reason: Hashable, Sendable {
        /// `$(NAME)` has no value.
        case missingValue(name: String)
        /// The value of `$(NAME)`, which stands outside of quotes, is neither a number nor a plain name.
        case unquotedValue(name: String)
        /// The value of `$(NAME)` has a NUL, which no statement can hold.
        case nulInValue(name: String)
        /// A string, quoted name or block comment does not end.
        case unterminated(String)
        /// The count after `GO` is not a number from 0 to 2147483647.
        case badCount
    }

    public let reason: Reason
    /// The line of the script, from 1.
    public let line: Int

    public var description: String {
        switch reason {
        case .missingValue(let name): "line \(line): $(\(name)) has no value"
        case .unquotedValue(let name):
            """
            line \(line): $(\(name)) stands outside of quotes, where only a number or a name of letters, digits and '_' may, \
            and its value is neither
            """
        case .nulInValue(let name): "line \(line): the value of $(\(name)) has a NUL character"
        case .unterminated(let what): "line \(line): the \(what) that begins here does not end"
        case .badCount: "line \(line): GO is followed by something that is no count"
        }
    }
}

/// Reads a script once from front to back.
private struct Reader {
    let text: [Unicode.Scalar]
    let values: [String: String]

    /// What the reader is inside of; brackets and double quotes make a name.
    private enum Place {
        case code
        case lineComment
        /// With how many comments around it: T-SQL's nest.
        case blockComment(depth: Int)
        case quoted(by: Unicode.Scalar)

        var name: String {
            switch self {
            case .quoted(by: "'"): "string"
            case .quoted: "quoted name"
            default: "comment"
            }
        }
    }

    private var position = 0
    private var line = 1
    private var place = Place.code
    /// Where `place` began.
    private var placeLine = 1
    private var sql = String.UnicodeScalarView()
    private var firstLine = 1
    private var batches: [SQLScript.Batch] = []

    init(text: [Unicode.Scalar], values: [String: String]) {
        // A byte order mark, as Windows' editors write.
        self.text = text.first == "\u{FEFF}" ? Array(text.dropFirst()) : text
        self.values = values
    }

    mutating func read() throws(SQLScriptError) -> [SQLScript.Batch] {
        while position < text.count {
            if isAtLineStart, case .code = place, let (count, next) = try separator() {
                endBatch(count: count)
                position = next
                skipLineEnd()
                firstLine = line
                continue
            }
            try step()
        }
        switch place {
        case .code, .lineComment: break
        case .blockComment, .quoted: throw SQLScriptError(reason: .unterminated(place.name), line: placeLine)
        }
        endBatch(count: 1)
        return batches
    }

    private var isAtLineStart: Bool { position == 0 || Self.isLineEnd(text[position - 1]) }

    private static func isLineEnd(_ scalar: Unicode.Scalar) -> Bool { scalar == "\n" || scalar == "\r" }

    private func peek(_ offset: Int = 0) -> Unicode.Scalar? {
        position + offset < text.count ? text[position + offset] : nil
    }

    /// Takes in one character, or what belongs together.
    private mutating func step() throws(SQLScriptError) {
        let scalar = text[position]
        if scalar == "$", peek(1) == "(", let (name, length) = reference() {
            switch place {
            case .lineComment, .blockComment: break
            case .code, .quoted:
                sql.append(contentsOf: try value(of: name))
                position += length
                return
            }
        }
        switch place {
        case .code:
            switch scalar {
            case "-" where peek(1) == "-": enter(.lineComment)
            case "/" where peek(1) == "*":
                enter(.blockComment(depth: 1))
                take()
            case "'", "\"": enter(.quoted(by: scalar))
            case "[": enter(.quoted(by: "]"))
            default: break
            }
        case .lineComment:
            if Self.isLineEnd(scalar) { place = .code }
        case .blockComment(let depth):
            if scalar == "*", peek(1) == "/" {
                place = depth == 1 ? .code : .blockComment(depth: depth - 1)
                take()
            } else if scalar == "/", peek(1) == "*" {
                place = .blockComment(depth: depth + 1)
                take()
            }
        case .quoted(by: let end):
            if scalar == end {
                // Two stand for one, and the quotes go on.
                if peek(1) == end { take() } else { place = .code }
            }
        }
        take()
    }

    private mutating func enter(_ place: Place) {
        self.place = place
        placeLine = line
    }

    /// Copies a character into the batch; `\r\n` is one line end.
    private mutating func take() {
        let scalar = text[position]
        if scalar == "\n" || (scalar == "\r" && peek(1) != "\n") { line += 1 }
        sql.append(scalar)
        position += 1
    }

    // MARK: GO

    /// The count of the `GO` line that begins here, and where the line ends; `nil` for any other line.
    private func separator() throws(SQLScriptError) -> (count: Int, next: Int)? {
        var index = position
        func current() -> Unicode.Scalar? {
            index < text.count && !Self.isLineEnd(text[index]) ? text[index] : nil
        }
        func skipBlanks() { while let scalar = current(), scalar == " " || scalar == "\t" { index += 1 } }

        skipBlanks()
        guard let g = current(), g == "G" || g == "g" else { return nil }
        index += 1
        guard let o = current(), o == "O" || o == "o" else { return nil }
        index += 1
        // GOTO, or a name that begins with it.
        if let next = current(), next != " ", next != "\t", next != "-", next != "/" { return nil }
        skipBlanks()

        var digits = ""
        while let scalar = current(), ("0"..."9").contains(scalar) {
            digits.unicodeScalars.append(scalar)
            index += 1
        }
        skipBlanks()
        if let scalar = current() {
            let rest = index + 1 < text.count ? text[index + 1] : nil
            guard scalar == "-" && rest == "-" || scalar == "/" && rest == "*" else {
                throw SQLScriptError(reason: .badCount, line: line)
            }
            if scalar == "/" { try skipBlockComment(&index) } else { while current() != nil { index += 1 } }
        }
        guard !digits.isEmpty else { return (1, index) }
        guard let count = Int32(digits) else { throw SQLScriptError(reason: .badCount, line: line) }
        return (Int(count), index)
    }

    /// A block comment after `GO` has to end on its line, with nothing behind it.
    private func skipBlockComment(_ index: inout Int) throws(SQLScriptError) {
        index += 2
        while index + 1 < text.count, !Self.isLineEnd(text[index]), !(text[index] == "*" && text[index + 1] == "/") {
            index += 1
        }
        guard index + 1 < text.count, text[index] == "*" else {
            throw SQLScriptError(reason: .unterminated("comment"), line: line)
        }
        index += 2
        while index < text.count, !Self.isLineEnd(text[index]) {
            guard text[index] == " " || text[index] == "\t" else { throw SQLScriptError(reason: .badCount, line: line) }
            index += 1
        }
    }

    private mutating func skipLineEnd() {
        guard let scalar = peek(), Self.isLineEnd(scalar) else { return }
        position += scalar == "\r" && peek(1) == "\n" ? 2 : 1
        line += 1
    }

    private mutating func endBatch(count: Int) {
        if sql.contains(where: { !$0.properties.isWhitespace }) {
            batches.append(SQLScript.Batch(sql: String(sql), firstLine: firstLine, count: count))
        }
        sql = String.UnicodeScalarView()
    }

    // MARK: Variables

    /// The name in the `$(NAME)` that begins here, and the length of the whole; `nil` when it is none.
    private func reference() -> (name: String, length: Int)? {
        var name = String.UnicodeScalarView()
        var index = position + 2
        while index < text.count, Self.isNamePart(text[index]) {
            name.append(text[index])
            index += 1
        }
        guard !name.isEmpty, index < text.count, text[index] == ")" else { return nil }
        return (String(name), index + 1 - position)
    }

    private static func isNamePart(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "a"..."z", "A"..."Z", "0"..."9", "_": true
        default: false
        }
    }

    /// The value, written so that it stays within what the reference stands in.
    private func value(of name: String) throws(SQLScriptError) -> String.UnicodeScalarView {
        guard let value = values[name.uppercased()] else {
            throw SQLScriptError(reason: .missingValue(name: name), line: line)
        }
        guard !value.unicodeScalars.contains("\0") else {
            throw SQLScriptError(reason: .nulInValue(name: name), line: line)
        }
        guard case .quoted(by: let end) = place else {
            guard !value.isEmpty, value.unicodeScalars.allSatisfy(Self.isNamePart) else {
                throw SQLScriptError(reason: .unquotedValue(name: name), line: line)
            }
            return value.unicodeScalars
        }
        var written = String.UnicodeScalarView()
        for scalar in value.unicodeScalars {
            if scalar == end { written.append(end) }
            written.append(scalar)
        }
        return written
    }
}
