import TestSupport
import Testing

extension Commands {
    /// Databases that a pipeline has followed to the end and left.
    @Suite("tidemark verify and rebuild")
    struct VerifyAndRebuildTests {
        let place: Workplace

        init() async throws {
            place = try await .bootstrapped()
            let load = try await place.run("loadgen", "--rate", "400", "--duration", "500ms")
            try #require(load.end == .exit(0))
            let run = try await place.startPipeline()
            try await place.caughtUp()
            try await run.stop()
        }

        private static let tamper = """
            UPDATE proj_orders_latest SET status = 'TAMPERED' WHERE order_id = (SELECT max(order_id) FROM proj_orders_latest);
            DELETE FROM proj_orders_latest WHERE order_id = (SELECT min(order_id) FROM proj_orders_latest);
            """

        @Test("verify says that all is equal, one line each, and changes nothing")
        func equal() async throws {
            let outcome = try await place.run("verify")
            #expect(outcome.end == .exit(0))
            #expect(outcome.errors.isEmpty)
            #expect(outcome.lines.count == 6)
            #expect(outcome.lines[0] == "RESULT  CHECKED       NAME                          ROWS  AS OF LSN")
            #expect(outcome.lines.dropFirst().allSatisfy { $0.hasPrefix("equal   ") })
            #expect(!outcome.output.contains("DIFFERENT"))

            let one = try await place.run("verify", "orders_latest")
            #expect(one.end == .exit(0))
            #expect(one.lines.count == 2)
        }

        @Test("verify finds a projection's tampered row, shows it, and says what repairs it; rebuild does")
        func tamperedProjection() async throws {
            try place.serving(Self.tamper)
            let outcome = try await place.run("verify")
            #expect(outcome.end == .exit(1))
            #expect(outcome.errors.isEmpty)
            #expect(outcome.lines.contains { $0.hasPrefix("DIFFERENT  projection    orders_latest") })
            #expect(outcome.lines.contains { $0.hasPrefix("equal      projection    orders_kpi_by_minute_segment") })
            #expect(outcome.output.contains("projection orders_latest: 2 missing, 1 unexpected"))
            #expect(outcome.lines.filter { $0.hasPrefix("  missing: order_id = ") }.count == 2)
            let sample = try #require(outcome.lines.first { $0.hasPrefix("  unexpected: order_id = ") })
            #expect(sample.contains(", status = TAMPERED, "))
            #expect(sample.contains("__source_lsn = 0x0000000"))
            #expect(outcome.lines.last == "  tidemark rebuild orders_latest repairs the table")

            let rebuild = try await place.run("rebuild", "orders_latest")
            #expect(rebuild.end == .exit(0))
            let count = try place.sourceValue("SELECT count(*) FROM orders") ?? ""
            #expect(rebuild.output == "rebuilt orders_latest: \(count) rows\n")
            #expect(try await place.run("verify").end == .exit(0))
            #expect(try Truth(place: place).complaints() == [])
        }

        @Test("verify finds staging that was tampered with")
        func tamperedStaging() async throws {
            try place.serving(
                """
                UPDATE stg_cdc_customers SET segment = 'TAMPERED' WHERE customer_id = 1;
                """)
            let outcome = try await place.run("verify")
            #expect(outcome.end == .exit(1))
            #expect(outcome.lines.contains { $0.hasPrefix("DIFFERENT  source table  customers") })
            #expect(outcome.output.contains("\nsource table customers: 1 missing, 1 unexpected"))
            #expect(outcome.output.contains("  missing: customer_id = 1, segment = TAMPERED, "))
        }

        @Test("a projection's table that is gone is found, and built by rebuild")
        func droppedTable() async throws {
            try place.serving("DROP TABLE proj_orders_latest")
            let outcome = try await place.run("verify")
            #expect(outcome.end == .exit(1))
            #expect(outcome.lines.contains { $0.hasPrefix("FAILED  projection    orders_latest") })
            #expect(outcome.output.contains("rebuild projection orders_latest"))
            #expect(try await place.run("rebuild", "orders_latest").end == .exit(0))
            #expect(try await place.run("verify").end == .exit(0))
        }

        @Test("rebuild asks a running pipeline, readers undisturbed")
        func withPipeline() async throws {
            try place.serving(Self.tamper)
            let run = try await place.startPipeline()
            let rebuild = try await place.run("rebuild", "orders_latest")
            #expect(rebuild.end == .exit(0))
            #expect(rebuild.output.hasPrefix("rebuilt orders_latest by the running pipeline, as of LSN 0x"))
            #expect(rebuild.errors == "tidemark: a pipeline is running; it is asked to rebuild orders_latest\n")
            // The pipeline goes on with the new table.
            try place.source(
                "INSERT INTO orders VALUES (100000, 1, '9.99', 'NEW', '2026-01-01 00:00:00', '2026-01-01 00:00:00')")
            try await place.caughtUp()
            try await run.stop()
            #expect(try await place.run("verify").end == .exit(0))
            #expect(try Truth(place: place).complaints() == [])
        }

        @Test("rebuild does the work itself when the pipeline it waits for is killed")
        func pipelineGoes() async throws {
            try place.serving(Self.tamper)
            // This pipeline leaves the projection alone.
            let run = try await place.startPipeline(environment: ["ENABLE_PROJ_ORDERS_LATEST": "false"])
            let rebuild = try place.start("rebuild", "orders_latest")
            try await rebuild.logs("a pipeline is running; it is asked to rebuild orders_latest")
            try await run.process.killAndWait()
            let outcome = try await rebuild.ended()
            #expect(outcome.end == .exit(0), "\(outcome.errors)")
            #expect(outcome.errors.contains("the pipeline is gone; rebuilding orders_latest here"))
            #expect(try await place.run("verify").end == .exit(0))
        }

        @Test("rebuild gives up waiting when its time is up: exit 69 and where to look")
        func timeout() async throws {
            let run = try await place.startPipeline(environment: ["ENABLE_PROJ_ORDERS_LATEST": "false"])
            let outcome = try await place.run("rebuild", "orders_latest", "--timeout", "300ms")
            #expect(outcome.end == .exit(69))
            #expect(
                outcome.errorLines.last == """
                    tidemark: the running pipeline did not rebuild orders_latest within 300ms; see its log, and whether the \
                    projection is enabled there. The request stands
                    """)
            try await run.stop()
        }

        @Test("rebuild of a projection that does not exist: exit 78 and what there is")
        func unknown() async throws {
            let outcome = try await place.run("rebuild", "orders")
            #expect(outcome.end == .exit(78))
            #expect(
                outcome.errors
                    == "tidemark: there is no projection orders; there are: orders_kpi_by_minute_segment, orders_latest\n"
            )
        }
    }
}
