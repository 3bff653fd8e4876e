import GRDB
import Tidemark

extension EmbeddedSource {
    /// Enables change data capture; safe to repeat.
    ///
    /// Rows a table already holds are captured as inserts in the same transaction, so a capture is complete from
    /// its start. A position is closed behind them: a table without rows has an LSN at which it is empty, and a
    /// projection of it can be built.
    ///
    /// - Parameter tables: the tables to capture; by default every table that has a primary key.
    /// - Returns: the capture instances that are new.
    /// - Throws: `TidemarkError.schema` naming the table and the column when a table cannot be captured.
    @discardableResult
    public func enableCDC(tables: [String]? = nil) async throws -> [String] {
        let now = now
        return try await file.write { db in
            try Self.install(db)
            var enabled: [String] = []
            for table in try tables.map({ try Self.names($0, db) }) ?? Self.capturableTables(db) {
                let instance = CDCTables.instance(of: table)
                let exists = try Bool.fetchOne(
                    db, sql: "SELECT EXISTS (SELECT 1 FROM cdc_change_tables WHERE capture_instance = ?)",
                    arguments: [instance])!
                if exists {
                    _ = try Self.capture(db, instance: instance, table: table)
                } else {
                    try Self.enable(table, db, at: now())
                    enabled.append(instance)
                }
            }
            if !enabled.isEmpty {
                let clock = try Int64.fetchOne(db, sql: "SELECT value FROM cdc_clock WHERE id = 1")!
                try Self.closePosition(clock, db, at: now())
            }
            return enabled
        }
    }

    /// Sets how long changes are kept; SQL Server's default of three days applies until then.
    public func setRetention(minutes: Int) async throws {
        try await file.write { db in
            try db.execute(
                sql: "UPDATE cdc_jobs SET retention = ? WHERE job_type = 'cleanup'", arguments: [minutes])
        }
    }

    /// The tables' names as the schema spells them.
    private static func names(_ tables: [String], _ db: Database) throws -> [String] {
        try tables.map { table in
            let name = try String.fetchOne(
                db,
                sql: """
                    SELECT name FROM pragma_table_list
                    WHERE schema = 'main' AND type = 'table' AND name = ? COLLATE NOCASE
                    """,
                arguments: [table])
            guard let name else {
                throw TidemarkError.schema("there is no table \(table) to capture in the source database")
            }
            return name
        }
    }

    /// Whether there are tables other than those of SQLite and of change data capture.
    public func hasTables() async throws -> Bool {
        try await file.read { try Bool.fetchOne($0, sql: "SELECT EXISTS (SELECT 1 \(Self.ownTables))")! }
    }

    /// The tables of the source's owner.
    private static let ownTables = """
        FROM pragma_table_list AS tables
        WHERE schema = 'main' AND type = 'table'
            AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'cdc\\_%' ESCAPE '\\'
        """

    private static func capturableTables(_ db: Database) throws -> [String] {
        try String.fetchAll(
            db,
            sql: """
                SELECT name \(ownTables)
                    AND EXISTS (SELECT 1 FROM pragma_table_xinfo(tables.name) WHERE pk > 0)
                ORDER BY name
                """)
    }

    private static func enable(_ table: String, _ db: Database, at time: Timestamp) throws {
        let triggers = try describe(table, db)
        let instance = triggers.instance
        try db.execute(sql: triggers.install)
        try db.execute(
            sql: """
                INSERT INTO cdc_change_tables (capture_instance, source_table, start_lsn, is_complete, create_date)
                SELECT ?, ?, value, 1, ? FROM cdc_clock WHERE id = 1
                """,
            arguments: [instance, table, time.description])
        for (ordinal, column) in triggers.columns.enumerated() {
            try db.execute(
                sql: """
                    INSERT INTO cdc_captured_columns
                        (capture_instance, column_ordinal, column_name, column_type, is_nullable, key_ordinal)
                    VALUES (?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    instance, ordinal + 1, column.name, column.declaration, column.isNullable,
                    triggers.key.firstIndex(of: column.name).map { $0 + 1 },
                ])
        }
    }

    /// What the schema says about a table, with everything checked that capturing relies on.
    private static func describe(_ table: String, _ db: Database) throws -> CaptureTriggers {
        var columns: [CaptureTriggers.SourceColumn] = []
        var key: [(Int, String)] = []
        // Hidden is 2 or 3 for generated columns, which are captured, and 1 for those of virtual tables.
        let sql = "SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_xinfo(?) WHERE hidden <> 1"
        for row in try Row.fetchAll(db, sql: sql, arguments: [table]) {
            let (name, declared): (String, String) = (row[0], row[1])
            // SQLite reports a generated column's type with these words.
            let declaration = declared.replacing(#/(?i)\s*generated always$/#, with: "")
            guard !name.hasPrefix("__$") else {
                throw TidemarkError.schema(
                    "column \(table).\(name) has a name kept for change tables; rename it")
            }
            _ = try type(ofColumn: name, declared: declaration, table: table)
            let ordinal: Int = row[4]
            if ordinal > 0 { key.append((ordinal, name)) }
            columns.append(
                .init(
                    name: name, declaration: declaration, isNullable: row[2] == 0 && ordinal == 0,
                    defaultValue: row[3]))
        }
        guard !key.isEmpty else {
            throw TidemarkError.schema(
                "table \(table) has no primary key, by which changes are told apart; give it one")
        }
        return CaptureTriggers(
            table: table, columns: columns, key: key.sorted { $0.0 < $1.0 }.map(\.1),
            displacing: try displacingIndexes(table, db))
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
                    out of capture
                    """)
            }
            if index[1] == "pk", columns.allSatisfy({ $0[1] == "BINARY" }) { return nil }
            return CaptureTriggers.UniqueIndex(columns: columns.map { ($0[0], $0[1]) })
        }
    }
}
