import GRDB
import Tidemark

/// The tables of the serving database, and the SQL that writes them.
enum ServingTables {
    /// Control tables; safe to repeat.
    static let bootstrap = """
        CREATE TABLE IF NOT EXISTS ctl_serving (
            id         INTEGER PRIMARY KEY CHECK (id = 1),
            serving_id TEXT NOT NULL
        );
        CREATE TABLE IF NOT EXISTS ctl_sources (
            source_name      TEXT NOT NULL PRIMARY KEY,
            identity         TEXT NOT NULL,
            epoch            INT NOT NULL,
            mismatch         TEXT,
            resync_requested BOOLEAN NOT NULL,
            last_seen_at     DATETIME NOT NULL
        );
        CREATE TABLE IF NOT EXISTS ctl_ingestion_watermarks (
            source_name       TEXT NOT NULL,
            capture_instance  TEXT NOT NULL,
            last_ingested_lsn BINARY(10) NOT NULL,
            complete_from_lsn BINARY(10),
            staging_token     TEXT,
            last_commit_time  DATETIME,
            rows_ingested     BIGINT NOT NULL,
            status            TEXT NOT NULL,
            last_error        TEXT,
            resync_requested  BOOLEAN NOT NULL DEFAULT 0,
            updated_at        DATETIME NOT NULL,
            PRIMARY KEY (source_name, capture_instance)
        );
        CREATE TABLE IF NOT EXISTS ctl_projection_checkpoints (
            projection_name   TEXT NOT NULL,
            capture_instance  TEXT NOT NULL,
            last_consumed_lsn BINARY(10) NOT NULL,
            updated_at        DATETIME NOT NULL,
            PRIMARY KEY (projection_name, capture_instance)
        );
        CREATE TABLE IF NOT EXISTS ctl_projection_metadata (
            projection_name TEXT NOT NULL PRIMARY KEY,
            status          TEXT NOT NULL,
            as_of_lsn       BINARY(10),
            as_of_time      DATETIME,
            built_at        DATETIME,
            definition_hash TEXT NOT NULL,
            rows_written    BIGINT NOT NULL,
            last_error      TEXT
        );
        """

    /// Columns that a table made by an earlier version may lack: table, name, declaration.
    ///
    /// Whether something is staged beyond a watermark was not noted then, so the token says that it may be.
    static let laterColumns = [
        ("ctl_ingestion_watermarks", "resync_requested", "BOOLEAN NOT NULL DEFAULT 0"),
        ("ctl_ingestion_watermarks", "staging_token", "TEXT DEFAULT 'unknown'"),
    ]

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
