import GRDB
import Tidemark

extension EmbeddedSource {
    /// What the schema says about a table, with everything checked that capturing relies on.
    ///
    /// - Parameter captured: the columns to capture, those of them that are there; by default all.
    /// - Throws: `TidemarkError.schema` when the table cannot be captured.
    static func describe(
        _ table: String, as instance: String, _ db: Database, capturing captured: [String]? = nil
    ) throws -> CaptureTriggers {
        var columns: [CaptureTriggers.SourceColumn] = []
        var key: [(Int, String)] = []
        // Hidden is 2 or 3 for generated columns, which are captured, and 1 for those of virtual tables.
        let sql = "SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_xinfo(?) WHERE hidden <> 1"
        for row in try Row.fetchAll(db, sql: sql, arguments: [table]) {
            let (name, declared): (String, String) = (row[0], row[1])
            // SQLite reports a generated column's type with these words.
            let declaration = declared.replacing(#/(?i)\s*generated always$/#, with: "")
            let ordinal: Int = row[4]
            if ordinal > 0 { key.append((ordinal, name)) }
            columns.append(
                .init(
                    name: name, declaration: declaration, isNullable: row[2] == 0 && ordinal == 0,
                    defaultValue: row[3]))
        }
        let chosen = captured.map { names in names.compactMap { name in columns.first { $0.name == name } } } ?? columns
        for column in chosen {
            guard !column.name.hasPrefix("__$") else {
                throw TidemarkError.schema(
                    "column \(table).\(column.name) has a name kept for change tables; rename it")
            }
            _ = try type(ofColumn: column.name, declared: column.declaration, table: table)
        }
        guard !key.isEmpty else {
            throw TidemarkError.schema(
                "table \(table) has no primary key, by which changes are told apart; give it one")
        }
        let displacing = try displacingIndexes(table, db)
        let indexed = Set(displacing.flatMap { $0.columns.map(\.name) }).subtracting(chosen.map(\.name))
        return CaptureTriggers(
            instance: instance, table: table, columns: chosen,
            uncaptured: columns.filter { indexed.contains($0.name) }, key: key.sorted { $0.0 < $1.0 }.map(\.1),
            displacing: displacing, cascades: try cascades(from: table, db))
    }

    /// Whether a foreign key has an action for when a row of the table is deleted.
    private static func cascades(from table: String, _ db: Database) throws -> Bool {
        try Bool.fetchOne(
            db,
            sql: """
                SELECT EXISTS (
                    SELECT 1 FROM pragma_table_list AS child, pragma_foreign_key_list(child.name) AS reference
                    WHERE child.schema = 'main' AND child.type = 'table' AND reference."table" = ? COLLATE NOCASE
                        AND reference.on_delete NOT IN ('NO ACTION', 'RESTRICT'))
                """,
            arguments: [table])!
    }

    /// The unique indexes through which `REPLACE` may displace a row of another key: all but the primary key,
    /// and that one too when its collation takes different keys for the same.
    private static func displacingIndexes(_ table: String, _ db: Database) throws -> [CaptureTriggers.UniqueIndex] {
        let indexes = try Row.fetchAll(
            db, sql: "SELECT name, origin, partial FROM pragma_index_list(?) WHERE \"unique\"", arguments: [table])
        return try indexes.compactMap { index in
            let name: String = index[0]
            let columns = try Row.fetchAll(
                db, sql: "SELECT name, coll FROM pragma_index_xinfo(?) WHERE key", arguments: [name])
            guard index[2] == 0, columns.allSatisfy({ $0[0] != nil }) else {
                throw TidemarkError.schema(
                    """
                    table \(table) has the unique index \(name) on an expression or on a part of its rows: what \
                    REPLACE displaces through it cannot be captured exactly. Make it a plain index, or leave the table \
                    out with CDC_EXCLUDE=\(table)
                    """)
            }
            if index[1] == "pk", columns.allSatisfy({ $0[1] == "BINARY" }) { return nil }
            return CaptureTriggers.UniqueIndex(columns: columns.map { ($0[0], $0[1]) })
        }
    }
}
