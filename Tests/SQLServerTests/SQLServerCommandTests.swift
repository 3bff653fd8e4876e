import TestSupport
import Testing

@testable import SQLServer

/// The commands, as a user runs them on SQL Server.
@Suite(
    "Commands on SQL Server", .serialized,
    .enabled(if: TestServer.source != nil, TestServer.sourceIsMissing),
    .enabled(if: TestServer.serving != nil, TestServer.servingIsMissing))
struct SQLServerCommandTests {
    @Test("loadgen writes, run follows, status tells, rebuild builds, verify finds all equal")
    func commands() async throws {
        try await SQLServerSourceFixture.withShop { source in
            try await SQLServerServingFixture.run { serving in
                try await source.whileWritten {
                    let place = try Workplace(
                        environment: ["SOURCE_DSN": source.database.dsn.text, "SERVING_DSN": serving.dsn.text])
                    let run = try await place.startPipeline()
                    let load = try await place.run("loadgen", "--rate", "40", "--duration", "2s")
                    #expect(load.end == .exit(0), "\(load.errors)")
                    try await source.standIn.harvest()
                    // Not the end of the log, which may move on without a change.
                    let end = try Status(try await place.run("status", "--json").output).sourceMaxLsn
                    try await eventually("the projections show the load", within: .seconds(120)) {
                        let status = try Status(try await place.run("status", "--json").output)
                        return status.projections.allSatisfy { $0.status == "OK" && ($0.asOfLsn ?? "") >= end }
                    }
                    let status = try Status(try await place.run("status", "--json").output)
                    #expect(status.captures.allSatisfy { $0.status == "OK" } && status.captures.count >= 3)
                    #expect(try status.projection("orders_latest").status == "OK")
                    let orders = try await source.rows("orders").count
                    #expect(try serving.count("proj_orders_latest") == orders)
                    #expect(try serving.count("stg_cdc_customers") > 0)
                    let rebuild = try await place.run("rebuild", "orders_latest")
                    #expect(rebuild.end == .exit(0), "\(rebuild.errors)")
                    try await run.stop()
                    let verified = try await place.run("verify")
                    #expect(verified.end == .exit(0), "\(verified.output)\(verified.errors)")
                    #expect(verified.output.contains("equal"))
                }
            }
        }
    }

    @Test("a wrong password, a missing database and a database that is not set up are one line each, and exit 69")
    func refusals() async throws {
        let server = try #require(TestServer.source)
        try await server.withDatabase(prefix: "tm_src_") { database in
            let wrong = server.dsn(database: database.name, user: ("tm_nobody", "hunter2;="))
            for (dsn, words) in [
                (wrong, "refuses the login"),
                (server.dsn(database: "tm_no_such_database"), "tm_no_such_database"),
                (database.dsn, "run tidemark bootstrap"),
            ] {
                let place = try Workplace(environment: ["SOURCE_DSN": database.dsn.text, "SERVING_DSN": dsn.text])
                let outcome = try await place.run("status")
                #expect(outcome.end == .exit(69), "\(outcome.errors)")
                #expect(outcome.errorLines.count == 1 && outcome.errors.contains(words), "\(outcome.errors)")
                #expect(!outcome.errors.contains("hunter2"))
            }
        }
    }
}
