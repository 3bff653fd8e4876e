import DuckDB

/// The steps of one evaluation, on a connection in a transaction that will be rolled back.
///
/// It leaves the names below to the projection's SQL, all temporary: a view per captured table, a view
/// `changed_<table>` beside it while `affected.sql` runs, and a macro `affected_<key column>`.
struct Evaluation: Sendable {
    let definition: ProjectionDefinition
    let inputs: [ProjectionInput]

    /// The result before and after, restricted to the affected keys unless the whole was asked for.
    let before = "__result_before"
    let after = "__result_after"
    private let affected = "__affected"

    /// Which of the two states the views show.
    private enum Side: String {
        case before, after
    }

    // MARK: Shape

    /// The columns of the result, and that `affected.sql` binds and yields the key.
    func describe(_ connection: Connection) throws -> ProjectionTable {
        try defineMacros(connection, ranges: nil)
        for input in inputs {
            try connection.execute("CREATE TEMP TABLE \(overlay(input, .after)) AS \(input.tables.latest(through: .zero))")
            try show(connection, input, .after)
            try connection.execute(
                "CREATE TEMP VIEW \(changedView(input)) AS SELECT * FROM \(SQLText.identifier(input.capture.table))")
        }
        let result = try connection.query("SELECT * FROM \(SQLText.subquery(definition.query)) LIMIT 0")
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
        let table = ProjectionTable(projection: definition.name, columns: columns, key: definition.key)
        if let sql = definition.affected {
            _ = try connection.query("SELECT \(SQLText.list(table.key)) FROM \(SQLText.subquery(sql)) LIMIT 0")
        }
        return table
    }

    // MARK: Whole results

    /// Leaves the whole result as of `lsn` in the temporary table `after`, checked.
    func wholeResult(_ connection: Connection, table: ProjectionTable, asOf lsn: LSN) throws {
        try defineMacros(connection, ranges: nil)
        for input in inputs {
            try makeOverlay(connection, input, .after, through: lsn)
            try show(connection, input, .after)
        }
        try connection.execute("CREATE TEMP TABLE \(after) AS \(selectAll(table)) FROM \(SQLText.subquery(definition.query))")
        try check(connection, table: table)
    }

    // MARK: Changes

    func changes(_ connection: Connection, table: ProjectionTable, from: LSN, to: LSN) throws -> ProjectionChanges {
        for input in inputs {
            try makeOverlay(connection, input, .before, through: from)
            try makeOverlay(connection, input, .after, through: to)
        }
        var isTouched = false
        for input in inputs where try collectChanged(connection, input, after: from) { isTouched = true }
        guard isTouched else { return ProjectionChanges() }

        if let sql = definition.affected {
            guard try collectAffected(connection, table: table, sql: sql) else { return ProjectionChanges() }
            try defineMacros(connection, ranges: try ranges(connection, table: table))
        } else {
            try defineMacros(connection, ranges: nil)
        }
        for (side, result) in [(Side.before, before), (.after, after)] {
            for input in inputs { try show(connection, input, side) }
            try connection.execute("CREATE TEMP TABLE \(result) AS \(try restricted(connection, table: table))")
        }
        try check(connection, table: table)
        return try difference(connection, table: table)
    }

    /// The latest change of each key up to `lsn`, in a temporary table.
    private func makeOverlay(_ connection: Connection, _ input: ProjectionInput, _ side: Side, through lsn: LSN) throws {
        try connection.execute("CREATE TEMP TABLE \(overlay(input, side)) AS \(input.tables.latest(through: lsn))")
    }

    /// Makes the view named like the captured table show its state on `side`.
    private func show(_ connection: Connection, _ input: ProjectionInput, _ side: Side) throws {
        try connection.execute(
            input.tables.stateView(input.capture.table, overlay: "__overlay_\(side)_\(input.capture.table)", columns: input.columns))
    }

    /// Leaves the rows whose key changed after `lsn`, and which differ in a visible column, in one table a side.
    /// Returns whether there are any.
    private func collectChanged(_ connection: Connection, _ input: ProjectionInput, after lsn: LSN) throws -> Bool {
        let key = SQLText.list(input.capture.key)
        let touched = SQLText.identifier("__touched_\(input.capture.table)")
        try connection.execute(
            """
            CREATE TEMP TABLE \(touched) AS
            SELECT \(key) FROM \(overlay(input, .after)) WHERE __lsn > \(lsn.sqlLiteral)
            """)
        for side in [Side.before, .after] {
            try show(connection, input, side)
            try connection.execute(
                """
                CREATE TEMP TABLE \(rows(input, side)) AS
                SELECT * FROM \(SQLText.identifier(input.capture.table)) SEMI JOIN \(touched) USING (\(key))
                """)
        }
        try connection.execute(
            """
            CREATE TEMP TABLE \(changed(input, .before)) AS SELECT * FROM \(rows(input, .before)) EXCEPT SELECT * FROM \(rows(input, .after));
            CREATE TEMP TABLE \(changed(input, .after)) AS SELECT * FROM \(rows(input, .after)) EXCEPT SELECT * FROM \(rows(input, .before));
            """)
        return try connection.scalar(
            "SELECT EXISTS (FROM \(changed(input, .before))) OR EXISTS (FROM \(changed(input, .after)))") == .bool(true)
    }

    /// Leaves the output keys the changes can touch, from both sides. Returns whether there are any.
    private func collectAffected(_ connection: Connection, table: ProjectionTable, sql: String) throws -> Bool {
        let casts = table.keyColumns.map { "CAST(\(SQLText.identifier($0.name)) AS \($0.type)) AS \(SQLText.identifier($0.name))" }
        let definitions = table.keyColumns.map { "\(SQLText.identifier($0.name)) \($0.type)" }
        try defineMacros(connection, ranges: nil)
        try connection.execute("CREATE TEMP TABLE __affected_all (\(definitions.joined(separator: ", ")))")
        for side in [Side.before, .after] {
            for input in inputs {
                try show(connection, input, side)
                try connection.execute(
                    "CREATE OR REPLACE TEMP VIEW \(changedView(input)) AS SELECT * FROM \(changed(input, side))")
            }
            try connection.execute(
                "INSERT INTO __affected_all SELECT \(casts.joined(separator: ", ")) FROM \(SQLText.subquery(sql))")
        }
        try connection.execute("CREATE TEMP TABLE \(affected) AS SELECT DISTINCT * FROM __affected_all")
        return try connection.scalar("SELECT EXISTS (FROM \(affected))") == .bool(true)
    }

    /// The query, for the affected keys only where they are known.
    private func restricted(_ connection: Connection, table: ProjectionTable) throws -> String {
        let query = SQLText.subquery(definition.query)
        guard definition.affected != nil else { return "\(selectAll(table)) FROM \(query)" }
        let inRange = table.key.map { "\(macro($0))(\(SQLText.identifier($0)))" }.joined(separator: " AND ")
        return """
            \(selectAll(table)) FROM (SELECT * FROM \(query) WHERE \(inRange))
            SEMI JOIN \(affected) USING (\(SQLText.list(table.key)))
            """
    }

    private func difference(_ connection: Connection, table: ProjectionTable) throws -> ProjectionChanges {
        let key = SQLText.list(table.key)
        try connection.execute(
            """
            CREATE TEMP TABLE __gone AS SELECT \(key) FROM \(before) ANTI JOIN \(after) USING (\(key));
            CREATE TEMP TABLE __gained AS SELECT * FROM \(after) EXCEPT SELECT * FROM \(before);
            """)
        var changes = ProjectionChanges()
        try connection.stream("__gone", columns: table.keyColumns) {
            changes.deletes.append($0)
            return true
        }
        try connection.stream("__gained", columns: table.columns) {
            changes.upserts.append($0)
            return true
        }
        return changes
    }

    /// Throws when the result has a NULL in its key, or a key twice.
    private func check(_ connection: Connection, table: ProjectionTable) throws {
        let key = SQLText.list(table.key)
        let isNull = table.key.map { "\(SQLText.identifier($0)) IS NULL" }.joined(separator: " OR ")
        let missing = try connection.query("SELECT \(key) FROM \(after) WHERE \(isNull) LIMIT 1").rows().first
        if let missing {
            throw failure("query.sql yields a row with NULL in its key: \(text(table.key, missing))")
        }
        let twice = try connection.query(
            "SELECT \(key), count(*) AS n FROM \(after) GROUP BY \(key) HAVING n > 1 LIMIT 1"
        ).rows().first
        if let twice {
            throw failure(
                "query.sql yields \(twice.last ?? 0) rows for one key: \(text(table.key, twice)); the key in projection.yml must be unique")
        }
    }

    private func text(_ names: [String], _ values: [Value]) -> String {
        zip(names, values).map { "\($0) = \($1)" }.joined(separator: ", ")
    }

    // MARK: Ranges

    /// Where the affected values of each key column lie; a column left out can lie anywhere.
    ///
    /// Values more than a sixteenth of the span apart go to different ranges, so that one corrected row
    /// from last year does not make the scan read everything since: at most 17 ranges.
    private func ranges(_ connection: Connection, table: ProjectionTable) throws -> [String: [(String, String)]] {
        var ranges: [String: [(String, String)]] = [:]
        for column in table.keyColumns {
            let name = SQLText.identifier(column.name)
            let number: String
            switch column.type {
            case .uint8, .int16, .int32, .int64, .decimal: number = "CAST(\(name) AS DOUBLE)"
            case .date, .timestamp: number = "CAST(epoch_us(CAST(\(name) AS TIMESTAMP)) AS DOUBLE)"
            case .timestampTZ, .time: number = "CAST(epoch_us(\(name)) AS DOUBLE)"
            case .string: number = "0"
            case .bool, .float, .double, .binary, .uuid: continue
            }
            let rows = try connection.query(
                """
                WITH
                points AS (SELECT DISTINCT \(name) AS value, \(number) AS at FROM \(affected) WHERE \(name) IS NOT NULL),
                span AS (SELECT max(at) - min(at) AS width FROM points),
                steps AS (SELECT value, at, at - lag(at) OVER (ORDER BY at) > width / 16 AS is_first FROM points, span),
                numbered AS (SELECT value, sum(coalesce(is_first, false)::INT) OVER (ORDER BY at) AS range FROM steps)
                SELECT CAST(min(value) AS VARCHAR), CAST(max(value) AS VARCHAR) FROM numbered GROUP BY range ORDER BY range
                """
            ).rows()
            ranges[column.name] = rows.map { row in
                let bounds = row.map { "CAST(\(SQLText.literal($0.string ?? "")) AS \(column.type))" }
                return (bounds[0], bounds[1])
            }
        }
        return ranges
    }

    /// Defines `affected_<key column>(x)`: true where `x` may be an affected value, always true without ranges.
    private func defineMacros(_ connection: Connection, ranges: [String: [(String, String)]]?) throws {
        for name in definition.key {
            let test =
                ranges?[name].map { ranges in
                    ranges.isEmpty
                        ? "false" : ranges.map { "(x >= \($0.0) AND x <= \($0.1))" }.joined(separator: " OR ")
                } ?? "true"
            try connection.execute("CREATE OR REPLACE TEMP MACRO \(macro(name))(x) AS (\(test))")
        }
    }

    // MARK: Names

    private func overlay(_ input: ProjectionInput, _ side: Side) -> String {
        SQLText.identifier("__overlay_\(side)_\(input.capture.table)")
    }
    private func rows(_ input: ProjectionInput, _ side: Side) -> String {
        SQLText.identifier("__rows_\(side)_\(input.capture.table)")
    }
    private func changed(_ input: ProjectionInput, _ side: Side) -> String {
        SQLText.identifier("__changed_\(side)_\(input.capture.table)")
    }
    private func changedView(_ input: ProjectionInput) -> String {
        SQLText.identifier("changed_\(input.capture.table)")
    }
    private func macro(_ key: String) -> String { SQLText.identifier("affected_\(key)") }

    private func selectAll(_ table: ProjectionTable) -> String {
        "SELECT \(SQLText.list(table.columns.map(\.name)))"
    }

    private func failure(_ reason: String) -> TidemarkError {
        .projection(name: definition.name, reason: reason)
    }
}

extension ProjectionInput {
    var tables: ReplicaTables { ReplicaTables(capture) }
}
