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
        if database.isBabelfish { try Self.prepareServer() }
        try await run("EXEC sys.sp_cdc_enable_db")
    }

    /// Enables capture on a table of schema dbo.
    ///
    /// - Parameters:
    ///   - columns: the captured columns; all by default.
    ///   - key: the primary key's columns, which SQL Server finds itself; none stand for a table without.
    ///   - keepsJob: whether the capture job stays, so that `harvest` cannot do its work.
    func enable(
        _ table: String, key: [String], columns captured: [String]? = nil, instance: String? = nil, role: String? = nil,
        keepsJob: Bool = false
    ) async throws {
        var options = captured.map { ", @captured_column_list = \(literal(quotedList($0)))" } ?? ""
        if database.isBabelfish { options += ", @key_list = \(literal(quotedList(key)))" }
        try await run(
            """
            EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = \(literal(table)),
                @capture_instance = \(literal(instance ?? "dbo_\(table)")), @supports_net_changes = 0,
                @role_name = \(role.map { literal($0) } ?? "NULL")\(options)
            """)
        guard !database.isBabelfish, !keepsJob else { return }
        // Tests run the scan themselves, which the job would not allow.
        try await run(
            "IF EXISTS (SELECT 1 FROM msdb.dbo.cdc_jobs WHERE database_id = DB_ID() AND job_type = N'capture') "
                + "EXEC sys.sp_cdc_drop_job @job_type = N'capture'")
    }

    /// Lets the changes committed so far come into the change tables.
    func harvest() async throws {
        guard !database.isBabelfish else { return }
        try await run("EXEC sys.sp_cdc_scan")
    }

    private func run(_ sql: String) async throws {
        try await connection.run { connection in _ = try connection.execute(sql) }
    }

    // MARK: Server

    /// Once a process: creates the functions and procedures of schema sys, which only Babelfish's PostgreSQL port takes.
    static func prepareServer() throws { try preparation.get() }

    private static let preparation = Result {
        try BabelfishPort.run(["-f", path("SourceStandInServer.sql"), "-f", path("SourceStandInProcedures.sql")])
    }

    private static func path(_ name: String) -> String {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(name).path
    }
}
