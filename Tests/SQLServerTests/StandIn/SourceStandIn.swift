import Foundation
import ODBC
import Testing

@testable import SQLServer

/// Change data capture for a database of a test server: SQL Server's own, or on Babelfish a stand-in of triggers.
///
/// The stand-in gives each transaction one LSN in the order of commits, and writes what SQL Server's capture job would.
struct SourceStandIn: Sendable {
    let database: TestDatabase
    let connection: SQLServerDatabase

    /// Enables capture on the database.
    func enable() async throws {
        guard database.isBabelfish else {
            return try await run("EXEC sys.sp_cdc_enable_db")
        }
        try Self.prepareServer()
        try await script(try Self.text("SourceStandInDatabase.sql"))
        try await run("SELECT sys.tidemark_cdc_begin()")
    }

    /// Enables capture on a table of schema dbo.
    ///
    /// - Parameters:
    ///   - columns: the captured columns; all by default.
    ///   - key: the primary key's columns; none stand for a table without.
    func enable(
        _ table: String, key: [String], columns captured: [String]? = nil, instance: String? = nil, role: String? = nil
    ) async throws {
        let instance = instance ?? "dbo_\(table)"
        guard database.isBabelfish else {
            let list = captured.map { ", @captured_column_list = \(literal(quotedList($0)))" } ?? ""
            let role = role.map { literal($0) } ?? "NULL"
            try await run(
                """
                EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = \(literal(table)),
                    @capture_instance = \(literal(instance)), @role_name = \(role), @supports_net_changes = 0\(list)
                """)
            // Tests run the scan themselves, which the job would not allow.
            return try await run(
                "IF EXISTS (SELECT 1 FROM msdb.dbo.cdc_jobs WHERE database_id = DB_ID() AND job_type = N'capture') "
                    + "EXEC sys.sp_cdc_drop_job @job_type = N'capture'")
        }
        let columns = try await sourceColumns(table).filter { captured?.contains($0.name) ?? true }
        for statement in Self.enabling(table, instance: instance, role: role, columns: columns, key: key) {
            try await run(statement)
        }
    }

    /// Lets the changes committed so far come into the change tables.
    func harvest() async throws {
        guard !database.isBabelfish else { return }
        try await run("EXEC sys.sp_cdc_scan")
    }

    // MARK: Statements

    private struct SourceColumn: Sendable {
        let name: String
        let type: String
        let isComputed: Bool

        /// Whether the change table may hold a value: SQL Server records computed columns as NULL.
        var expression: String { isComputed ? "NULL" : quoted(name) }
    }

    private func sourceColumns(_ table: String) async throws -> [SourceColumn] {
        try await connection.run { connection in
            try connection.query(
                """
                SELECT c.name, COALESCE(bt.name, ut.name), CAST(c.max_length AS int), CAST(c.precision AS int),
                    CAST(c.scale AS int), CAST(c.is_computed AS int)
                FROM sys.columns AS c LEFT JOIN sys.types AS bt ON bt.user_type_id = c.system_type_id
                    LEFT JOIN sys.types AS ut ON ut.user_type_id = c.user_type_id
                WHERE c.object_id = OBJECT_ID(\(literal("dbo.\(quoted(table))"))) ORDER BY c.column_id
                """
            ).rows().map { row in
                let type = SQLServerType(
                    name: row[1].string ?? "", maxLength: Int(row[2].int64 ?? 0), precision: Int(row[3].int64 ?? 0),
                    scale: Int(row[4].int64 ?? 0))
                return SourceColumn(
                    name: row[0].string ?? "", type: Self.declaration(type), isComputed: row[5].int64 == 1)
            }
        }
    }

    /// What a change table declares for a column; of binary(n), one byte would arrive out of a function.
    private static func declaration(_ type: SQLServerType) -> String {
        switch type.name {
        case "timestamp", "rowversion": "varbinary(8)"
        case "binary": "varbinary(\(type.maxLength))"
        default: "\(type)"
        }
    }

    private static func enabling(
        _ table: String, instance: String, role: String?, columns: [SourceColumn], key: [String]
    ) -> [String] {
        let change = "cdc.\(quoted("\(instance)_CT"))"
        let names = quotedList(columns.map(\.name))
        let same = key.map { "i.\(quoted($0)) = d.\(quoted($0))" }.joined(separator: " AND ")
        let metadata = "[__$start_lsn], [__$seqval], [__$operation], [__$update_mask], [__$command_id]"
        func rows(_ operation: Int, from table: String, _ alias: String, where condition: String) -> String {
            let values = columns.map { $0.isComputed ? "NULL" : "\(alias).\(quoted($0.name))" }
            return """
                INSERT INTO \(change) (\(metadata), \(names))
                SELECT @lsn, sys.tidemark_cdc_seqval(), \(operation), 0x01, @command, \(values.joined(separator: ", "))
                FROM \(table) AS \(alias) WHERE \(condition);
                """
        }
        let isKept = "EXISTS (SELECT 1 FROM inserted AS i WHERE \(same))"
        let isNew = "NOT EXISTS (SELECT 1 FROM deleted AS d WHERE \(same))"
        let changeRows =
            key.isEmpty
            ? rows(1, from: "deleted", "d", where: "1 = 1") + rows(2, from: "inserted", "i", where: "1 = 1")
            : [
                rows(1, from: "deleted", "d", where: "NOT \(isKept)"), rows(2, from: "inserted", "i", where: isNew),
                rows(3, from: "deleted", "d", where: isKept),
                rows(4, from: "inserted", "i", where: "EXISTS (SELECT 1 FROM deleted AS d WHERE \(same))"),
            ].joined(separator: "\n")
        var statements = [
            """
            CREATE TABLE \(change) (
                [__$start_lsn] varbinary(10) NOT NULL, [__$end_lsn] varbinary(10) NULL,
                [__$seqval] varbinary(10) NOT NULL, [__$operation] int NOT NULL, [__$update_mask] varbinary(128) NULL,
                \(columns.map { "\(quoted($0.name)) \($0.type) NULL" }.joined(separator: ", ")),
                [__$command_id] int NULL)
            """,
            "CREATE CLUSTERED INDEX \(quoted("\(instance)_CT_clustered_idx")) ON \(change) "
                + "([__$start_lsn], [__$command_id], [__$seqval], [__$operation])",
            """
            INSERT INTO cdc.change_tables (
                object_id, version, source_object_id, capture_instance, start_lsn, supports_net_changes, role_name,
                index_name, create_date)
            SELECT OBJECT_ID(\(literal(change))), 0, OBJECT_ID(\(literal("dbo.\(quoted(table))"))), \(literal(instance)),
                sys.tidemark_cdc_next(), 0,
                \(role.map { literal($0) } ?? "NULL"), N'PK', GETDATE()
            """,
            """
            CREATE FUNCTION cdc.\(quoted("fn_cdc_get_all_changes_\(instance)")) (
                @from_lsn varbinary(10), @to_lsn varbinary(10), @row_filter_option nvarchar(30))
            RETURNS TABLE AS RETURN
                SELECT [__$start_lsn], [__$seqval], [__$operation], [__$update_mask], \(names)
                FROM \(change)
                WHERE sys.tidemark_cdc_check(\(literal(instance)), @from_lsn, @to_lsn) = 1
                    AND [__$start_lsn] >= @from_lsn AND [__$start_lsn] <= @to_lsn
                    AND ([__$operation] <> 3 OR @row_filter_option = N'all update old')
            """,
            """
            CREATE TRIGGER dbo.\(quoted("cdc_\(instance)")) ON dbo.\(quoted(table)) AFTER INSERT, UPDATE, DELETE AS
            BEGIN
                SET NOCOUNT ON;
                DECLARE @lsn varbinary(10), @command int;
                IF EXISTS (SELECT 1 FROM inserted) OR EXISTS (SELECT 1 FROM deleted)
                BEGIN
                    SET @lsn = sys.tidemark_cdc_begin();
                    SET @command = sys.tidemark_cdc_command();
                    \(changeRows)
                END
            END
            """,
        ]
        for (ordinal, column) in columns.enumerated() {
            statements.append(
                """
                INSERT INTO cdc.captured_columns
                VALUES (OBJECT_ID(\(literal(change))), \(literal(column.name)), \(ordinal + 1), N'', \(ordinal + 1),
                    \(column.isComputed ? 1 : 0))
                """)
        }
        for (ordinal, name) in key.enumerated() {
            statements.append(
                "INSERT INTO cdc.index_columns VALUES (OBJECT_ID(\(literal(change))), \(literal(name)), \(ordinal + 1), 1)"
            )
        }
        return statements
    }

    private func run(_ sql: String) async throws {
        try await connection.run { connection in _ = try connection.execute(sql) }
    }

    /// Runs a script whose batches end with GO.
    private func script(_ text: String) async throws {
        for batch in text.components(separatedBy: "\nGO\n") where !batch.allSatisfy(\.isWhitespace) {
            try await run(batch)
        }
    }

    // MARK: Server

    /// Once a process: creates the functions of schema sys, which only Babelfish's PostgreSQL port takes.
    private static func prepareServer() throws { try preparation.get() }

    private static let preparation = Result {
        let variable = "TIDEMARK_TEST_BABELFISH_PG"
        let target = try #require(
            ProcessInfo.processInfo.environment[variable],
            "\(variable) has to say how psql reaches Babelfish's PostgreSQL port, e.g. host=… port=… user=… dbname=babelfish_db"
        )
        let psql = Process()
        psql.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        psql.arguments = [
            "psql", target, "-q", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1", "-f", path("SourceStandInServer.sql"),
        ]
        let output = Pipe()
        psql.standardError = output
        try psql.run()
        let messages = output.fileHandleForReading.readDataToEndOfFile()
        psql.waitUntilExit()
        try #require(psql.terminationStatus == 0, "psql: \(String(decoding: messages, as: UTF8.self))")
    }

    private static func path(_ name: String) -> String {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(name).path
    }

    private static func text(_ name: String) throws -> String {
        try String(contentsOfFile: path(name), encoding: .utf8)
    }
}
