import ContractTests
import DuckDBEngine
import Embedded
import Foundation
import GRDB
import Synchronization
import Testing
import Tidemark

@Suite("Consistency")
struct ConsistencyTests {
    private static let customer = "INSERT INTO customers VALUES (1, 'A', 1, '2026-01-01 00:00:00')"

    /// An order and its payment of the same amount, in one minute.
    private static func paidOrder(_ id: Int) -> [String] {
        [
            "INSERT INTO orders VALUES (\(id), 1, '5.00', 'NEW', '2026-01-01 10:00:00', '2026-01-01 10:00:00')",
            "INSERT INTO payments VALUES (\(id), \(id), '5.00', '2026-01-01 10:00:30')",
        ]
    }

    private static let kpi = "orders_kpi_by_minute_segment"

    /// Orders, ordered sum and paid sum over all groups.
    private static let totals = """
        SELECT coalesce(sum(orders_count), 0), CAST(coalesce(sum(orders_amount_sum), 0) AS INTEGER),
            CAST(coalesce(sum(paid_amount_sum), 0) AS INTEGER)
        FROM proj_orders_kpi_by_minute_segment
        """

    @Test("an idle capture does not hold back the cutoff")
    func idleCapture() async throws {
        let bench = try await Bench()
        try await bench.openProjections([Bench.shipped(Self.kpi)])
        for id in 1...3 {
            try bench.write(
                "INSERT INTO orders VALUES (\(id), NULL, '1.00', 'NEW', '2026-01-01 10:00:00', '2026-01-01 10:00:00')")
            let end = try await bench.source.bounds().maxLSN
            try await bench.ingestAll()
            let step = try #require(try await bench.project(Self.kpi))
            #expect(step.asOf == end)
            // Nothing ever happened to payments, and yet its watermark is where the others are.
            #expect(try await bench.watermark("payments") == end)
            #expect(try bench.rows(Self.totals).first?[0] == "\(id)")
        }
    }

    @Test("a capture that lags holds a projection at its watermark, and no transaction is seen in half")
    func laggingCapture() async throws {
        let bench = try await Bench()
        try await bench.openProjections([Bench.shipped(Self.kpi), Bench.shipped("orders_latest")])
        try bench.write(Self.customer)
        try await bench.ingestAll()
        try await bench.project(Self.kpi)
        let before = try await bench.watermark("payments")

        // One LSN each, so that payments can follow one by one.
        for id in 1...3 {
            try bench.application.inDatabase { db in
                try db.inTransaction {
                    for sql in Self.paidOrder(id) { try db.execute(sql: sql) }
                    return .commit
                }
            }
            _ = try await bench.source.bounds()
        }
        try await bench.ingestAll(["customers", "orders"])
        #expect(try await bench.project(Self.kpi) == nil)
        #expect(try await bench.serving.projection(Self.kpi)?.asOfLSN == before)
        #expect(try bench.rows(Self.totals) == [["0", "0", "0"]])
        // A projection that does not need payments goes on.
        #expect(try await bench.project("orders_latest")?.asOf == bench.watermark("orders"))
        #expect(try bench.rows("SELECT count(*) FROM proj_orders_latest") == [["3"]])

        for id in 1...3 {
            try await bench.ingest("payments", maxRows: 1)
            #expect(try await bench.project(Self.kpi)?.asOf == bench.watermark("payments"))
            #expect(try bench.rows(Self.totals) == [["\(id)", "\(5 * id)", "\(5 * id)"]])
        }
    }

    @Test("a projection built while a capture lags shows that capture's watermark, whatever others have folded")
    func builtWhileLagging() async throws {
        let bench = try await Bench()
        let limits = Replica.FoldLimits(threshold: 0, stalled: 1_000_000)
        try await bench.openProjections([Bench.shipped("orders_latest"), Bench.shipped(Self.kpi)], foldLimits: limits)
        try bench.write(Self.customer)
        try await bench.ingestAll()
        let early = try await bench.watermark("payments")
        for id in 1...3 {
            try bench.write(Self.paidOrder(id).joined(separator: ";"))
            try await bench.ingestAll(["customers", "orders"])
            try await bench.project("orders_latest")
        }
        #expect(try await bench.project(Self.kpi)?.asOf == early)
        #expect(try bench.rows("SELECT count(*) FROM proj_\(Self.kpi)") == [["0"]])
        try await bench.ingestAll()
        try await bench.project(Self.kpi)
        #expect(try bench.rows(Self.totals) == [["3", "15", "15"]])
    }

    @Test("a replica that is past the cutoff makes a new projection wait, not wrong")
    func waitsForReplica() async throws {
        let bench = try await Bench()
        let limits = Replica.FoldLimits(threshold: 0, stalled: 1_000_000)
        try await bench.openProjections([Bench.shipped("orders_latest")], foldLimits: limits)
        try bench.write(Self.customer)
        try await bench.ingestAll()
        try bench.write(Self.paidOrder(1).joined(separator: ";"))
        try await bench.ingestAll(["customers", "orders"])
        try await bench.project("orders_latest")
        let base = try await #require(bench.engine).oldestLSN(of: ["dbo_orders"])
        #expect(base == (try await bench.watermark("orders")))

        // A worker for the other projection comes to the same engine.
        let engine = try #require(bench.engine)
        let worker = ProjectionWorker(
            projection: try await engine.prepare(Bench.shipped(Self.kpi), refused: []), engine: engine,
            store: bench.serving, logger: Bench.logger)
        #expect(try await worker.step(watermarks: bench.watermarks()) == nil)
        try await bench.ingestAll()
        #expect(try await worker.step(watermarks: bench.watermarks())?.asOf == base)
        #expect(try bench.rows(Self.totals) == [["1", "5", "5"]])
    }

    @Test("projections at different paces share one replica: every staged change is read once")
    func sharedReplica() async throws {
        let bench = try await Bench()
        let store = InterceptingStore(bench.serving)
        bench.store = store
        try await bench.openProjections([Bench.shipped("orders_latest"), Bench.shipped(Self.kpi)])
        for id in 1...12 {
            try bench.write(Self.paidOrder(id).joined(separator: ";"))
            try await bench.ingestAll()
            #expect(try await bench.project("orders_latest") != nil)
            if id % 4 == 0 { #expect(try await bench.project(Self.kpi) != nil) }
        }
        let (fast, slow) = (try bench.table("orders_latest", key: 1), try bench.table(Self.kpi, key: 2))
        #expect(fast.asOf == slow.asOf)
        #expect(fast.rows.count == 12)
        #expect(try bench.rows(Self.totals) == [["12", "60", "60"]])
        // Orders and customers went in 12 times, payments 3 times, in windows that follow one another.
        let reads = store.stagedReads.withLock { $0 }
        #expect(reads.count == 12 + 12 + 3)
        #expect(Set(reads.map(\.after)).count == 12)
    }

    @Test("readers never see a state between two LSNs, through commits and rebuilds")
    func readers() async throws {
        let bench = try await Bench()
        try bench.write(Self.customer)
        let isDone = Mutex(false)
        let seen = Mutex<(reads: Int, states: Set<String>, wrong: [String])>((0, [], []))
        let path = bench.servingPath

        try await bench.running([Bench.shipped(Self.kpi), Bench.shipped("orders_latest")]) {
            try await eventually("both are built") {
                try bench.rows("SELECT 1 FROM ctl_projection_metadata").count == 2
            }
            let reader = Thread {
                var configuration = GRDB.Configuration()
                configuration.readonly = true
                configuration.busyMode = .timeout(20)
                do {
                    let queue = try DatabaseQueue(path: path, configuration: configuration)
                    // Orders are only added, so a reader that goes by LSNs never sees their number fall.
                    var last = (kpi: 0, latest: 0)
                    while !isDone.withLock({ $0 }) {
                        // One statement each time, as a dashboard has it: no transaction of the reader's helps.
                        let sums = try queue.inDatabase { try Bench.rows($0, Self.totals) }.first ?? []
                        let latest =
                            try queue.inDatabase {
                                try Bench.rows(
                                    $0,
                                    "SELECT count(*) FROM proj_orders_latest")
                            }.first ?? []
                        seen.withLock { seen in
                            seen.reads += 1
                            seen.states.insert("\(sums)")
                            // Every transaction writes two paid orders, 5.00 each.
                            let count = Int(sums[0] ?? "") ?? -1
                            if sums[1] != sums[2] || count % 2 != 0 || sums[1] != "\(count * 5)" {
                                seen.wrong.append("totals \(sums)")
                            }
                            let rows = Int(latest[0] ?? "") ?? -1
                            if rows % 2 != 0 { seen.wrong.append("latest \(latest)") }
                            if count < last.kpi || rows < last.latest {
                                seen.wrong.append("from \(last) to \(count), \(rows)")
                            }
                            last = (count, rows)
                        }
                    }
                } catch {
                    seen.withLock { $0.wrong.append("\(error)") }
                }
                isDone.withLock { $0 = true }
            }
            reader.start()
            for id in 1...40 {
                try bench.write((Self.paidOrder(2 * id) + Self.paidOrder(2 * id + 1)).joined(separator: ";"))
                // A commit for each, so that there are many moments to be caught between two states.
                try await eventually("the orders arrive") { try bench.rows(Self.totals).first?[0] == "\(2 * id)" }
                if id % 20 == 0 {
                    let read = seen.withLock { $0.reads }
                    try await bench.serving.requestRebuild(projection: Self.kpi)
                    try await bench.serving.requestRebuild(projection: "orders_latest")
                    try await eventually("the reader goes on") {
                        seen.withLock { $0.reads > read + 5 || !$0.wrong.isEmpty }
                    }
                }
            }
            try await eventually("all orders arrive") {
                let totals = try bench.rows(Self.totals)
                return totals == [["80", "400", "400"]]
            }
            isDone.withLock { $0 = true }
        }
        let (reads, states, wrong) = seen.withLock { ($0.reads, $0.states.count, $0.wrong) }
        #expect(wrong.isEmpty, "\(wrong.prefix(3))")
        #expect(reads > 10)
        #expect(states > 1)
    }

    // MARK: A second writer

    @Test("an ingest from a watermark that somebody else has moved writes nothing and says so")
    func conflictingIngest() async throws {
        let bench = try await Bench()
        try bench.write(Self.customer)
        let bounds = try await bench.source.bounds()
        let before = try await bench.watermark("customers")
        let capture = try #require(bench.captures.first { $0.table == "customers" })
        let ingestor = bench.ingestor(capture)
        try await bench.ingest("customers")
        let staged = try bench.rows("SELECT count(*) FROM stg_cdc_customers")
        let error = await #expect(throws: TidemarkError.self) { try await ingestor.step(after: before, bounds: bounds) }
        guard case .conflict = error else {
            Issue.record("not a conflict: \(String(describing: error))")
            return
        }
        #expect(try bench.rows("SELECT count(*) FROM stg_cdc_customers") == staged)
    }

    @Test("a commit or a build from a checkpoint that somebody else has moved writes nothing and says so")
    func conflictingProjection() async throws {
        let bench = try await Bench()
        let name = "orders_latest"
        try await bench.openProjections([Bench.shipped(name)])
        try bench.write(Self.paidOrder(1).joined(separator: ";"))
        try await bench.ingestAll()
        try await bench.project(name)
        try bench.write(Self.paidOrder(2).joined(separator: ";"))
        try await bench.ingestAll()

        // Another pipeline does the same step, just before this one's reaches the database.
        let other = try EmbeddedServing(path: bench.servingPath)
        let happened = Mutex(0)
        bench.store = InterceptingStore(
            bench.serving,
            beforeCommit: { commit, changes in
                happened.withLock { $0 += 1 }
                _ = try await other.commit(commit, changes: ListReader(changes))
            },
            beforeBuild: { build in
                happened.withLock { $0 += 1 }
                try await other.execute(script: "UPDATE ctl_projection_metadata SET built_at = '2000-01-01 00:00:00'")
            })
        try await bench.openProjections([Bench.shipped(name)])
        func expectConflict() async throws {
            let error = await #expect(throws: TidemarkError.self) { try await bench.project(name) }
            guard case .conflict = error else {
                Issue.record("not a conflict: \(String(describing: error))")
                return
            }
        }
        try await expectConflict()
        let after = try bench.table(name, key: 1)
        #expect(after.rows.count == 2)
        try await other.requestRebuild(projection: name)
        try await expectConflict()
        #expect(try bench.table(name, key: 1).rows == after.rows)
        #expect(happened.withLock { $0 } == 2)
    }

    @Test("a pipeline whose watermark somebody else moved ends with a conflict")
    func conflictEndsPipeline() async throws {
        let bench = try await Bench()
        let pipeline = bench.pipeline([])
        let run = Task { try await pipeline.run() }
        try bench.write(Self.customer)
        try await eventually("the row is staged") { try bench.rows("SELECT 1 FROM stg_cdc_customers").count == 1 }
        try await bench.serving.execute(
            script: "UPDATE ctl_ingestion_watermarks SET last_ingested_lsn = X'00000000000000000900'")
        try bench.write("UPDATE customers SET segment = 'B'")
        let error = await #expect(throws: TidemarkError.self) { try await ends("the pipeline") { try await run.value } }
        pipeline.stop()
        guard case .conflict = error else {
            Issue.record("not a conflict: \(String(describing: error))")
            return
        }
        #expect(try bench.rows("SELECT count(*) FROM stg_cdc_customers") == [["1"]])
    }
}
