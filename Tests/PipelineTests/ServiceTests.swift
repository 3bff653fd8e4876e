import ContractTests
import Embedded
import Foundation
import Synchronization
import Testing
import Tidemark

@Suite("The service")
struct ServiceTests {
    private static let names = ["orders_kpi_by_minute_segment", "orders_latest", "customer_lifetime_value"]

    /// What the shop looks like after everything written so far, without the order in which it came.
    private func verify(_ bench: Bench) async throws {
        let verifier = try await bench.verifier()
        for finding in try await verifier.projections(Self.names.map(Bench.shipped)) + verifier.sources() {
            #expect(finding.isEqual, "\(finding)")
        }
    }

    @Test("under load it keeps up, stops promptly, and everything adds up then and after a restart")
    func loadAndStop() async throws {
        let bench = try await Bench()
        let state = bench.directory.file("state")
        var random = SplitMix64(state: 42)
        var writer = ShopWriter(bench.application, shop: ShopModel())
        for round in 1...2 {
            let pipeline = bench.pipeline(try Self.names.map(Bench.shipped), state: round == 1 ? state : nil)
            let run = Task { try await pipeline.run() }
            for _ in 0..<150 { try writer.transaction(using: &random) }
            try await eventually("projections follow") {
                try bench.rows("SELECT 1 FROM ctl_projection_metadata WHERE status = 'OK'").count == 3
            }
            // In the middle of things.
            for _ in 0..<50 { try writer.transaction(using: &random) }
            let clock = ContinuousClock()
            let asked = clock.now
            pipeline.stop()
            _ = try await ends("the pipeline", within: .seconds(5)) { try await run.value }
            #expect(clock.now - asked < .seconds(5))
            try await verify(bench)
            for (name, expected) in [
                (Self.names[0], \ShopModel.kpi), (Self.names[1], \.latest), (Self.names[2], \.lifetimeValue),
            ] {
                let shown = try bench.table(name, key: name == Self.names[0] ? 2 : 1)
                #expect(shown.rows == writer.shop(asOf: shown.asOf)[keyPath: expected])
            }
        }
    }

    @Test("stopping before it has started, and twice, ends it too")
    func stopEarly() async throws {
        let bench = try await Bench()
        let pipeline = bench.pipeline([])
        pipeline.stop()
        pipeline.stop()
        _ = try await ends("the pipeline") { try await pipeline.run() }
    }

    @Test("a second pipeline waits for the first one to end, then takes over")
    func standby() async throws {
        let bench = try await Bench()
        let first = bench.pipeline(try [Bench.shipped("orders_latest")])
        let firstRun = Task { try await first.run() }
        try await eventually("the first one works") { try bench.status(projection: "orders_latest").first == "OK" }

        let events = Watch(0)
        let other = try EmbeddedServing(path: bench.servingPath)
        let serving = bench.store
        let standby = InterceptingStore(other)
        bench.store = standby
        let second = bench.pipeline(try [Bench.shipped("orders_latest")]) { _ in events.update { $0 += 1 } }
        bench.store = serving
        let secondRun = Task { try await second.run() }
        try await eventually("the second one asks again and again") { standby.leaseRequests.withLock { $0 >= 2 } }

        try bench.write("INSERT INTO orders VALUES (1, 1, '5.00', 'NEW', NULL, '2026-01-01 10:00:00')")
        try await eventually("the first one goes on") { try bench.rows("SELECT 1 FROM proj_orders_latest").count == 1 }
        #expect(events.value == 0)

        first.stop()
        _ = try await ends("the first one") { try await firstRun.value }
        try bench.write("INSERT INTO orders VALUES (2, 1, '5.00', 'NEW', NULL, '2026-01-01 10:00:00')")
        try await eventually("the second one takes over") {
            try bench.rows("SELECT 1 FROM proj_orders_latest").count == 2
        }
        second.stop()
        _ = try await ends("the second one") { try await secondRun.value }

        // A standby that is told to stop ends as well.
        let lease = try #require(try await other.acquireLease())
        let third = bench.pipeline([])
        let thirdRun = Task { try await third.run() }
        third.stop()
        _ = try await ends("the third one") { try await thirdRun.value }
        lease.release()
    }

    @Test("rebuilds that are asked for while it runs are made")
    func rebuild() async throws {
        let bench = try await Bench()
        try bench.write("INSERT INTO orders VALUES (1, 1, '5.00', 'NEW', NULL, '2026-01-01 10:00:00')")
        try await bench.running([Bench.shipped("orders_latest")]) {
            try await eventually("it is built") { try bench.status(projection: "orders_latest").first == "OK" }
            try await bench.serving.execute(script: "UPDATE proj_orders_latest SET status = 'wrong'")
            try await bench.serving.requestRebuild(projection: "orders_latest")
            try await eventually("it is built anew") {
                try bench.rows("SELECT status FROM proj_orders_latest") == [["NEW"]]
            }
            #expect(try bench.status(projection: "orders_latest") == ["OK", nil])
        }
    }
}
