import GRDB
import Tidemark

/// The staging and projection tables of the serving database, and the SQL that writes them.
enum ServingTables {
    /// A column of a table, as declared.
    struct Declaration: Equatable {
        let name: String
        let type: String
        /// Position in the primary key, from 1; 0 outside it.
        let keyOrdinal: Int
        let isRequired: Bool
    }

    /// The staging table's own columns around the captured ones.
    private static let stagingHead = [
        Declaration(name: "lsn", type: "BINARY(10)", keyOrdinal: 1, isRequired: true),
        Declaration(name: "command_id", type: "INT", keyOrdinal: 2, isRequired: true),
        Declaration(name: "seqval", type: "BINARY(10)", keyOrdinal: 3, isRequired: true),
        Declaration(name: "op", type: "TINYINT", keyOrdinal: 4, isRequired: true),
    ]
    private static let ingestedAt = Declaration(
        name: "ingested_at", type: "DATETIME", keyOrdinal: 0, isRequired: true)

    /// - Throws: `TidemarkError.schema` when a captured column has the name of one of the table's own.
    static func stagingColumns(_ capture: Capture) throws -> [Declaration] {
        try Capture.requireOwnNames(of: capture.columns.map(\.name), table: capture.table)
        let captured = capture.columns.map {
            Declaration(
                name: $0.name, type: SQLiteType.declaration(of: $0.type), keyOrdinal: 0, isRequired: false)
        }
        return stagingHead + captured + [ingestedAt]
    }

    static func projectionColumns(_ table: ProjectionTable) -> [Declaration] {
        table.columns.map { column in
            let ordinal = (table.key.firstIndex(of: column.name) ?? -1) + 1
            return Declaration(
                name: column.name, type: SQLiteType.declaration(of: column.type), keyOrdinal: ordinal,
                isRequired: ordinal > 0)
        }
    }

    /// `CREATE TABLE` with the rows lying in the order of the primary key, with no second B-tree.
    static func create(_ table: String, _ columns: [Declaration]) -> String {
        let key = columns.filter { $0.keyOrdinal > 0 }.sorted { $0.keyOrdinal < $1.keyOrdinal }.map(\.name)
        let lines =
            columns.map { "    \(quoted($0.name)) \($0.type)\($0.isRequired ? " NOT NULL" : "")" }
            + ["    PRIMARY KEY (\(quotedList(key)))"]
        return "CREATE TABLE \(quoted(table)) (\n\(lines.joined(separator: ",\n"))\n) WITHOUT ROWID"
    }

    /// Whether there is such a table. Asked of the file: what GRDB knows of it may be from before a migration.
    static func exists(_ table: String, _ db: Database) throws -> Bool {
        try Bool.fetchOne(
            db, sql: "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?", arguments: [table])
            ?? false
    }

    /// The columns a table has; none when there is no such table.
    static func columns(of table: String, _ db: Database) throws -> [Declaration] {
        try Row.fetchAll(
            db, sql: "SELECT name, type, pk, \"notnull\" FROM pragma_table_info(?) ORDER BY cid", arguments: [table]
        ).map { Declaration(name: $0[0], type: $0[1], keyOrdinal: $0[2], isRequired: $0[3]) }
    }

    /// Inserts `rows` changes. Parameter 1 is `ingested_at`; then come, row by row, the LSN, the command id, the
    /// seqval, the operation and the captured columns.
    static func insertStaged(_ capture: Capture, rows: Int) -> String {
        let columns = ["lsn", "command_id", "seqval", "op"] + capture.columns.map(\.name)
        let values = (0..<rows).map { row in
            let parameters = columns.indices.map { "?\(2 + row * columns.count + $0)" }
            return "(\(parameters.joined(separator: ", ")), ?1)"
        }
        return """
            INSERT INTO \(quoted(capture.stagingTable)) (\(quotedList(columns)), ingested_at)
            VALUES \(values.joined(separator: ", "))
            """
    }

    static func selectStaged(_ capture: Capture) -> String {
        """
        SELECT lsn, command_id, seqval, op, \(quotedList(capture.columns.map(\.name)))
        FROM \(quoted(capture.stagingTable)) WHERE (lsn, command_id, seqval, op) > (?1, ?2, ?3, ?4) AND lsn <= ?5
        ORDER BY lsn, command_id, seqval, op
        """
    }

    /// Deletes the first so many changes after an LSN.
    static func deleteStaged(_ capture: Capture, rows: Int) -> String {
        let table = quoted(capture.stagingTable)
        return """
            DELETE FROM \(table) WHERE (lsn, command_id, seqval, op) IN (
                SELECT lsn, command_id, seqval, op FROM \(table) WHERE lsn > ?
                ORDER BY lsn, command_id, seqval, op LIMIT \(rows))
            """
    }

    static func insert(_ table: String, _ columns: [String]) -> String {
        let parameters = columns.indices.map { "?\($0 + 1)" }.joined(separator: ", ")
        return "INSERT INTO \(quoted(table)) (\(quotedList(columns))) VALUES (\(parameters))"
    }

    /// Inserts a row, or updates the one that has its key when it differs.
    static func upsert(_ table: ProjectionTable) -> String {
        let others = table.columns.map { quoted($0.name) }.filter { !table.key.map(quoted).contains($0) }
        let target = quoted(table.name)
        let sets = others.map { "\($0) = excluded.\($0)" }.joined(separator: ", ")
        let differs = others.map { "\(target).\($0) IS NOT excluded.\($0)" }.joined(separator: " OR ")
        return """
            \(insert(table.name, table.columns.map(\.name)))
            ON CONFLICT (\(quotedList(table.key))) DO \(others.isEmpty ? "NOTHING" : "UPDATE SET \(sets) WHERE \(differs)")
            """
    }

    static func delete(_ table: ProjectionTable) -> String {
        let terms = table.key.enumerated().map { "\(quoted($1)) = ?\($0 + 1)" }
        return "DELETE FROM \(quoted(table.name)) WHERE \(terms.joined(separator: " AND "))"
    }
}
