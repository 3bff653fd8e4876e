/// Quotes an identifier for T-SQL. Every table and column name in this target goes through here.
func quoted(_ identifier: String) -> String {
    "[" + identifier.replacing("]", with: "]]") + "]"
}

/// Quotes identifiers for T-SQL and lists them, separated by commas.
func quotedList(_ identifiers: some Sequence<String>) -> String {
    identifiers.map(quoted).joined(separator: ", ")
}

/// A Unicode string literal of T-SQL.
func literal(_ text: String) -> String {
    "N'" + text.replacing("'", with: "''") + "'"
}
