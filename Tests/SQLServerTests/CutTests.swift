import ContractTests
import DuckDBEngine
import Foundation
import Logging
import ODBC
import Synchronization
import TestSupport
import Testing

@testable import SQLServer
@testable import Tidemark

/// The work of a pipeline from an empty serving database to a projection in step, cut off from a server at requests
/// drawn from every phase of it, before the server has seen them and after.
///
/// It is done step by step, as the pipeline's loops do it and with their retries, so that the phase of each request is
/// known.
@Suite(
    "A pipeline cut off in every phase", .serialized,
    .enabled(if: TestServer.source != nil, TestServer.sourceIsMissing),
    .enabled(if: TestServer.serving != nil, TestServer.servingIsMissing),
    .enabled(if: TestServer.source?.address != nil, "the DSN does not name the source's server by an IPv4 address"),
    .enabled(if: TestServer.serving?.address != nil, "nor the serving one's"))
struct CutTests {
    fileprivate enum Phase: String, CaseIterable {
        case open, prepare
        case initialRead = "initial read"
        case ingest, build, commit
    }

    /// Connections cut in each phase of a journey at most.
    private static let cutsPerPhase = 4
    private static let journeys = 2

    @Test("has every change once, and the projection right, wherever that was")
    func everywhere() async throws {
        let seed =
            ProcessInfo.processInfo.environment["TIDEMARK_TEST_SEED"].flatMap { UInt64($0) } ?? .random(in: 1...999_999)
        try await SQLServerSourceFixture.withShop(before: Journey.rowsBefore) { source in
            try await SQLServerServingFixture.run { serving in
                let journey = try Journey(source: source, serving: serving)
                let sizes = try await journey.run(Plan()).requests
                #expect(sizes.values.reduce(0, +) > 60, "\(sizes)")
                var random = SplitMix64(state: seed)
                var cuts: [Phase: [CuttingLine.Loss: Int]] = [:]
                for number in 0..<Self.journeys {
                    var plan = Plan()
                    for phase in Phase.allCases {
                        let size = try #require(sizes[phase], "no request of phase \(phase)")
                        plan.cuts[phase] = (0..<Self.cutsPerPhase).map { place in
                            // The first one is sure to come: it is early enough, and either loss has its turn.
                            let skipped = Int.random(in: 0..<(place == 0 ? max(1, size / 2) : size), using: &random)
                            let losses = CuttingLine.Loss.allCases
                            return (skipped, losses[(number + place) % losses.count])
                        }
                    }
                    do {
                        for (phase, losses) in try await journey.run(plan).made {
                            for loss in losses { cuts[phase, default: [:]][loss, default: 0] += 1 }
                        }
                    } catch {
                        Issue.record("seed \(seed), journey \(number): \(error)")
                    }
                }
                for phase in Phase.allCases {
                    #expect(cuts[phase]?.count == CuttingLine.Loss.allCases.count, "seed \(seed), \(phase): \(cuts)")
                }
            }
        }
    }

    /// Where a journey is cut.
    fileprivate struct Plan {
        /// By phase: how many requests pass before each cut, counted from the phase's begin or the cut before, and
        /// what is lost.
        var cuts: [Phase: [(skipped: Int, loss: CuttingLine.Loss)]] = [:]
        var phase = Phase.open
        /// Requests in each phase so far.
        private(set) var requests: [Phase: Int] = [:]
        private(set) var made: [Phase: [CuttingLine.Loss]] = [:]

        mutating func loss() -> CuttingLine.Loss? {
            requests[phase, default: 0] += 1
            guard let next = cuts[phase]?.first else { return nil }
            guard next.skipped == 0 else {
                cuts[phase]?[0].skipped -= 1
                return nil
            }
            cuts[phase]?.removeFirst()
            made[phase, default: []].append(next.loss)
            return next.loss
        }
    }
}

/// One way from an empty serving database to a projection in step, and back.
private final class Journey: Sendable {
    let line = CuttingLine()
    private let source: SQLServerSourceFixture
    private let serving: SQLServerServingFixture
    private let ports: (source: Int, serving: Int)
    private let definition: ProjectionDefinition
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    private let count = Mutex(0)

    /// Older than change data capture.
    static let rowsBefore = [
        "INSERT INTO dbo.customers VALUES (1, N'A', 1, '2024-03-01 00:00:00'), (2, NULL, 0, '2024-03-01 00:00:01')",
        """
        INSERT INTO dbo.orders VALUES (1, 1, 10.50, N'NEW', '2024-03-01 00:01:00', '2024-03-01 00:01:00'),
            (2, 2, NULL, N'NEW', '2024-03-01 00:02:00', '2024-03-01 00:02:00')
        """,
    ]

    init(source: SQLServerSourceFixture, serving: SQLServerServingFixture) throws {
        let addresses = try (#require(TestServer.source?.address), #require(TestServer.serving?.address))
        ports = try (
            line.open(to: addresses.0.host, port: addresses.0.port),
            line.open(to: addresses.1.host, port: addresses.1.port)
        )
        self.source = source
        self.serving = serving
        definition = try ProjectionDefinition.load(
            directory: URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .deletingLastPathComponent().appending(path: "projections/orders_latest").path(percentEncoded: false))
    }

    /// Tries a step again while it fails in a way that passes, as the pipeline does, without its pauses.
    private func again<Result>(_ step: () async throws -> Result) async throws -> Result {
        var attempts = 0
        while true {
            do {
                return try await step()
            } catch let error as TidemarkError where error.isTransient && attempts < 20 {
                attempts += 1
            }
        }
    }

    /// Changes to old and new rows, made by an application that comes by another way.
    private func change() async throws {
        let number = count.withLock { count in
            count += 1
            return count
        }
        try await source.transaction([
            "UPDATE dbo.customers SET segment = N'\(number)' WHERE customer_id = 1",
            """
            INSERT INTO dbo.orders
            VALUES (\(100 + number), \(1 + number % 3), \(number).25, N'NEW', '2024-03-02 00:00:00', '2024-03-02 00:00:00')
            """,
            "UPDATE dbo.orders SET amount = \(number), order_id = \(2_000 + number) WHERE order_id = \(99 + number)",
            "DELETE FROM dbo.orders WHERE order_id = \(1_997 + number)",
        ])
    }

    /// - Returns: the plan with what came of it.
    func run(_ plan: CutTests.Plan) async throws -> CutTests.Plan {
        try forget()
        let plan = Shared(plan)
        line.lose { plan.value.withLock { $0.loss() } }
        func enter(_ phase: CutTests.Phase) { plan.value.withLock { $0.phase = phase } }

        let far = LateSource(
            SQLServerSource(
                try SQLServerDatabase(
                    source.database.server.target(database: source.database.name, through: ports.source), role: "source"
                ),
                options: .init(logger: logger)))
        let store = try serving.store(through: ports.serving)
        let captures = try await again { try await far.captures() }.filter { $0.table != "payments" }
        var watermarks = try await again { try await store.watermarks(source: "source1") }

        enter(.prepare)
        for capture in captures { try await again { try await store.prepareStaging(for: capture, source: "source1") } }
        watermarks = try await again { try await store.watermarks(source: "source1") }

        enter(.initialRead)
        let ingestors = captures.map { capture in
            Ingestor(
                capture: capture, sourceName: "source1", source: far, store: store, maxRows: 10_000, logger: logger)
        }
        var bounds = try await again { try await far.bounds() }
        for ingestor in ingestors {
            let step = try await again { try await ingestor.step(after: .zero, bounds: bounds) }
            try expect(step == nil, "nothing is published before the log has passed the read")
        }
        try await change()
        far.catchUp()

        func ingest() async throws {
            enter(.ingest)
            bounds = try await again { try await far.bounds() }
            for ingestor in ingestors {
                let instance = ingestor.capture.instance
                while var watermark = watermarks[instance],
                    let step = try await again({
                        try await ingestor.step(after: watermark, bounds: bounds)
                    })
                {
                    watermark.lastIngestedLSN = step.watermark
                    watermark.lastCommitTime = step.commitTime
                    watermark.completeFrom = step.completeFrom ?? watermark.completeFrom
                    watermarks[instance] = watermark
                }
            }
        }
        try await ingest()

        enter(.build)
        let engine = try await again { [watermarks] in
            try await DuckDBComputeEngine(
                .init(memoryLimit: "100MB"), captures: captures, store: store, watermarks: watermarks, epoch: 0,
                logger: logger)
        }
        let worker = ProjectionWorker(
            projection: try await engine.prepare(definition, refused: []), engine: engine, store: store, logger: logger)
        try await again { [watermarks] in try await worker.retain(watermarks: watermarks) }
        func project(_ phase: CutTests.Phase) async throws {
            enter(phase)
            // Until there is nothing left to do: a step whose answer was lost has nothing to say.
            while try await again({ [watermarks] in try await worker.step(watermarks: watermarks) }) != nil {}
            try requireRight(asOf: bounds.maxLSN)
        }
        try await project(.build)
        try await change()
        try await ingest()
        try await project(.commit)
        return plan.value.withLock { $0 }
    }

    private final class Shared: Sendable {
        let value: Mutex<CutTests.Plan>
        init(_ plan: CutTests.Plan) { value = Mutex(plan) }
    }

    // MARK: The databases, by another way

    private func forget() throws {
        let connection = try serving.connect()
        for table in ["stg_cdc_customers", "stg_cdc_orders", "proj_orders_latest", "ctl_build_orders_latest"] {
            try connection.execute("DROP TABLE IF EXISTS dbo.\(table)")
        }
        for table in ["ingestion_watermarks", "projection_checkpoints", "projection_metadata"] {
            try connection.execute("DELETE FROM dbo.ctl_\(table)")
        }
    }

    /// The projection is its query over the source, staging has each change once, and the control tables say so.
    private func requireRight(asOf lsn: LSN) throws {
        let near = try Environment().connect(
            source.database.server.target(database: source.database.name), queryTimeout: .seconds(60))
        let expected = try near.query(
            """
            SELECT o.order_id, o.customer_id, c.segment, o.amount, o.status FROM dbo.orders AS o
            LEFT JOIN dbo.customers AS c ON c.customer_id = o.customer_id ORDER BY o.order_id
            """
        ).rows()
        let shown = try serving.rows(
            "SELECT order_id, customer_id, segment, amount, status FROM dbo.proj_orders_latest ORDER BY order_id")
        try expect(shown == expected, "the projection shows \(shown) instead of \(expected)")
        let state = try serving.rows("SELECT status, as_of_lsn FROM dbo.ctl_projection_metadata")
        try expect(state == [[.string("OK"), .binary(lsn.bytes)]], "the projection's state is \(state)")
        for table in ["customers", "orders"] {
            // The rows of the initial read have the LSN the log stood at when it began.
            let begun = try #require(
                try serving.rows("SELECT TOP (1) lsn FROM dbo.stg_cdc_\(table) ORDER BY lsn").first?[0])
            let changes = try near.query(
                """
                SELECT CAST(COUNT(*) AS bigint) FROM cdc.dbo_\(table)_CT
                WHERE [__$operation] <> 3 AND [__$start_lsn] > CAST(? AS varbinary(10))
                """, [begun]
            ).rows()
            let staged = try serving.connect().query(
                "SELECT CAST(COUNT(*) AS bigint) FROM dbo.stg_cdc_\(table) WHERE lsn > CAST(? AS varbinary(10))",
                [begun]
            ).rows()
            try expect(staged[0][0] == changes[0][0], "\(staged) changes of \(table) are staged instead of \(changes)")
            let (all, counted) = try (
                serving.count("dbo.stg_cdc_\(table)"),
                serving.rows(
                    "SELECT rows_ingested FROM dbo.ctl_ingestion_watermarks WHERE capture_instance = N'dbo_\(table)'")
            )
            try expect(
                counted == [[.int(Int64(all))]], "\(counted) rows of \(table) were counted, and \(all) are staged")
        }
    }

    private func expect(_ condition: Bool, _ otherwise: @autoclosure () -> String) throws {
        struct Wrong: Error, CustomStringConvertible { let description: String }
        if !condition { throw Wrong(description: otherwise()) }
    }
}

/// A source that tells at once whether the log has passed a mark, and that its changes tell not of every row, where the
/// real one waits for its capture job.
private final class LateSource: ForwardingSource {
    let base: any ChangeSource
    private let isCaughtUp = Mutex(false)

    init(_ base: SQLServerSource) { self.base = base }

    func catchUp() { isCaughtUp.withLock { $0 = true } }

    func isComplete(_ capture: Capture) async throws -> Bool { false }
    func hasPassed(_ mark: SourceMark, bounds: SourceBounds) async throws -> Bool {
        isCaughtUp.withLock { $0 } && bounds.maxLSN > mark.lsn
    }
}
