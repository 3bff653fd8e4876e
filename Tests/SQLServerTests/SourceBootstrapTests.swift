import Foundation
import ODBC
import TestSupport
import Testing
import Tidemark

@testable import SQLServer

/// What `tidemark bootstrap` does on a source, empty or with tables of its own.
///
/// On Babelfish change data capture and its jobs are those of the stand-in.
@Suite(
    "bootstrap of a source on SQL Server", .serialized,
    .enabled(if: TestServer.source != nil, TestServer.sourceIsMissing),
    .enabled(if: TestServer.serving != nil, TestServer.servingIsMissing))
struct SourceBootstrapTests {
    private static let isBabelfish: @Sendable () async throws -> Bool = {
        try await TestServer.source?.isBabelfish() ?? false
    }
    private static let isSQLServer: @Sendable () async throws -> Bool = { !(try await isBabelfish()) }

    /// What bootstrap said of the source.
    private static func said(_ outcome: Workplace.Outcome) -> [String] {
        outcome.lines.filter { $0.hasPrefix("source: ") }.map { String($0.dropFirst("source: ".count)) }
            // SQL Server itself: Job 'cdc.…_capture' started successfully.
            .filter { !$0.hasPrefix("Job '") }
    }

    private static let activity = """
        SELECT COUNT(*), COUNT(stop_execution_date) FROM msdb.dbo.sysjobactivity
        WHERE start_execution_date IS NOT NULL AND job_id IN (
            SELECT job_id FROM msdb.dbo.cdc_jobs WHERE database_id = DB_ID() AND job_type = N'capture')
            AND session_id = (SELECT MAX(session_id) FROM msdb.dbo.sysjobactivity)
        """

    /// The capture job's interval.
    private static func interval(_ source: Deployment) async throws -> Value? {
        try await source.rows("EXEC sys.sp_cdc_help_jobs").first { $0[1] == "capture" }?[6]
    }

    // MARK: An empty source

    @Test(
        "makes the sample shop, captured, and logins with which the pipeline runs; nothing is new when it is repeated")
    func sampleShop() async throws {
        try await withDeployments(sourceIsThere: false) { source, serving in
            let place = try Workplace(
                environment: [
                    "SOURCE_DSN": source.pipelineDSN.text, "SERVING_DSN": serving.pipelineDSN.text,
                    "CDC_CAPTURE_POLLING": "2s",
                ])
            let administrators = source.environment("SOURCE").merging(serving.environment("SERVING")) { $1 }
            let first = try await place.bootstrap("--wait", "60s", environment: administrators)
            #expect(first.end == .exit(0), "\(first.errors)")
            #expect(
                Self.said(first) == [
                    "created database \(source.name)", "created table dbo.customers", "created table dbo.orders",
                    "created table dbo.payments", "enabled change data capture on the database",
                    "enabled capture instance dbo_customers", "enabled capture instance dbo_orders",
                    "enabled capture instance dbo_payments", "created role tidemark_reader",
                    "created login \(source.login)", "created user \(source.login)",
                    "wrote the first customers, orders and payments",
                    "the capture job now pauses 2 s between two scans of the log, not 5 s",
                    "changes are captured of customers, orders, payments",
                ])
            let second = try await place.bootstrap(environment: administrators)
            #expect(second.end == .exit(0), "\(second.errors)")
            #expect(
                Self.said(second) == [
                    "database \(source.name) is there already",
                    "change data capture is enabled on the database already",
                    "changes are captured of customers, orders, payments",
                ])
            #expect(![first, second].contains { ($0.output + $0.errors).contains(source.password) })
            #expect(try await Self.interval(source) == 2)
            // Restarted for the interval to hold, which the second time there was no reason for.
            let runs = try await source.rows(Self.activity)[0]
            #expect(runs == (source.database.isBabelfish ? [2, 1] : [1, 0]))

            let memberships = try await source.pipelineRows(
                """
                SELECT IS_ROLEMEMBER(N'tidemark_reader'), IS_ROLEMEMBER(N'cdc_reader'), IS_ROLEMEMBER(N'db_owner'),
                    (SELECT COUNT(*) FROM dbo.orders)
                """)
            #expect(memberships == [[1, 1, 0, 5]])
            let writing = try await source.refusal("UPDATE dbo.orders SET status = NULL")
            #expect(writing.contains("denied"), "\(writing)")

            let own = try await place.bootstrap(
                environment: [
                    "SOURCE_DSN": source.pipelineBootstrapDSN.text, "SERVING_DSN": serving.pipelineBootstrapDSN.text,
                ])
            #expect(own.end == .exit(0), "\(own.errors)")
            #expect(Self.said(own).contains("this login may not change roles, so they stay as they are"))

            try serving.grantTables(to: "tidemark_writer")
            let run = try await place.startPipeline()
            let load = try await place.run(
                "loadgen", "--rate", "40", "--duration", "1s", environment: ["SOURCE_DSN": source.administratorDSN.text]
            )
            #expect(load.end == .exit(0), "\(load.errors)")
            let orders = try await source.rows("SELECT COUNT(*) FROM dbo.orders")
            try await eventually("the projection has every order", within: .seconds(120)) {
                try await serving.rows("SELECT COUNT(*) FROM dbo.proj_orders_latest") == orders
            }
            try await run.stop()
            let verified = try await place.run("verify")
            #expect(verified.end == .exit(0), "\(verified.output)\(verified.errors)")
        }
    }

    // MARK: A source with tables of its own

    @Test("of tables of its owner's it changes nothing without an administrator's login, and says what that would do")
    func foreignWithoutAdministrator() async throws {
        try await withForeignSource { source in
            let place = try Workplace(environment: ["SOURCE_DSN": source.administratorDSN.text])
            let before = try await Self.state(source)
            for _ in 1...2 {
                let outcome = try await place.bootstrap()
                #expect(outcome.end == .exit(0), "\(outcome.errors)")
                #expect(
                    Self.said(outcome) == [
                        "database \(source.name) is there already",
                        "holds tables of its own, so nothing was changed there; with BOOTSTRAP_SOURCE_DSN, an "
                            + "administrator's, bootstrap makes the login of SOURCE_DSN, grants it what the pipeline "
                            + "needs, and sets the capture job's interval",
                        "changes are captured of invoice, note",
                    ])
            }
            #expect(try await Self.state(source) == before)
            #expect(try await source.rows("SELECT DATABASE_PRINCIPAL_ID(N'tidemark_reader')") == [[.null]])
        }
    }

    @Test(
        "with an administrator's login it lets the pipeline's read what is captured, and no more, and sets the interval"
    )
    func foreignWithAdministrator() async throws {
        try await withForeignSource { source in
            let place = try Workplace(environment: source.environment("SOURCE"))
            let before = try await Self.state(source)
            let gate = """
                capture dbo_note is gated by db_owner, a fixed role or none of this database, so tidemark_reader was not \
                made a member: enable the capture anew with another @role_name, or NULL
                """
            let first = try await place.bootstrap()
            #expect(first.end == .exit(0), "\(first.errors)")
            #expect(
                Self.said(first) == [
                    "database \(source.name) is there already", "holds tables of its own, which were left as they are",
                    "created role tidemark_reader", gate, "created login \(source.login)",
                    "created user \(source.login)",
                    "the capture job now pauses 1 s between two scans of the log, not 5 s",
                    "changes are captured of invoice, note",
                ])
            let second = try await place.bootstrap()
            #expect(second.end == .exit(0), "\(second.errors)")
            #expect(
                Self.said(second) == [
                    "database \(source.name) is there already", "holds tables of its own, which were left as they are",
                    gate,
                    "changes are captured of invoice, note",
                ])
            #expect(try await Self.state(source).dropLast() == before.dropLast())
            #expect(try await Self.interval(source) == 1)

            let memberships = try await source.pipelineRows(
                "SELECT IS_ROLEMEMBER(N'tidemark_reader'), IS_ROLEMEMBER(N'audit'), IS_ROLEMEMBER(N'db_owner')")
            #expect(memberships == [[1, 1, 0]])
            #expect(try await source.pipelineRows("SELECT id, amount FROM dbo.invoice") == [[1, 250]])
            #expect(try await source.pipelineRows("SELECT id FROM dbo.note").isEmpty)
            for statement in ["SELECT secret FROM dbo.invoice", "SELECT id FROM dbo.other", "DELETE FROM dbo.invoice"] {
                let refusal = try await source.refusal(statement)
                #expect(refusal.contains("denied"), "\(statement): \(refusal)")
            }
        }
    }

    @Test(
        "the pipeline's login sees the captures it may read, those that leave columns out too",
        .disabled("Babelfish hides a table from who may not SELECT all of it", isBabelfish))
    func foreignCaptures() async throws {
        try await withForeignSource { source in
            let outcome = try await Workplace(environment: source.environment("SOURCE")).bootstrap()
            #expect(outcome.end == .exit(0), "\(outcome.errors)")
            let catalog = try await SQLServerSource(
                source.pipeline(), options: .init(logger: LogLines().logger)
            ).catalog()
            #expect(catalog.captures.map(\.instance) == ["dbo_invoice"])
            #expect(catalog.refused.map(\.instance) == ["dbo_note"])
        }
    }

    @Test("leaves a job that does not run continuously as it is")
    func scheduledJob() async throws {
        try await withForeignSource { source in
            try await source.execute(
                source.database.isBabelfish
                    ? "UPDATE cdc.cdc_jobs SET is_continuous = 0, pollinginterval = 0 WHERE job_type = N'capture'"
                    : "EXEC sys.sp_cdc_change_job @job_type = N'capture', @continuous = 0")
            let outcome = try await Workplace(environment: source.environment("SOURCE")).bootstrap()
            #expect(outcome.end == .exit(0), "\(outcome.errors)")
            #expect(
                Self.said(outcome).contains("the capture job does not run continuously, so it has no interval to set"))
            #expect(try await Self.interval(source) == 0)
        }
    }

    @Test(
        "a job that the login cannot see is not restarted, and how to is said",
        .disabled("the administrator of the tests sees every job of SQL Server", isSQLServer))
    func unseenJob() async throws {
        try await withForeignSource(replacements: [("msdb.dbo.sysjobactivity", "cdc.hidden")]) { source in
            // In place of a permission that is missing, another error that CATCH sees.
            try await source.execute(
                "CREATE VIEW cdc.hidden AS SELECT * FROM cdc.sysjobactivity WHERE session_id / 0 = 1")
            let outcome = try await Workplace(environment: source.environment("SOURCE")).bootstrap()
            #expect(outcome.end == .exit(0), "\(outcome.errors)")
            let said = Self.said(outcome)
            #expect(said.contains("the capture job now pauses 1 s between two scans of the log, not 5 s"))
            #expect(said.contains { $0.hasPrefix("this login cannot see whether the capture job runs, so it was not") })
            #expect(
                try await source.rows("SELECT COUNT(*), COUNT(stop_execution_date) FROM cdc.sysjobactivity") == [
                    [1, 0]
                ])
        }
    }

    @Test("says that the capture job does not run, and that there is none")
    func noJob() async throws {
        try await withForeignSource { source in
            let place = try Workplace(environment: source.environment("SOURCE"))
            try await source.execute("EXEC sys.sp_cdc_stop_job @job_type = N'capture'")
            let stopped = try await place.bootstrap()
            #expect(stopped.end == .exit(0), "\(stopped.errors)")
            #expect(
                Self.said(stopped).contains(
                    "the capture job does not run, so nothing is captured: start SQL Server Agent, or the job with "
                        + "EXEC sys.sp_cdc_start_job @job_type = N'capture'"))
            try await source.execute(
                source.database.isBabelfish
                    ? "DELETE FROM cdc.cdc_jobs WHERE job_type = N'capture'"
                    : "EXEC sys.sp_cdc_drop_job @job_type = N'capture'")
            let dropped = Self.said(try await place.bootstrap())
            #expect(dropped.contains("there is no capture job, so no interval to set"))
            #expect(dropped.contains { $0.contains("the source database has no capture job") }, "\(dropped)")
        }
    }

    @Test(
        "says that SQL Server Agent does not run", .disabled("the tests do not stop SQL Server Agent", isSQLServer))
    func noAgent() async throws {
        try await withForeignSource(replacements: [("sys.dm_server_services", "cdc.dm_server_services")]) { source in
            try await source.execute(
                "CREATE TABLE cdc.dm_server_services (servicename nvarchar(256), status_desc nvarchar(256))")
            try await source.execute(
                "INSERT INTO cdc.dm_server_services VALUES (N'SQL Server Agent (MSSQLSERVER)', N'Stopped')")
            let outcome = try await Workplace(environment: source.environment("SOURCE")).bootstrap()
            #expect(outcome.end == .exit(0), "\(outcome.errors)")
            let said = Self.said(outcome)
            #expect(said.contains { $0.contains("SQL Server Agent is stopped: start it") }, "\(said)")
        }
    }

    @Test("never enables capture on a database with tables of its owner's", arguments: [false, true])
    func captureOff(hasAdministrator: Bool) async throws {
        try await Deployment.with(TestServer.source, prefix: "tm_src_") { source in
            try await source.execute("CREATE TABLE dbo.invoice (id int NOT NULL PRIMARY KEY)")
            let place = try Workplace(
                environment: hasAdministrator
                    ? source.environment("SOURCE") : ["SOURCE_DSN": source.administratorDSN.text])
            let outcome = try await place.bootstrap()
            #expect(outcome.end == .exit(69))
            #expect(
                outcome.errorLines.count == 1 && outcome.errors.contains("which holds tables of its own: there it is"))
            let made =
                "SELECT SCHEMA_ID(N'cdc'), DATABASE_PRINCIPAL_ID(N'tidemark_reader'), SUSER_ID(N'\(source.login)')"
            #expect(try await source.rows(made) == [[.null, .null, .null]])
        }
    }

    // MARK: Databases

    private func withDeployments(
        sourceIsThere: Bool, _ body: (_ source: Deployment, _ serving: Deployment) async throws -> Void
    ) async throws {
        if try await TestServer.source?.isBabelfish() == true { try SourceStandIn.prepareServer() }
        try await Deployment.with(TestServer.source, prefix: "tm_src_", isThere: sourceIsThere) { source in
            try await Deployment.with(TestServer.serving, isThere: false) { try await body(source, $0) }
        }
    }

    /// Runs `body` with a source of two tables that somebody has captured, a column and a table but left out.
    private func withForeignSource(
        replacements: [(refused: String, instead: String)] = [], _ body: (Deployment) async throws -> Void
    ) async throws {
        try await Deployment.with(TestServer.source, prefix: "tm_src_", replacements: replacements) { source in
            let standIn = SourceStandIn(database: source.database, connection: try source.administrator())
            try await standIn.enable()
            for statement in [
                "CREATE TABLE dbo.invoice (id int NOT NULL PRIMARY KEY, secret nvarchar(20), amount int)",
                "CREATE TABLE dbo.note (id int NOT NULL PRIMARY KEY)", "CREATE TABLE dbo.other (id int)",
                "INSERT INTO dbo.invoice VALUES (1, N'hush', 250)",
            ] {
                try await source.execute(statement)
            }
            try await standIn.enable("invoice", key: ["id"], columns: ["id", "amount"], role: "audit", keepsJob: true)
            try await standIn.enable("note", key: ["id"], role: "db_owner", keepsJob: true)
            try await body(source)
        }
    }

    /// What the owner would not have changed, and the job's interval.
    private static func state(_ source: Deployment) async throws -> [[Value]] {
        let tables = try await source.rows(
            """
            SELECT SCHEMA_NAME(t.schema_id), t.name, c.name FROM sys.tables AS t
            JOIN sys.columns AS c ON c.object_id = t.object_id ORDER BY t.object_id, c.column_id
            """)
        let captures = try await source.rows("SELECT capture_instance, role_name FROM cdc.change_tables ORDER BY 1")
        return tables + captures + [[try await interval(source) ?? .null]]
    }
}
