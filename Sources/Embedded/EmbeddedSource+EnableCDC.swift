import GRDB
public import Tidemark

extension EmbeddedSource {
    /// What came of enabling change data capture.
    public struct Enabled: Sendable, Equatable {
        /// The capture instances that are new.
        public var captures: [String] = []
        /// Those that cannot be, or that no longer can be.
        public var refused: [RefusedCapture] = []
    }

    /// Enables change data capture; safe to repeat. Captures that have lost their triggers get them again.
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
        let path = file.label.place
        return try await file.write { db in
            let enabled = try Self.enable(
                try tables.map { try Self.names($0, db) } ?? Self.capturableTables(db), db, path: path, at: now())
            if let refused = enabled.refused.first { throw refused.reason }
            return enabled.captures
        }
    }

    /// Enables change data capture on every table that has a primary key and that the filter lets in; those that cannot
    /// be captured are left out.
    public func enableWherePossible() async throws -> Enabled {
        let (now, filter, path) = (now, filter, file.label.place)
        return try await file.write { db in
            try Self.enable(try Self.capturableTables(db).filter(filter.includes), db, path: path, at: now())
        }
    }

    private static func enable(
        _ tables: [String], _ db: Database, path: String, at time: Timestamp
    ) throws -> Enabled {
        try install(db)
        let known = try String.fetchSet(db, sql: "SELECT capture_instance FROM cdc_change_tables")
        var result = Enabled()
        for table in tables where !known.contains(CDCTables.instance(of: table)) {
            let instance = CDCTables.instance(of: table)
            do {
                try db.inSavepoint {
                    try enable(table, as: instance, db, at: time)
                    return .commit
                }
                result.captures.append(instance)
            } catch let error as TidemarkError {
                result.refused.append(RefusedCapture(instance: instance, reason: error))
            } catch let error as DatabaseError where error.resultCode == .SQLITE_ERROR {
                result.refused.append(
                    RefusedCapture(
                        instance: instance,
                        reason: .schema("table \(table) cannot be captured: \(error.message ?? "no message")")))
            }
        }
        let standing = try look(db, known: nil, path: path)
        if standing.needsMending || !result.captures.isEmpty { try close(standing, db, at: time) }
        for table in tables {
            let instance = CDCTables.instance(of: table)
            if case .faulty(let reason, _) = standing.conditions.conditions[instance] {
                result.refused.append(RefusedCapture(instance: instance, reason: reason))
            }
        }
        return result
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
    static let ownTables = """
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

    private static func enable(
        _ table: String, as instance: String, _ db: Database, at time: Timestamp
    ) throws {
        let triggers = try describe(table, as: instance, db)
        try Capture.requireOwnNames(of: triggers.columns.map(\.name), table: table)
        try db.execute(sql: triggers.createChangeTable)
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
}
