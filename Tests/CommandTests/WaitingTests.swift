import TestSupport
import Testing

extension Commands {
    @Suite("A projection that waits")
    struct WaitingTests {
        let place: Workplace

        init() async throws { place = try await .bootstrapped() }

        private static let kpi = "orders_kpi_by_minute_segment"

        @Test("status says that nothing has been ingested, and of what")
        func nothingIngested() async throws {
            let status = try Status(await place.run("status", "--json").output)
            #expect(
                try status.projection("orders_latest").waiting
                    == "nothing of dbo_customers, dbo_orders has been ingested yet")
            let text = try await place.run("status")
            #expect(text.lines.contains("waiting:"))
            #expect(
                text.lines.contains("  orders_latest: nothing of dbo_customers, dbo_orders has been ingested yet"),
                "\(text.output)")
        }

        @Test("status names the capture that holds it back, before the first build and after")
        func heldBack() async throws {
            try place.source(
                """
                INSERT INTO orders VALUES (1, 1, '9.99', 'NEW', '2026-01-01 00:00:00', '2026-01-01 00:00:00');
                INSERT INTO payments VALUES (1, 'first', '5.00', '2026-01-01 00:00:00');
                """)
            let run = try await place.startPipeline()
            try await run.logs("capture failed")
            try await eventually("orders_latest is built") {
                try Status(await place.run("status", "--json").output).projection("orders_latest").status == "OK"
            }
            let initial = try Status(await place.run("status", "--json").output)
            #expect(try initial.projection(Self.kpi).status == "INIT")
            #expect(
                try initial.projection(Self.kpi).waiting == "nothing of dbo_payments (ERROR) has been ingested yet")
            try await eventually("orders_latest waits for nothing") {
                try Status(await place.run("status", "--json").output).projection("orders_latest").waiting == nil
            }

            try place.source(
                """
                UPDATE payments SET order_id = 1 WHERE payment_id = 1;
                UPDATE cdc_dbo_payments_CT SET order_id = 1 WHERE payment_id = 1;
                """)
            try await place.caughtUp()
            try place.source("INSERT INTO payments VALUES (2, 'second', '5.00', '2026-01-01 00:00:00')")
            try await eventually("payments is an ERROR again") {
                try Status(await place.run("status", "--json").output).capture("dbo_payments").status == "ERROR"
            }
            try place.source("INSERT INTO customers VALUES (1, 'RETAIL', 1, '2026-01-01 00:00:00')")
            try await eventually("the others go on") {
                let status = try Status(await place.run("status", "--json").output)
                return try status.projection("orders_latest").asOfLsn == status.sourceMaxLsn
            }
            let later = try Status(await place.run("status", "--json").output)
            let waiting = try #require(try later.projection(Self.kpi).waiting)
            #expect(
                waiting.hasPrefix(
                    "dbo_payments (ERROR) holds it back at LSN \(try later.capture("dbo_payments").lastIngestedLsn)"
                ), "\(waiting)")
            try await run.stop()
        }
    }
}
