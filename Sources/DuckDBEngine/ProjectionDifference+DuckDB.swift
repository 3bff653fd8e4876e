import DuckDB
import Tidemark

extension ProjectionDifference {
    /// The temporary table of the rows that are compared.
    static let actual = "actual"

    /// Compares the temporary table `expected`, as `SQLText.temporary` has it, with `actual`.
    init(_ connection: Connection, table: ProjectionTable, expected: String, sample limit: Int) throws {
        func count(_ sql: String) throws -> Int {
            Int(try connection.scalar("SELECT count(*) FROM \(sql)").int64 ?? 0)
        }
        let actual = SQLText.temporary(Self.actual)
        let missing = "(SELECT * FROM \(expected) EXCEPT ALL SELECT * FROM \(actual))"
        let unexpected = "(SELECT * FROM \(actual) EXCEPT ALL SELECT * FROM \(expected))"
        self.init(
            expectedRows: try count(expected), actualRows: try count(actual), missingRows: try count(missing),
            unexpectedRows: try count(unexpected))
        guard !isEmpty else { return }
        for (label, rows) in [("missing", missing), ("unexpected", unexpected)] {
            let order = SQLText.list(table.key)
            for row in try connection.query("SELECT * FROM \(rows) ORDER BY \(order) LIMIT \(limit)").rows() {
                let values = zip(table.columns, row).map { "\($0.name) = \(Self.text($1))" }
                sample.append("\(label): \(values.joined(separator: ", "))")
            }
        }
    }

    /// A value as a person reads it: an LSN is a blob, and shown as LSNs are.
    private static func text(_ value: Value) -> String {
        guard case .blob(let bytes) = value else { return "\(value)" }
        return "0x" + bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
