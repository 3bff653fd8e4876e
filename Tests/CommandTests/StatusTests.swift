import Foundation
import TestSupport
import Testing

extension Commands {
    @Suite("tidemark status")
    struct StatusTests {
        let place: Workplace

        init() async throws { place = try await .bootstrapped() }

        @Test("before anything is built: INIT, and the keys of --json are all there")
        func initial() async throws {
            let text = try await place.run("status")
            #expect(text.end == .exit(0))
            #expect(text.errors.isEmpty)
            #expect(text.lines[0].hasPrefix("source   sqlite:data/source.db  max LSN 0x0000000000000"))
            #expect(text.lines[1] == "serving  sqlite:data/serving.db")
            #expect(text.lines[2].hasPrefix("pipeline not running, last wrote "))
            #expect(text.lines.contains { $0.hasPrefix("dbo_orders     INIT    0x00000000000000000000  -") })
            #expect(text.lines.contains { $0.hasPrefix("orders_latest                 INIT    -") })

            let json = try await place.run("status", "--json")
            #expect(json.end == .exit(0))
            let status = try Status(json.output)
            #expect(status.captures.map(\.capture) == ["dbo_customers", "dbo_orders", "dbo_payments"])
            #expect(status.projections.map(\.projection) == ["orders_kpi_by_minute_segment", "orders_latest"])
            for key in [
                "last_commit_time", "last_error", "as_of_lsn", "as_of_time", "built_at",
            ] {
                #expect(json.output.contains("\"\(key)\" : null"))
            }
        }

        @Test("while the pipeline runs: watermarks, checkpoints, lag 0 once all is there, and columns that line up")
        func running() async throws {
            let load = try await place.run("loadgen", "--rate", "300", "--duration", "500ms")
            #expect(load.end == .exit(0))
            let run = try await place.startPipeline()
            try await place.caughtUp()
            let status = try Status(await place.run("status", "--json").output)
            #expect(status.captures.allSatisfy { $0.status == "OK" && $0.lagSeconds == 0 && $0.rowsIngested > 0 })
            #expect(status.captures.allSatisfy { $0.lastIngestedLsn == status.sourceMaxLsn })
            #expect(
                status.projections.allSatisfy { $0.lagSeconds == 0 && $0.asOfTime == status.sourceMaxCommitTime })

            let text = try await place.run("status")
            for header in ["CAPTURE ", "PROJECTION "] {
                let table = text.lines.drop { !$0.hasPrefix(header) }.prefix { !$0.isEmpty }
                let column = try #require(table.first?.range(of: "LAG")).lowerBound.utf16Offset(in: table.first!)
                #expect(table.dropFirst().allSatisfy { $0.dropFirst(column).hasPrefix("0.0 s") }, "\(text.output)")
            }
            try await run.stop()
        }

        @Test(
            "a value that cannot be carried over stops its capture alone; the error says what to do, and doing it helps"
        )
        func captureError() async throws {
            try place.source(
                """
                INSERT INTO orders VALUES (1, 1, '9.99', 'NEW', '2026-01-01 00:00:00', '2026-01-01 00:00:00');
                INSERT INTO payments VALUES (1, 1, '5.00', '2026-01-01 00:00:00');
                """)
            let run = try await place.startPipeline()
            try await place.caughtUp()
            try place.source("INSERT INTO payments VALUES (2, 'first', '1.00', '2026-01-01 00:00:00')")
            try await run.logs("capture failed")
            try place.source(
                "INSERT INTO orders VALUES (2, 1, '1.00', 'NEW', '2026-01-01 00:00:00', '2026-01-01 00:00:00')")

            try await eventually("orders_latest goes on") {
                try place.servingValue("SELECT count(*) FROM proj_orders_latest") == "2"
            }
            let text = try await place.run("status")
            #expect(text.end == .exit(1))
            #expect(text.lines[2].hasPrefix("pipeline running, last wrote "))
            #expect(text.lines.contains { $0.hasPrefix("dbo_payments   ERROR ") })
            #expect(text.lines.contains { $0.hasPrefix("dbo_orders     OK ") })
            let error = try #require(text.lines.last)
            #expect(error.hasPrefix("  dbo_payments: payments.order_id at LSN 0x"))
            #expect(error.contains("the text 'first', but the column is declared as BIGINT"))
            #expect(error.hasSuffix("; correct it in payments and in cdc_dbo_payments_CT, and the capture goes on"))
            let status = try Status(await place.run("status", "--json").output)
            #expect(try status.capture("dbo_payments").status == "ERROR")
            #expect(try status.capture("dbo_payments").lastError?.contains("'first'") == true)
            // What waits for payments stays true at the last LSN that is whole.
            #expect(try status.projection("orders_kpi_by_minute_segment").asOfLsn != status.sourceMaxLsn)
            #expect(try status.projection("orders_kpi_by_minute_segment").lagSeconds ?? 0 > 0)

            // The source cannot be compared as a whole; what can be is.
            let verify = try await place.run("verify")
            #expect(verify.end == .exit(1))
            #expect(verify.lines.contains { $0.hasPrefix("FAILED  source table  payments") })
            #expect(verify.lines.contains { $0.hasPrefix("equal   source table  orders") })
            #expect(
                verify.output.contains(
                    "source table payments cannot be compared:\n  payments.order_id: is the text 'first'"))

            try place.source(
                """
                UPDATE payments SET order_id = 1 WHERE payment_id = 2;
                UPDATE cdc_dbo_payments_CT SET order_id = 1 WHERE payment_id = 2;
                """)
            try await place.caughtUp()
            try await run.stop()
            #expect(run.errors.contains("capture recovered"))
            let stopped = try await place.run("status")
            #expect(stopped.end == .exit(0))
            #expect(stopped.lines[2].hasPrefix("pipeline not running, last wrote "))
            #expect(try await place.run("verify").end == .exit(0))
            #expect(try Truth(place: place).complaints() == [])
        }
    }
}
