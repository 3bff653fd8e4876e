import ContractTests
import DuckDBEngine
import Embedded
import GRDB
import Testing
import Tidemark

@Suite("After a gap, with a snapshot")
struct GapTests {
    private static func order(_ id: Int, amount: Int = 5) -> String {
        "INSERT INTO orders VALUES (\(id), 1, '\(amount).00', 'NEW', '2026-01-01 10:00:00', '2026-01-01 10:00:00')"
    }

    /// A bench whose staging has orders 1 to 4, and whose source has lost what happened to them since.
    private static func bench(lost: String...) async throws -> Bench {
        let bench = try await Bench()
        for id in 1...4 { try bench.write(order(id)) }
        try await bench.ingestAll()
        for statement in lost {
            try bench.write(statement)
            _ = try await bench.source.bounds()
        }
        try await Self.purge(bench)
        return bench
    }

    /// Purges all changes but those of the last position.
    private static func purge(_ bench: Bench) async throws {
        _ = try await bench.source.bounds()
        // As when a pipeline was down for longer than its unread changes may wait.
        try bench.write("UPDATE cdc_jobs SET max_unread_changes = -1")
        try await bench.source.cleanUp(olderThan: Timestamp(microseconds: .max))
    }

    /// What is staged of the orders beyond an LSN: operation, key and amount.
    private static func staged(_ bench: Bench, after lsn: LSN) throws -> [[String?]] {
        try bench.rows(
            """
            SELECT op, order_id, amount FROM stg_cdc_orders WHERE lsn > x'\(lsn.description.dropFirst(2))'
            ORDER BY lsn, command_id, seqval, op
            """)
    }

    private static func orders(_ bench: Bench) throws -> Capture {
        try #require(bench.captures.first { $0.table == "orders" })
    }

    /// A bench whose lost changes of orders are staged, by an ingestor for which the log has not passed their read.
    private static func staging() async throws -> (Bench, LateSource, Ingestor, before: LSN) {
        let bench = try await bench(lost: lost[0], lost[1])
        let before = try await bench.watermark("orders")
        try await bench.openProjections([])
        let source = LateSource(bench.source, since: .zero)
        let ingestor = try bench.ingestor(orders(bench), from: source, engine: bench.engine)
        #expect(try await ingestor.step(after: before, bounds: source.bounds()) == nil)
        return (bench, source, ingestor, before)
    }

    /// Ingests the orders up to the end of the log.
    private static func catchUp(_ bench: Bench, _ ingestor: Ingestor) async throws {
        while try await bench.watermark("orders") < bench.source.bounds().maxLSN {
            _ = try await ingestor.step(after: bench.watermark("orders"), bounds: bench.source.bounds())
        }
    }

    private static let lost = [
        "UPDATE orders SET amount = '7.00' WHERE order_id = 2", "DELETE FROM orders WHERE order_id = 3", order(5),
        "UPDATE orders SET amount = '6.00' WHERE order_id = 4", "UPDATE orders SET amount = '5.00' WHERE order_id = 4",
    ]

    @Test("what differs from the staged state is staged, and nothing else, and published with what happened meanwhile")
    func differences() async throws {
        let bench = try await Self.bench(
            lost: Self.lost[0], Self.lost[1], Self.lost[2], Self.lost[3], Self.lost[4],
            "UPDATE customers SET is_active = 0")
        let before = try await bench.watermark("orders")
        await #expect(throws: TidemarkError.self) { try await bench.ingest("orders") }

        try await bench.openProjections([])
        let application = bench.application
        let source = LateSource(bench.source, since: .zero) {
            try await application.write { db in
                try db.execute(sql: "DELETE FROM orders WHERE order_id = 1")
                try db.execute(sql: Self.order(6))
            }
        }
        let ingestor = try bench.ingestor(Self.orders(bench), from: source, engine: bench.engine)
        let here = try await source.bounds().maxLSN
        #expect(try await ingestor.step(after: before, bounds: source.bounds()) == nil)
        #expect(
            try Self.staged(bench, after: before) == [["1", "3", "5.00"], ["4", "2", "7.00"], ["2", "5", "5.00"]])
        #expect(try await bench.watermark("orders") == before)
        source.catchUp()
        let bounds = try await source.bounds()
        let step = try #require(try await ingestor.step(after: before, bounds: bounds))
        #expect(step.watermark == bounds.maxLSN && step.rows == 5)
        #expect(
            try Self.staged(bench, after: here) == [["1", "1", "5.00"], ["2", "6", "5.00"]])
        #expect(try await bench.watermark("orders") == bounds.maxLSN)
        #expect(
            try bench.rows("SELECT rows_ingested FROM ctl_ingestion_watermarks WHERE capture_instance = 'dbo_orders'")
                == [["9"]])

        // From here on as always.
        try bench.write("DELETE FROM orders WHERE order_id = 2")
        let next = try #require(try await ingestor.step(after: step.watermark, bounds: source.bounds()))
        #expect(next.rows == 1)
        #expect(try await isEqual(bench))
    }

    @Test("a snapshot that was cut short is taken anew, and takes the first one's place")
    func restart() async throws {
        let (bench, _, _, before) = try await Self.staging()
        #expect(try Self.staged(bench, after: before).count == 2)

        try bench.write("UPDATE orders SET amount = '5.00' WHERE order_id = 2", Self.order(7))
        try await bench.reopenDatabases()
        try await bench.openProjections([])
        try await Self.catchUp(bench, bench.ingestor(Self.orders(bench), engine: bench.engine))
        #expect(try Self.staged(bench, after: before).first == ["1", "3", "5.00"])
        #expect(try await isEqual(bench))
    }

    @Test("changes purged while it waits to be published have it taken anew")
    func purgedAgain() async throws {
        let (bench, source, ingestor, before) = try await Self.staging()
        try bench.write(Self.lost[2])
        _ = try await source.bounds()
        try bench.write("DELETE FROM orders WHERE order_id = 1")
        try await Self.purge(bench)
        source.catchUp()
        await #expect(throws: TidemarkError.self) {
            try await ingestor.step(after: before, bounds: source.bounds())
        }
        try await Self.catchUp(bench, ingestor)
        #expect(try await isEqual(bench))
    }

    @Test("a pipeline that had stopped at a gap goes on when told to, its projections step by step")
    func pipeline() async throws {
        let bench = try await Bench()
        let names = ["orders_latest", "orders_kpi_by_minute_segment"]
        let definitions = try names.map(Bench.shipped)
        let state = bench.directory.file("state")
        for id in 1...4 { try bench.write(Self.order(id)) }
        try await bench.running(definitions, state: state) {
            try await eventually("it is built") {
                try bench.rows("SELECT 1 FROM ctl_projection_metadata WHERE status = 'OK'").count == 2
            }
            try await eventually("it follows") { try bench.rows("SELECT 1 FROM proj_orders_latest").count == 4 }
        }
        let built = try bench.rows("SELECT built_at FROM ctl_projection_metadata ORDER BY projection_name")
        for statement in Self.lost {
            try bench.write(statement)
            _ = try await bench.source.bounds()
        }
        try await Self.purge(bench)

        try await bench.running(definitions, state: state) {
            try await eventually("it stops") { try bench.status(capture: "orders").first == "ERROR" }
            #expect(try bench.status(capture: "orders")[1]?.contains("Run `tidemark resync dbo_orders`") == true)
            #expect(try bench.rows("SELECT 1 FROM proj_orders_latest").count == 4)
        }
        try await bench.running(definitions, state: state, onGap: .snapshot) {
            try await eventually("it goes on") {
                try bench.rows("SELECT order_id, amount FROM proj_orders_latest ORDER BY order_id")
                    == [["1", "5.00"], ["2", "7.00"], ["4", "5.00"], ["5", "5.00"]]
            }
            try await eventually("it is sound") { try bench.status(capture: "orders") == ["OK", nil] }
            try bench.write(Self.order(8))
            try await eventually("it follows") { try bench.rows("SELECT 1 FROM proj_orders_latest").count == 5 }
        }
        #expect(try bench.rows("SELECT built_at FROM ctl_projection_metadata ORDER BY projection_name") == built)
        #expect(try await isEqual(bench, projections: definitions))
    }

    @Test("whatever is lost, projections are right at every LSN they show", arguments: 0..<24)
    func random(seed: Int) async throws {
        var random = SplitMix64(state: UInt64(seed))
        let bench = try await Bench(isFast: true)
        var writer = ShopWriter(bench.application, shop: ShopModel())
        let definitions = try ["orders_latest", "orders_kpi_by_minute_segment"].map(Bench.shipped)
        let limits = Replica.FoldLimits(threshold: [0, 5, 100_000].pick(&random), stalled: 100_000)
        try await bench.openProjections(definitions, foldLimits: limits)
        var ingestors: [String: Ingestor] = [:]
        func open() {
            for capture in bench.captures {
                ingestors[capture.instance] = bench.ingestor(capture, maxRows: 5, engine: bench.engine)
            }
        }
        func ingest(_ capture: Capture) async throws {
            guard let ingestor = ingestors[capture.instance] else { return }
            do {
                _ = try await ingestor.step(after: bench.watermark(capture.table), bounds: bench.source.bounds())
            } catch TidemarkError.gap {
                // Purged between a look and a read: the next step takes a snapshot.
            }
        }
        func check() throws {
            for (name, key) in [("orders_latest", 1), ("orders_kpi_by_minute_segment", 2)] {
                guard let shown = try? bench.table(name, key: key) else { continue }
                let shop = writer.shop(asOf: shown.asOf)
                // The LSN of a change that was lost is not known.
                let width = name == "orders_latest" ? 1 : 0
                let expected = name == "orders_latest" ? shop.latest : shop.kpi
                let isEqual = shown.rows.mapValues { $0.dropLast(width) } == expected.mapValues { $0.dropLast(width) }
                #expect(isEqual, "\(name) as of \(shown.asOf)")
            }
        }
        open()
        for _ in 0..<40 {
            switch Int.random(in: 0..<100, using: &random) {
            case ..<35: try writer.transaction(using: &random)
            case ..<45: try await Self.purge(bench)
            case ..<75: if let capture = bench.captures.randomElement(using: &random) { try await ingest(capture) }
            case ..<95:
                for definition in definitions { try await bench.project(definition.name) }
                try await bench.replica?.foldIfDue()
                try check()
            default:
                try await bench.openProjections(definitions, foldLimits: limits)
                open()
            }
        }
        // A read of a table moves the log's end, which the others have to reach then.
        while true {
            let end = try await bench.source.bounds().maxLSN
            let behind = try await bench.watermarks().filter { $0.value.lastIngestedLSN < end }.keys
            if behind.isEmpty { break }
            for capture in bench.captures where behind.contains(capture.instance) { try await ingest(capture) }
        }
        for definition in definitions { while try await bench.project(definition.name) != nil {} }
        try check()
        #expect(try await isEqual(bench, projections: definitions))
    }

    private func isEqual(_ bench: Bench, projections definitions: [ProjectionDefinition] = []) async throws -> Bool {
        let verifier = try await bench.verifier()
        return try await (verifier.projections(definitions) + verifier.sources()).allSatisfy(\.isEqual)
    }
}
