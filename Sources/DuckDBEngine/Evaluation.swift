import DuckDB
import Tidemark

/// The steps of one evaluation, on a connection in a transaction that will be rolled back.
///
/// A projection's SQL sees each captured table under its own name, as a common table expression over the
/// replica that shows the state at one LSN; `affected.sql` sees `changed_<table>` beside it; and the macros
/// `affected_<key column>` tell `query.sql` which keys are wanted. This type's own temporary tables are named with
/// their catalog (`temp.`), so that no captured table can take the place of one.
struct Evaluation: Sendable {
    let definition: ProjectionDefinition
    let inputs: [ProjectionInput]

    /// The result, whole or for the affected keys, at the later of the two LSNs.
    let after = SQLText.temporary("result_after")
    private let before = SQLText.temporary("result_before")
    private let differing = SQLText.temporary("result_differing")
    private let affected = SQLText.temporary("affected")

    /// One of the two states between which changes are computed.
    private enum Side: String {
        case before, after
    }

    /// A captured table on one side, as tables that the steps before have left.
    private struct View {
        /// The latest changes of the log up to the side's LSN; `nil` when there are none.
        var overlay: String?
        /// The rows that changed, as they are on this side; `nil` when none did.
        var changed: String?
    }

    // MARK: Shape

    /// Defines the macros as always true, for this connection's lifetime.
    func prepare(_ connection: Connection) throws {
        for name in definition.key {
            try connection.execute("CREATE OR REPLACE TEMP MACRO \(macro(name))(x) AS (true)")
        }
    }

    /// The columns of the result. Has DuckDB check all of the projection's SQL.
    func describe(_ connection: Connection) throws -> ProjectionTable {
        let views = inputs.map { _ in View() }
        let result = try connection.query("SELECT * FROM \(scoped(definition.query, views)) LIMIT 0")
        let columns = try result.columns.map { column in
            guard let type = LogicalType(column.type) else {
                throw failure(
                    """
                    column \(column.name) of query.sql has the type \(column.type), which no serving database holds; \
                    cast it, e.g. to BIGINT or DECIMAL(38,0)
                    """)
            }
            return Column(name: column.name, type: type, isNullable: !definition.key.contains(column.name))
        }
        let names = columns.map(\.name)
        if let missing = definition.key.first(where: { !names.contains($0) }) {
            throw failure("key column \(missing) is not among query.sql's columns (\(names.joined(separator: ", ")))")
        }
        if let twice = Dictionary(grouping: names, by: { $0.lowercased() }).values.first(where: { $0.count > 1 }) {
            throw failure("query.sql yields column \(twice[0]) more than once")
        }
        if let sql = definition.affected {
            _ = try connection.query(
                "SELECT \(SQLText.list(definition.key)) FROM \(scoped(sql, views, withChanged: true)) LIMIT 0")
        }
        return ProjectionTable(projection: definition.name, columns: columns, key: definition.key)
    }

    // MARK: Whole results

    /// Leaves the whole result as of `lsn` in the temporary table `after`, checked.
    func wholeResult(_ connection: Connection, table: ProjectionTable, asOf lsn: LSN) throws {
        let views = try zip(inputs, logRows(connection, from: lsn, to: lsn)).map { input, rows in
            View(overlay: rows.before > 0 ? try makeOverlay(connection, input, .after, through: lsn) : nil)
        }
        try connection.execute(
            "CREATE TEMP TABLE \(after) AS \(selectAll(table)) FROM \(scoped(definition.query, views))")
        try check(connection, table: table)
    }

    // MARK: Changes

    /// Hands out what the result gained, changed and lost between two LSNs, until `push` returns `false`.
    func changes(
        _ connection: Connection, table: ProjectionTable, from: LSN, to: LSN, _ push: (ProjectionChange) -> Bool
    ) throws {
        let rows = try logRows(connection, from: from, to: to)
        guard rows.contains(where: { $0.between > 0 }) else { return }
        var old: [View] = []
        var new: [View] = []
        for (input, rows) in zip(inputs, rows) {
            let (oldView, newView) = try views(connection, input, rows, from: from, to: to)
            old.append(oldView)
            new.append(newView)
        }

        if let sql = definition.affected {
            try collectAffected(connection, table: table, sql: sql, old: old, new: new)
            guard let (ranges, named) = try ranges(connection, table: table) else { return }
            try restrictMacros(connection, ranges)
            let tests = ranges.keys.sorted().compactMap { name in
                ranges[name].map { "(\(test($0, on: SQLText.identifier(name))))" }
            }
            let restriction = tests.isEmpty ? "" : " WHERE " + tests.joined(separator: " AND ")
            let key = SQLText.list(table.key)
            // Before the step the table holds the query's result, so it need not be computed again: the affected keys
            // that have no row now are gone if they had one, and the store leaves rows alone that did not change.
            let present = try connection.execute(
                """
                CREATE TEMP TABLE \(after) AS \(selectAll(table))
                FROM (SELECT * FROM \(scoped(definition.query, new))\(restriction))
                SEMI JOIN \(affected) USING (\(key))
                """)
            try check(connection, table: table)
            return try handOut(
                connection, table: table, isSmall: max(present, named) <= DataChunk.capacity,
                deletes: "SELECT DISTINCT \(key) FROM \(affected) ANTI JOIN \(after) USING (\(key))",
                upserts: "SELECT * FROM \(after)", push)
        }

        for (result, views) in [(before, old), (after, new)] {
            try connection.execute(
                "CREATE TEMP TABLE \(result) AS \(selectAll(table)) FROM \(scoped(definition.query, views))")
        }
        try check(connection, table: table)
        let key = SQLText.list(table.key)
        // A table, so that what is handed out once the store's transaction is open needs no more computing.
        let changed = try connection.execute(
            "CREATE TEMP TABLE \(differing) AS SELECT * FROM \(after) EXCEPT SELECT * FROM \(before)")
        try handOut(
            connection, table: table, isSmall: changed <= DataChunk.capacity,
            deletes: "SELECT \(key) FROM \(before) ANTI JOIN \(after) USING (\(key))",
            upserts: "SELECT * FROM \(differing)", push)
    }

    /// How many changes of each input's log lie up to `from`, and between `from` and `to`.
    ///
    /// - Throws: `ComputeEngineError.moved` unless this transaction's version of the replica can show every input from `from` to
    ///   `to`. Pins keep it so; this is what makes sure, whatever another worker folds between a decision and its pin,
    ///   or starts over between loading and this.
    private func logRows(_ connection: Connection, from: LSN, to: LSN) throws -> [(before: Int64, between: Int64)] {
        let instances = inputs.map { SQLText.literal($0.capture.instance) }.joined(separator: ", ")
        let moved = """
            SELECT -1, count(*), 0 FROM replica.positions
            WHERE capture_instance IN (\(instances)) AND NOT \(ReplicaTables.shows(from: from, to: to))
            """
        let counts = inputs.enumerated().map { index, input in
            """
            SELECT \(index), count(*) FILTER (__lsn <= \(from.sqlLiteral)), count(*) FILTER (__lsn > \(from.sqlLiteral))
            FROM \(input.tables.log.qualified) WHERE __lsn <= \(to.sqlLiteral)
            """
        }
        let rows = try connection.query(([moved] + counts).joined(separator: " UNION ALL ") + " ORDER BY 1").rows()
        guard rows.first?[1] == .int(0) else {
            throw ComputeEngineError.moved(projection: definition.name, from: from, to: to)
        }
        return rows.dropFirst().map { ($0[1].int64 ?? 0, $0[2].int64 ?? 0) }
    }

    /// Makes the tables that show an input on both sides.
    private func views(
        _ connection: Connection, _ input: ProjectionInput, _ rows: (before: Int64, between: Int64), from: LSN, to: LSN
    ) throws -> (View, View) {
        var old = View()
        if rows.before > 0 { old.overlay = try makeOverlay(connection, input, .before, through: from) }
        // Without a change in between, both sides are one.
        guard rows.between > 0 else { return (old, old) }
        let overlay = try makeOverlay(connection, input, .after, through: to)
        var new = View(overlay: overlay)

        let key = SQLText.list(input.capture.key)
        let columns = SQLText.list(input.columns)
        let oldRows = name("rows_before", input)
        let newRows = """
            SELECT \(columns) FROM \(overlay)
            WHERE __lsn > \(from.sqlLiteral) AND \(ReservedName.operation) <> \(ChangeOperation.delete.rawValue)
            """
        try connection.execute(
            """
            CREATE TEMP TABLE \(oldRows) AS
            SELECT \(columns) FROM (\(input.tables.state(overlay: old.overlay, columns: input.columns)))
            SEMI JOIN (SELECT \(key) FROM \(overlay) WHERE __lsn > \(from.sqlLiteral)) USING (\(key));
            """)
        new.changed = name("changed_after", input)
        if input.columns.contains(ReservedName.lsn) {
            // Whatever changed differs at least in its LSN.
            old.changed = oldRows
            try connection.execute("CREATE TEMP TABLE \(name("changed_after", input)) AS \(newRows)")
        } else {
            old.changed = name("changed_before", input)
            try connection.execute(
                """
                CREATE TEMP TABLE \(name("changed_before", input)) AS SELECT * FROM \(oldRows) EXCEPT \(newRows);
                CREATE TEMP TABLE \(name("changed_after", input)) AS \(newRows) EXCEPT SELECT * FROM \(oldRows);
                """)
        }
        return (old, new)
    }

    /// Leaves the latest change of each key up to `lsn` in a temporary table.
    private func makeOverlay(_ connection: Connection, _ input: ProjectionInput, _ side: Side, through lsn: LSN) throws
        -> String
    {
        let table = name("overlay_\(side)", input)
        try connection.execute(
            "CREATE TEMP TABLE \(table) AS \(input.tables.latest(through: lsn, columns: input.columns))")
        return table
    }

    /// Leaves the output keys that the changes can touch, seen from both sides.
    private func collectAffected(
        _ connection: Connection, table: ProjectionTable, sql: String, old: [View], new: [View]
    ) throws {
        let key = table.keyColumns.map {
            "CAST(\(SQLText.identifier($0.name)) AS \($0.type.duckDBName)) AS \(SQLText.identifier($0.name))"
        }.joined(separator: ", ")
        // Two statements: as two branches of one UNION they take several times as long to plan and to run.
        // No row has a NULL in its key, so none is affected under such a key.
        let isKey = table.key.map { "\(SQLText.identifier($0)) IS NOT NULL" }.joined(separator: " AND ")
        let rows = { (views: [View]) in
            "SELECT \(key) FROM \(scoped(sql, views, withChanged: true)) WHERE \(isKey)"
        }
        try connection.execute("CREATE TEMP TABLE \(affected) AS \(rows(old))")
        try connection.execute("INSERT INTO \(affected) \(rows(new))")
    }

    private func handOut(
        _ connection: Connection, table: ProjectionTable, isSmall: Bool, deletes: String, upserts: String,
        _ push: (ProjectionChange) -> Bool
    ) throws {
        guard try connection.stream(deletes, table.keyColumns, isSmall: isSmall, { push(.deletes($0)) }) else { return }
        try connection.stream(upserts, table.columns, isSmall: isSmall) { push(.upserts($0)) }
    }

    /// Throws when the result has a NULL in its key, or a key twice.
    private func check(_ connection: Connection, table: ProjectionTable) throws {
        let key = SQLText.list(table.key)
        let isNull = table.key.map { "\(SQLText.identifier($0)) IS NULL" }.joined(separator: " OR ")
        let wrong = try connection.query(
            "SELECT \(key), count(*) FROM \(after) GROUP BY \(key) HAVING count(*) > 1 OR \(isNull) LIMIT 1"
        ).rows().first
        guard let wrong else { return }
        let row = zip(table.key, wrong).map { "\($0) = \($1)" }.joined(separator: ", ")
        throw failure(
            wrong.dropLast().contains(.null)
                ? "query.sql yields a row with NULL in its key: \(row)"
                : """
                query.sql yields \(wrong.last ?? 0) rows for one key: \(row); the key in projection.yml must be unique
                """)
    }

    // MARK: Ranges

    /// Where the affected values of a key column lie: from and to, both included, as SQL.
    private typealias Spans = [(from: String, to: String)]

    /// Pieces the width of a key column's affected values is cut into.
    private static let pieces = 16

    /// By key column, where its affected values lie; nothing for a type without distances. And how many keys are
    /// affected, counted as often as they were named; `nil` when none is.
    ///
    /// The width between the lowest and the highest value is cut into pieces, and empty pieces part the spans: one
    /// corrected row from last year does not make the scan read everything since.
    private func ranges(_ connection: Connection, table: ProjectionTable) throws -> (
        spans: [String: Spans], count: Int
    )? {
        var parts = ["SELECT -1 AS i, 0 AS piece, CAST(count(*) AS VARCHAR) AS lowest, '' AS highest FROM \(affected)"]
        for (index, column) in table.keyColumns.enumerated() {
            let name = "a.\(SQLText.identifier(column.name))"
            let number: String
            switch column.type {
            case .uint8, .int16, .int32, .int64, .decimal: number = "CAST(\(name) AS DOUBLE)"
            case .date, .timestamp: number = "CAST(epoch_us(CAST(\(name) AS TIMESTAMP)) AS DOUBLE)"
            case .timestampTZ, .time: number = "CAST(epoch_us(\(name)) AS DOUBLE)"
            case .string, .bool, .float, .double, .binary, .uuid: continue
            }
            parts.append(
                """
                SELECT \(index), piece, CAST(min(k) AS VARCHAR), CAST(max(k) AS VARCHAR) FROM (
                    SELECT \(name) AS k,
                        CAST(floor(\(Self.pieces) * (\(number) - r.low) / greatest(r.high - r.low, 1)) AS INT) AS piece
                    FROM \(affected) AS a, (SELECT min(\(number)) AS low, max(\(number)) AS high FROM \(affected) AS a) AS r
                ) GROUP BY piece
                """)
        }
        let rows = try connection.query(parts.joined(separator: " UNION ALL ") + " ORDER BY i, piece").rows()
        guard let count = rows.first.flatMap({ $0[2].string }).flatMap({ Int($0) }), count > 0 else { return nil }
        var ranges: [String: Spans] = [:]
        var last: (column: Int, piece: Int64)?
        for row in rows.dropFirst() {
            guard let index = row[0].int64.map({ Int($0) }), let piece = row[1].int64, let from = row[2].string,
                let to = row[3].string
            else { continue }
            let column = table.keyColumns[index]
            let cast = { (text: String) in "CAST(\(SQLText.literal(text)) AS \(column.type.duckDBName))" }
            if let last, last.column == index, last.piece + 1 == piece, let open = ranges[column.name]?.indices.last {
                ranges[column.name]?[open].to = cast(to)
            } else {
                ranges[column.name, default: []].append((from: cast(from), to: cast(to)))
            }
            last = (index, piece)
        }
        return (ranges, count)
    }

    private func test(_ spans: Spans, on value: String) -> String {
        spans.map { "(\(value) >= \($0.from) AND \(value) <= \($0.to))" }.joined(separator: " OR ")
    }

    /// Makes `affected_<key column>(x)` true for the affected values only: first by ranges, which let scans
    /// skip row groups, then by look-up.
    private func restrictMacros(_ connection: Connection, _ ranges: [String: Spans]) throws {
        for name in definition.key {
            // With its table before it, a column called x is not the macro's parameter.
            let lookUp = "x IN (SELECT a.\(SQLText.identifier(name)) FROM \(affected) AS a)"
            let body = ranges[name].map { "(\(test($0, on: "x"))) AND \(lookUp)" } ?? lookUp
            try connection.execute("CREATE OR REPLACE TEMP MACRO \(macro(name))(x) AS (\(body))")
        }
    }

    // MARK: SQL

    /// The projection's `sql` as a subquery in which the captured tables show the state of `views`.
    private func scoped(_ sql: String, _ views: [View], withChanged: Bool = false) -> String {
        var tables: [String] = []
        for (input, view) in zip(inputs, views) {
            let name = SQLText.identifier(input.capture.table)
            let state = input.tables.state(overlay: view.overlay, columns: input.columns)
            tables.append("\(name) AS NOT MATERIALIZED (\(state))")
            guard withChanged else { continue }
            let changed = SQLText.identifier(input.changedName)
            let rows = view.changed.map { "FROM \($0)" } ?? "FROM \(input.tables.base.qualified) WHERE false"
            tables.append("\(changed) AS NOT MATERIALIZED (SELECT \(SQLText.list(input.columns)) \(rows))")
        }
        return "(WITH \(tables.joined(separator: ", ")) SELECT * FROM \(SQLText.subquery(sql)))"
    }

    private func selectAll(_ table: ProjectionTable) -> String { "SELECT \(SQLText.list(table.columns.map(\.name)))" }

    private func name(_ role: String, _ input: ProjectionInput) -> String {
        SQLText.temporary("\(role)_\(input.capture.table)")
    }

    private func macro(_ key: String) -> String { SQLText.identifier("affected_\(key)") }

    private func failure(_ reason: String) -> TidemarkError {
        .projection(name: definition.name, reason: reason)
    }
}

extension ProjectionInput {
    var tables: ReplicaTables { ReplicaTables(capture) }
}
