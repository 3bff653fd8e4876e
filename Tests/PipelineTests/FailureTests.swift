import Embedded
import Foundation
import Synchronization
import Testing
import Tidemark

/// Invariant 6: one failing projection or capture does not stop the others.
@Suite("Failures stay where they happen")
struct FailureTests {
    private static func order(_ id: Int, status: String = "'1'") -> String {
        "INSERT INTO orders VALUES (\(id), 1, '5.00', \(status), '2026-01-01 10:00:00', '2026-01-01 10:00:00')"
    }

    private static func projection(_ name: String, _ query: String, key: [String], captures: [String] = ["orders"])
        -> ProjectionDefinition
    {
        ProjectionDefinition(name: name, captures: captures.map { .init(name: $0) }, key: key, query: query)
    }

    @Test("a value that does not fit its column stops that capture alone, with table, column and LSN")
    func badValue() async throws {
        let bench = try await Bench()
        let paid = Self.projection(
            "paid", "SELECT payment_id, paid_amount FROM payments", key: ["payment_id"], captures: ["payments"])
        try await bench.running([Bench.shipped("orders_latest"), paid]) {
            try bench.write(Self.order(1))
            try await eventually("the order arrives") {
                try bench.rows("SELECT 1 FROM sqlite_schema WHERE name = 'proj_orders_latest'").count == 1
                    && bench.rows("SELECT 1 FROM proj_orders_latest").count == 1
            }
            let before = try await bench.watermark("orders")
            try bench.write(
                "UPDATE orders SET customer_id = 'nobody'", "INSERT INTO payments VALUES (1, 1, '5.00', NULL)")
            try await eventually("the capture stops") { try bench.status(capture: "orders").first == "ERROR" }
            let lsn = try #require(try bench.rows("SELECT hex(max(lsn)) FROM stg_cdc_payments").first?[0])
            let message = try bench.status(capture: "orders")[1] ?? ""
            #expect(message.contains("orders.customer_id"), "\(message)")
            #expect(message.contains("0x" + lsn.lowercased()), "\(message)")
            #expect(message.contains("nobody"), "\(message)")

            for id in 2...4 { try bench.write("INSERT INTO payments VALUES (\(id), 1, '5.00', NULL)") }
            try await eventually("projections that need not orders go on") {
                try bench.rows("SELECT 1 FROM proj_paid").count == 4
            }
            #expect(try bench.status(capture: "payments") == ["OK", nil])
            #expect(try await bench.watermark("payments") > before)
            #expect(try await bench.watermark("orders") == before)
            #expect(try await bench.serving.projection("orders_latest")?.asOfLSN == before)
            #expect(try bench.status(projection: "orders_latest") == ["OK", nil])
        }
    }

    @Test("a serving database that goes away is told of though nothing changes in the source")
    func servingIsAway() async throws {
        let bench = try await Bench()
        let store = InterceptingStore(bench.serving)
        bench.store = store
        let hasFailed = Mutex(false)
        let observe: @Sendable (PipelineEvent) -> Void = { event in
            if case .projectionFailed = event { hasFailed.withLock { $0 = true } }
        }
        func life() async throws {
            try bench.write(Self.order(1))
            try await eventually("the order arrives") {
                try bench.rows("SELECT 1 FROM ctl_projection_metadata WHERE status = 'OK'").count == 1
            }
            store.isAway.withLock { $0 = true }
            try await eventually("the projection says so") { hasFailed.withLock { $0 } }
            store.isAway.withLock { $0 = false }
            try await eventually("it is well again") { try bench.status(projection: "orders_latest") == ["OK", nil] }
        }
        try await bench.running([Bench.shipped("orders_latest")], observe: observe, life)
    }

    @Test("a capture that the source refuses is shown as failed, and the others go on")
    func refusedCapture() async throws {
        let bench = try await Bench()
        try await bench.source.execute(
            script: "DROP TABLE customers; CREATE TABLE customers (customer_id INTEGER PRIMARY KEY)")
        let paid = Self.projection(
            "paid", "SELECT payment_id, paid_amount FROM payments", key: ["payment_id"], captures: ["payments"])
        try await bench.running([paid]) {
            try bench.write("INSERT INTO payments VALUES (1, 1, '5.00', NULL)")
            try await eventually("the projection of another capture is built") {
                try bench.status(projection: "paid") == ["OK", nil] && bench.rows("SELECT 1 FROM proj_paid").count == 1
            }
            try await eventually("the refusal is shown") { try bench.status(capture: "customers").first == "ERROR" }
            let status = try bench.status(capture: "customers")
            #expect(status[1]?.contains("table customers has no column segment any more") == true, "\(status)")
        }
    }

    @Test("a projection that fails at run time stops alone, and goes on when its cause is gone")
    func failingProjections() async throws {
        let bench = try await Bench()
        let broken = [
            Self.projection("numbers", "SELECT order_id, CAST(status AS INTEGER) AS n FROM orders", key: ["order_id"]),
            Self.projection("twice", "SELECT status, order_id FROM orders WHERE status IS NOT NULL", key: ["status"]),
            Self.projection("missing", "SELECT status, count(*)::BIGINT AS n FROM orders GROUP BY 1", key: ["status"]),
        ]
        try await bench.running(broken + [Bench.shipped("orders_latest")]) {
            try bench.write(Self.order(1))
            try await eventually("all are built") {
                try bench.rows("SELECT 1 FROM ctl_projection_metadata WHERE rows_written = 1").count == 4
            }
            try bench.write(Self.order(2, status: "'x'"), Self.order(3, status: "'x'"), Self.order(4, status: "NULL"))
            let expected = [("numbers", "'x'"), ("twice", "2 rows for one key"), ("missing", "NULL in its key")]
            for (name, words) in expected {
                try await eventually("\(name) fails") { try bench.status(projection: name).first == "ERROR" }
                let message = try bench.status(projection: name)[1] ?? ""
                #expect(message.contains("projection \(name)") && message.contains(words), "\(message)")
                // The table is as it was.
                #expect(try bench.rows("SELECT count(*) FROM proj_\(name)") == [["1"]])
            }
            try bench.write(Self.order(5))
            try await eventually("the others go on") { try bench.rows("SELECT 1 FROM proj_orders_latest").count == 5 }
            #expect(try bench.status(projection: "orders_latest") == ["OK", nil])

            try bench.write("UPDATE orders SET status = order_id")
            for (name, _) in expected {
                try await eventually("\(name) recovers") {
                    try bench.status(projection: name) == ["OK", nil]
                        && bench.rows("SELECT 1 FROM proj_\(name)").count == 5
                }
            }
        }
    }

    @Test("a definition with wrong SQL is recorded, and the others start without it")
    func wrongDefinition() async throws {
        let bench = try await Bench()
        let definitions = [
            Self.projection("wrong", "SELECT no_such_column FROM orders", key: ["no_such_column"]),
            Self.projection("nowhere", "SELECT order_id FROM invoices", key: ["order_id"], captures: ["invoices"]),
            Self.projection("good", "SELECT order_id FROM orders", key: ["order_id"]),
        ]
        try await bench.running(definitions) {
            try bench.write(Self.order(1))
            try await eventually("the good one is built") { try bench.status(projection: "good").first == "OK" }
            #expect(try bench.status(projection: "wrong").first == "ERROR")
            #expect(try bench.status(projection: "wrong")[1]?.contains("no_such_column") == true)
            #expect(try bench.status(projection: "nowhere")[1]?.contains("invoices") == true)
        }
    }

    @Test("a source that stops answering is shown by every capture, until it answers again")
    func unreachableSource() async throws {
        let bench = try await Bench()
        try await bench.running([]) {
            try bench.write(Self.order(1))
            try await eventually("the order is staged") { try bench.rows("SELECT 1 FROM stg_cdc_orders").count == 1 }
            try await bench.source.execute(script: "ALTER TABLE cdc_clock RENAME TO lost_clock")
            for table in ["customers", "orders", "payments"] {
                try await eventually("the failure of \(table) is shown") {
                    let status = try bench.status(capture: table)
                    return status.first == "ERROR" && status[1]?.contains("run tidemark bootstrap") == true
                }
            }
            try await bench.source.execute(script: "ALTER TABLE lost_clock RENAME TO cdc_clock")
            for table in ["customers", "orders", "payments"] {
                try await eventually("\(table) is mended") { try bench.status(capture: table) == ["OK", nil] }
            }
        }
    }

    @Test("a source whose own jobs do not run is shown by every capture, until they do; a mere silence is not")
    func ailingSource() async throws {
        let bench = try await Bench()
        let stopped = TidemarkError.unavailable("the capture job is stopped: start it")
        let source = AilingSource(bench.source, ailment: SourceTrouble(stopped, isCertain: true))
        bench.pipelineSource = source
        let tables = ["customers", "orders", "payments"]
        try await bench.running([]) {
            for table in tables {
                try await eventually("the trouble is shown by \(table)") {
                    try bench.status(capture: table) == ["ERROR", "\(stopped)"]
                }
            }
            // What was captured before still comes in, and the trouble stays in sight.
            try bench.write(Self.order(1))
            try await eventually("the order is staged") { try bench.rows("SELECT 1 FROM stg_cdc_orders").count == 1 }
            try await eventually("orders shows the trouble again") {
                try bench.status(capture: "orders").first == "ERROR"
            }
            source.recover()
            for table in tables {
                try await eventually("\(table) is mended") { try bench.status(capture: table) == ["OK", nil] }
            }
        }
        bench.pipelineSource = AilingSource(bench.source, ailment: SourceTrouble(stopped, isCertain: false))
        try await bench.running([]) {
            try bench.write(Self.order(2))
            try await eventually("the order is staged") { try bench.rows("SELECT 1 FROM stg_cdc_orders").count == 2 }
            for table in tables { #expect(try bench.status(capture: table) == ["OK", nil]) }
        }
    }

    @Test("an error that was recorded while nothing else happens is cleared once the projection is in order")
    func recovery() async throws {
        let bench = try await Bench()
        let name = "orders_latest"
        try bench.write(Self.order(1))
        try await bench.openProjections([Bench.shipped(name)])
        try await bench.ingestAll()
        try await bench.project(name)
        try await bench.serving.recordError("the disk was full for a moment", projection: name)
        try await bench.project(name)
        #expect(try bench.status(projection: name) == ["OK", nil])
        #expect(try bench.table(name, key: 1).rows.count == 1)
    }

    @Test("a capture that recovers while nothing else happens is no longer shown as failed")
    func captureRecovery() async throws {
        let bench = try await Bench()
        try bench.write(Self.order(1))
        try await bench.running([]) {
            try await eventually("the order is staged") { try bench.rows("SELECT 1 FROM stg_cdc_orders").count == 1 }
        }
        try await bench.serving.recordError(
            "the disk was full for a moment", capture: "dbo_orders", source: Bench.sourceName)
        try await bench.running([]) {
            try await eventually("the error is cleared") { try bench.status(capture: "orders") == ["OK", nil] }
        }
    }

    @Test("a rebuild that was asked for and failed is still made once it can be")
    func failedRebuild() async throws {
        let bench = try await Bench()
        let name = "orders_latest"
        try bench.write(Self.order(1))
        try await bench.openProjections([Bench.shipped(name)])
        try await bench.ingestAll()
        try await bench.project(name)
        try await bench.serving.execute(script: "DELETE FROM proj_orders_latest")
        try await bench.serving.requestRebuild(projection: name)
        try await bench.serving.recordError("the disk was full for a moment", projection: name)
        #expect(try await bench.project(name)?.buildReason != nil)
        #expect(try bench.table(name, key: 1).rows.count == 1)
        #expect(try bench.status(projection: name) == ["OK", nil])
    }
}
