/// The names the pipeline gives to columns of its own beside captured ones.
///
/// DuckDB compares names without regard to case, so a captured column must not have one of these in any case.
package enum ReservedName {
    /// How queries see the LSN of a row's latest change.
    package static let lsn = "__lsn"
    /// What the names of the replica's other columns begin with.
    package static let prefix = "__tidemark_"
    /// The place of a change in the log.
    package static let order = prefix + "ord"
    /// The operation of a change.
    package static let operation = prefix + "op"

    /// A name as DuckDB compares it: letters from A to Z are those from a to z, and no others.
    package static func folded(_ name: String) -> String {
        String(
            decoding: name.utf8.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 },
            as: UTF8.self)
    }
}

extension Capture {
    /// Why the replica has no place for one of the captured columns; `nil` when it has one for each.
    package var namingProblem: TidemarkError? {
        var seen: [String: String] = [:]
        for column in columns {
            let name = ReservedName.folded(column.name)
            if name == ReservedName.lsn || name.hasPrefix(ReservedName.prefix) {
                let meaning =
                    name == ReservedName.lsn
                    ? "under which queries see the log position of a row's latest change"
                    : "kept for the pipeline's own columns"
                return .schema(
                    """
                    column \(table).\(column.name) has a name \(meaning); rename it in the source, or leave it out of what \
                    is captured
                    """)
            }
            if let other = seen.updateValue(column.name, forKey: name) {
                return .schema(
                    """
                    columns \(other) and \(column.name) of \(table) differ in case only, which is one name to DuckDB; rename \
                    one of them in the source, or leave it out of what is captured
                    """)
            }
        }
        return nil
    }
}
