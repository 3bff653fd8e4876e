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
        let hadJob = database.isBabelfish || keepsJob ? true : try await count("1 = 1") > 0
        var options = captured.map { ", @captured_column_list = \(literal(quotedList($0)))" } ?? ""
        if database.isBabelfish { options += ", @key_list = \(literal(quotedList(key)))" }
        try await run(
            """
            EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = \(literal(table)),
                @capture_instance = \(literal(instance ?? "dbo_\(table)")), @supports_net_changes = 0,
                @role_name = \(role.map { literal($0) } ?? "NULL")\(options)
            """)
        // Tests run the scan themselves, which the job would not allow. It stays, as a source without one is in trouble.
        if !hadJob { try await stopJob() }
    }

    /// Agent starts a job that was just made in its own time, and refuses to stop one that does not run.
    private func stopJob() async throws {
        var quietLooks = 0
        for _ in 0..<300 where quietLooks < 20 {
            if try await count(Self.isRunning) > 0 {
                quietLooks = 0
                _ = try? await run("EXEC sys.sp_cdc_stop_job @job_type = N'capture'")
            } else {
                quietLooks += 1
            }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    private static let isRunning = """
        EXISTS (SELECT 1 FROM msdb.dbo.sysjobactivity AS a WHERE a.job_id = j.job_id
            AND a.session_id = (SELECT MAX(session_id) FROM msdb.dbo.syssessions)
            AND a.start_execution_date IS NOT NULL AND a.stop_execution_date IS NULL)
        """

    /// Capture jobs of the database of which `condition` holds.
    private func count(_ condition: String) async throws -> Int64 {
        // The table is made with the first job of the server.
        let sql = """
            IF OBJECT_ID(N'msdb.dbo.cdc_jobs') IS NULL SELECT CAST(0 AS bigint) AS jobs
            ELSE SELECT COUNT_BIG(*) AS jobs FROM msdb.dbo.cdc_jobs AS j
            WHERE j.database_id = DB_ID() AND j.job_type = N'capture' AND \(condition)
            """
        return try await connection.run { try $0.scalar(sql).int64 ?? 0 }
    }

    /// Lets the changes committed so far come into the change tables.
    func harvest() async throws {
        guard !database.isBabelfish else { return }
        for attempt in 1... {
            do {
                return try await run("EXEC sys.sp_cdc_scan")
            } catch {
                // One scan at a time (error 22903), and one reader of the log (18752).
                let isBusy = ["22903", "18752"].contains { "\(error)".contains($0) }
                guard isBusy, attempt < 100 else { throw error }
                try await Task.sleep(for: .milliseconds(100))
            }
        }
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
