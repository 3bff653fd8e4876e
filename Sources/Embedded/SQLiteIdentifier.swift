/// Quotes an identifier for SQL. Every table and column name in this target goes through here.
func quoted(_ identifier: String) -> String {
    "\"" + identifier.replacing("\"", with: "\"\"") + "\""
}

/// Quotes identifiers for SQL and lists them, separated by commas.
func quotedList(_ identifiers: some Sequence<String>) -> String {
    identifiers.map(quoted).joined(separator: ", ")
}
