/// Pieces of DuckDB SQL.
enum SQLText {
    /// Quotes an identifier. Every identifier that reaches DuckDB's SQL passes here.
    static func identifier(_ name: String) -> String {
        "\"" + name.replacing("\"", with: "\"\"") + "\""
    }

    /// Quoted identifiers with commas between them, each behind `qualifier` and a point when there is one.
    static func list(_ names: some Sequence<String>, of qualifier: String? = nil) -> String {
        names.map { (qualifier.map { $0 + "." } ?? "") + identifier($0) }.joined(separator: ", ")
    }

    /// One of the pipeline's own temporary tables. With its catalog before it the name is never that of a captured
    /// table, which a projection's SQL sees by a name without one.
    static func temporary(_ name: String) -> String { "temp." + identifier(name) }

    /// Quotes a string literal.
    static func literal(_ text: String) -> String {
        // SQL reaches DuckDB as a C string, which a NUL would end.
        let parts = text.split(separator: "\0", omittingEmptySubsequences: false)
        let literals = parts.map { "'" + $0.replacing("'", with: "''") + "'" }
        return literals.count == 1 ? literals[0] : "(" + literals.joined(separator: " || chr(0) || ") + ")"
    }

    /// A user's query as it can stand inside parentheses: without the final semicolon, and with a line
    /// break behind it for the sake of a last `--` comment.
    static func subquery(_ query: String) -> String {
        var text = query[...]
        while let last = text.last, last.isWhitespace || last == ";" { text.removeLast() }
        return "(\n\(text)\n)"
    }
}
