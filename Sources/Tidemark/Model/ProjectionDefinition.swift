/// What a projection is: its name, what it reads, its key, and its SQL. Data, not code.
///
/// A projection is a folder:
///
///     orders_latest/
///         projection.yml    name, captures, key, interval, enabled
///         query.sql         DuckDB SQL over the captured tables, by name
///         affected.sql      optional: keys of the rows that changes may touch, for incremental upkeep
public struct ProjectionDefinition: Hashable, Sendable {
    /// The folder's name; the table is `proj_<name>`.
    public var name: String
    /// What it is good for, in the author's words.
    public var summary: String?
    /// The captures it reads, in the order written.
    public var captures: [CaptureUse]
    /// The output columns that identify a row: the table's primary key.
    public var key: [String]
    /// Pause between two runs; `nil` leaves it to `PROJECTION_INTERVAL`.
    public var interval: Duration?
    /// Whether it runs unless `ENABLE_PROJ_<NAME>` says otherwise.
    public var enabled: Bool
    /// DuckDB SQL that yields the table.
    public var query: String
    /// DuckDB SQL that yields the keys of the output rows that changes may touch; `nil` means that every run
    /// computes the whole query.
    public var affected: String?

    /// A capture a projection reads.
    public struct CaptureUse: Hashable, Sendable {
        /// The capture instance (`dbo_orders`) or table (`orders`), as written.
        public var name: String
        /// The columns the query may see, `__lsn` included when it is listed; `nil` for all of them.
        ///
        /// A change that leaves these columns alone is no change to the projection.
        public var columns: [String]?

        public init(name: String, columns: [String]? = nil) {
            self.name = name
            self.columns = columns
        }
    }

    public init(
        name: String, summary: String? = nil, captures: [CaptureUse], key: [String], interval: Duration? = nil,
        enabled: Bool = true, query: String, affected: String? = nil
    ) {
        self.name = name
        self.summary = summary
        self.captures = captures
        self.key = key
        self.interval = interval
        self.enabled = enabled
        self.query = query
        self.affected = affected
    }

    /// Longest name, in characters: with the prefixes of tables it still fits into the 128 that
    /// SQL Server allows an identifier (learn.microsoft.com/sql/relational-databases/databases/database-identifiers).
    public static let maximumNameLength = 100

    /// The environment variable that switches the projection on or off, e.g. `ENABLE_PROJ_ORDERS_LATEST`.
    public var enableVariable: String { "ENABLE_PROJ_" + name.uppercased() }
}

extension ProjectionDefinition {
    /// Text that is the same exactly as long as the projection's result is defined the same way.
    ///
    /// It holds the name, captures with their columns, key, query and affected keys; not the summary, interval or
    /// switch. The order of captures and columns, line ends and white space around the SQL do not count. Every part is
    /// preceded by its length in bytes, so no two definitions have the same text.
    public var fingerprint: String {
        var parts = ["tidemark projection 1", name]
        parts += [String(captures.count)]
        for capture in captures.sorted(by: { $0.name < $1.name }) {
            parts += [capture.name]
            parts += capture.columns.map { [String($0.count)] + $0.sorted() } ?? ["all"]
        }
        parts += [String(key.count)] + key
        parts += [Self.normalized(query)]
        parts += affected.map { ["affected", Self.normalized($0)] } ?? ["recomputed"]
        return parts.map { "\($0.utf8.count):\($0)\n" }.joined()
    }

    private static func normalized(_ sql: String) -> String {
        let lines = sql.split(omittingEmptySubsequences: false) { $0.isNewline }
        let text = lines.joined(separator: "\n")
        guard let first = text.firstIndex(where: { !$0.isWhitespace }),
            let last = text.lastIndex(where: { !$0.isWhitespace })
        else { return "" }
        return String(text[first...last])
    }
}
