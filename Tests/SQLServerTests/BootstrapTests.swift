import ContractTests
import Foundation
import ODBC
import TestSupport
import Testing
import Tidemark

@testable import SQLServer

/// `tidemark bootstrap` as an administrator runs it on SQL Server, and what the login it makes may do.
@Suite(
    "bootstrap on SQL Server", .serialized,
    .enabled(if: TestServer.source != nil, TestServer.sourceIsMissing),
    .enabled(if: TestServer.serving != nil, TestServer.servingIsMissing))
struct BootstrapTests {
    private static let isBabelfish: @Sendable () async throws -> Bool = {
        try await TestServer.serving?.isBabelfish() ?? false
    }

    /// The tests read what bootstrap says of one database.
    private static func said(_ outcome: Workplace.Outcome, of side: String) -> [String] {
        outcome.lines.filter { $0.hasPrefix("\(side): ") }.map { String($0.dropFirst(side.count + 2)) }
    }

    // MARK: Serving

    @Test("makes a serving database, its roles and a login, says so, and has nothing to add when repeated")
    func serving() async throws {
        try await Deployment.with(TestServer.serving, isThere: false) { serving in
            let place = try Workplace(environment: serving.environment("SERVING"))
            let first = try await place.bootstrap("--wait", "60s")
            #expect(first.end == .exit(0), "\(first.errors)")
            #expect(
                Self.said(first, of: "serving") == [
                    "created database \(serving.name)", "created role tidemark_writer", "created role tidemark_viewer",
                    "created login \(serving.login)", "created user \(serving.login)",
                    "control and staging tables are in place",
                ])
            let second = try await place.bootstrap()
            #expect(second.end == .exit(0), "\(second.errors)")
            #expect(
                Self.said(second, of: "serving") == [
                    "database \(serving.name) is there already", "control and staging tables are in place",
                ])
            for outcome in [first, second] {
                #expect(outcome.errors == "")
                #expect(!outcome.output.contains(serving.password))
            }
            let settings = try await serving.rows(
                """
                SELECT is_read_committed_snapshot_on, CAST(snapshot_isolation_state AS int) FROM sys.databases
                WHERE database_id = DB_ID()
                """)
            #expect(settings == [[true, 1]])
            let memberships = try await serving.pipelineRows(
                """
                SELECT IS_ROLEMEMBER(N'tidemark_writer'), IS_ROLEMEMBER(N'db_owner'),
                    HAS_PERMS_BY_NAME(QUOTENAME(DB_NAME()), N'DATABASE', N'CONTROL')
                """)
            #expect(memberships == [[1, 0, 0]])
        }
    }

    @Test("makes a login with which the pipeline runs, rebuilds and verifies, and which may repeat bootstrap")
    func writer() async throws {
        try await Deployment.with(TestServer.serving, isThere: false) { serving in
            let place = try Workplace(environment: ["SERVING_DSN": serving.pipelineDSN.text])
            let bootstrap = try await place.bootstrap(
                "--wait", "60s", environment: serving.environment("SERVING"))
            try #require(bootstrap.end == .exit(0), "\(bootstrap.errors)")
            try serving.grantTables(to: "tidemark_writer")
            let run = try await place.startPipeline()
            let load = try await place.run("loadgen", "--rate", "40", "--duration", "1s")
            #expect(load.end == .exit(0), "\(load.errors)")
            try await place.caughtUp(within: .seconds(120))
            let rebuild = try await place.run("rebuild", "orders_latest")
            #expect(rebuild.end == .exit(0), "\(rebuild.errors)")
            try await run.stop()
            let verified = try await place.run("verify")
            #expect(verified.end == .exit(0), "\(verified.output)\(verified.errors)")

            let own = try await place.bootstrap(environment: ["SERVING_DSN": serving.pipelineBootstrapDSN.text])
            #expect(own.end == .exit(0), "\(own.errors)")
            #expect(Self.said(own, of: "serving").contains("this login may not change roles, so they stay as they are"))

            // A reader does not wait for a commit that takes its time.
            let statuses = "SELECT status FROM dbo.proj_orders_latest WHERE order_id = 1"
            let committed = try await serving.pipelineRows(statuses)
            #expect(committed.count == 1)
            let pipeline = try serving.pipeline().openConnection(queryTimeout: .seconds(60))
            let reader = try serving.pipeline().openConnection(queryTimeout: .seconds(60))
            try reader.execute("SET LOCK_TIMEOUT 1000")
            try pipeline.transaction {
                try pipeline.execute("UPDATE dbo.proj_orders_latest SET status = N'HELD' WHERE order_id = 1")
                #expect(try reader.query(statuses).rows() == committed)
            }
            #expect(try reader.query(statuses).rows() == [["HELD"]])
        }
    }

    @Test(
        "SQL Server keeps the contract of a serving store, for a login in the role tidemark_writer",
        arguments: ServingStoreContract.clauses)
    func contract(clause: ServingStoreContract.Clause) async throws {
        try await Deployment.with(TestServer.serving) { serving in
            try await SQLServerServing(serving.administrator(), scripts: ServingServer.scripts()).bootstrap()
            try await serving.apply(roles: "sql/serving/005_roles.sql")
            try serving.grantTables(to: "tidemark_writer")
            try await clause.check(WriterFixture(serving))
        }
    }

    @Test("the role tidemark_viewer reads projections and control tables, and changes none")
    func viewer() async throws {
        try await withViewer { serving in
            #expect(try await serving.pipelineRows("SELECT order_id FROM dbo.proj_orders_latest") == [])
            #expect(try await serving.pipelineRows("SELECT status FROM dbo.ctl_projection_metadata") == [])
            for table in ["proj_orders_latest", "ctl_serving", "stg_cdc_orders"] {
                let refusal = try await serving.refusal("DELETE FROM dbo.\(table)")
                #expect(refusal.contains("denied"), "\(refusal)")
            }
        }
    }

    @Test("the role tidemark_viewer does not read staging", .disabled("Babelfish has no DENY", isBabelfish))
    func viewerOfStaging() async throws {
        try await withViewer { serving in
            let refusal = try await serving.refusal("SELECT lsn FROM dbo.stg_cdc_orders")
            #expect(refusal.contains("denied"), "\(refusal)")
        }
    }

    /// Runs `body` with a login in `tidemark_viewer` alone.
    private func withViewer(_ body: (Deployment) async throws -> Void) async throws {
        try await Deployment.with(TestServer.serving) { serving in
            try await SQLServerServing(serving.administrator(), scripts: ServingServer.scripts()).bootstrap()
            try await serving.apply(roles: "sql/serving/005_roles.sql")
            try await serving.execute("ALTER ROLE tidemark_writer DROP MEMBER \(serving.login)")
            try await serving.execute("ALTER ROLE tidemark_viewer ADD MEMBER \(serving.login)")
            try await body(serving)
        }
    }

    @Test("a database that master does not list for the login is not taken for missing")
    func unlisted() async throws {
        try await Deployment.with(
            TestServer.serving,
            replacements: [
                ("sys.databases WHERE name = @P1", "sys.databases WHERE N'' = @P1"),
                (
                    "is_read_committed_snapshot_on FROM sys.databases WHERE name = @database",
                    "1 FROM sys.databases WHERE name = @database AND name = DB_NAME()"
                ),
            ]
        ) { serving in
            var dsn = serving.administratorDSN
            // Babelfish has no such permission.
            if !serving.database.isBabelfish {
                for statement in [
                    "CREATE LOGIN \(serving.login) WITH PASSWORD = \(literal(serving.password))",
                    "CREATE USER \(serving.login) FOR LOGIN \(serving.login)",
                    "ALTER ROLE db_owner ADD MEMBER \(serving.login)",
                    "USE master; DENY VIEW ANY DATABASE TO \(serving.login)",
                ] {
                    try await serving.execute(statement)
                }
                dsn = serving.pipelineDSN
            }
            let outcome = try await Workplace(environment: ["SERVING_DSN": dsn.text]).bootstrap()
            #expect(outcome.end == .exit(0), "\(outcome.errors)")
            #expect(Self.said(outcome, of: "serving").last == "control and staging tables are in place")
        }
    }

    @Test("warns of a serving database whose readers wait, and leaves it so")
    func readersWait() async throws {
        try await Deployment.with(
            TestServer.serving,
            replacements: [
                // Babelfish's readers never wait, and it says so.
                ("@is_on = is_read_committed_snapshot_on", "@is_on = 0"),
                ("CAST(is_read_committed_snapshot_on AS int)", "0"),
            ]
        ) { serving in
            if !serving.database.isBabelfish {
                try await serving.execute(
                    "ALTER DATABASE CURRENT SET READ_COMMITTED_SNAPSHOT OFF WITH ROLLBACK IMMEDIATE")
            }
            let place = try Workplace(environment: serving.environment("SERVING"))
            let outcome = try await place.bootstrap()
            #expect(outcome.end == .exit(0), "\(outcome.errors)")
            let sentence = try #require(Self.said(outcome, of: "serving").first)
            #expect(sentence.hasPrefix("readers of database \(serving.name) wait while the pipeline commits"))
            #expect(
                sentence.hasSuffix(
                    "ALTER DATABASE [\(serving.name)] SET READ_COMMITTED_SNAPSHOT ON WITH ROLLBACK AFTER 30 SECONDS;"))
            #expect(outcome.errors.contains("READ_COMMITTED_SNAPSHOT off"))
        }
    }
}

/// A serving database that the store reaches with the pipeline's login.
private struct WriterFixture: ServingFixture {
    let store: any ServingStore
    private let serving: Deployment

    init(_ serving: Deployment) throws {
        self.serving = serving
        store = try Self.make(serving)
    }

    var keepsNUL: Bool { !serving.database.isBabelfish }

    func another() async throws -> any ServingStore { try Self.make(serving) }
    func execute(_ sql: String) async throws { try await serving.execute(sql) }

    func indexedColumns(of table: String) async throws -> [String] {
        try await serving.rows(SQLServerServingFixture.indexedColumnsSQL(table)).compactMap { $0[0].string }
    }

    private static func make(_ serving: Deployment) throws -> SQLServerServing {
        SQLServerServing(try serving.pipeline(), scripts: try ServingServer.scripts())
    }
}

extension Deployment {
    /// Applies a script of roles as bootstrap does, with the pipeline's login.
    fileprivate func apply(roles script: String) async throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: root.appending(path: script), encoding: .utf8)
        _ = try await TestServer.alone {
            try await SQLServerBootstrap(
                administratorDSN, role: "serving", variables: ["PIPELINE_LOGIN": login, "PIPELINE_PASSWORD": password]
            ).apply((script, text))
        }
    }
}
