import ContractTests
import DuckDBEngine
import Foundation
import Logging
import ODBC
import Synchronization
import TestSupport
import Testing
import Tidemark

@testable import SQLServer

/// The whole pipeline with SQL Server at both ends.
@Suite(
    "The pipeline on SQL Server", .serialized,
    .enabled(if: TestServer.source != nil, TestServer.sourceIsMissing),
    .enabled(if: TestServer.serving != nil, TestServer.servingIsMissing))
struct WholePipelineTests {
    private static func definitions(_ names: [String]) throws -> [ProjectionDefinition] {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        return try names.map {
            try ProjectionDefinition.load(directory: root.appending(path: $0).path(percentEncoded: false))
        }
    }

    private static let shipped = ["projections/orders_kpi_by_minute_segment", "projections/orders_latest"]
    private static let all = shipped + ["examples/projections/customer_lifetime_value"]

    private static let engines: PipelineContract.Engines = {
        DuckDBComputeEngine.factory(.init(directory: $0, memoryLimit: "200MB"), store: $1, logger: $2)
    }

    /// Runs `body` with both databases and a state directory.
    ///
    /// - Parameter before: statements run before capture is enabled.
    private func withDatabases(
        before: [String] = [],
        _ body: (SQLServerSourceFixture, SQLServerServingFixture, URL) async throws -> Void
    ) async throws {
        try await SQLServerSourceFixture.withShop(before: before) { source in
            try await SQLServerServingFixture.run { serving in
                let state = URL.temporaryDirectory.appending(path: "tidemark-\(UUID().uuidString)")
                defer { try? FileManager.default.removeItem(at: state) }
                // What is read at first waits for the log to pass it.
                try await source.whileWritten { try await body(source, serving, state) }
            }
        }
    }

    @Test("keeps its promises", arguments: [UInt64(1), 2])
    func oracle(seed: UInt64) async throws {
        try await withDatabases { source, serving, state in
            try await PipelineContract.check(
                source: source, serving: serving, engines: Self.engines, definitions: Self.definitions(Self.all),
                state: state, seed: seed,
                length: .init(rounds: 3, transactionsPerRound: 15))
        }
    }

    @Test("keeps them when the tables have rows older than change data capture")
    func olderRows() async throws {
        let seed = UInt64.random(in: 1...999_999)
        let older = 25
        let before = PipelineContract.statements(seed: seed, transactions: older) { SQLServer.literal($0) }
        try await withDatabases(before: before) { source, serving, state in
            try await PipelineContract.check(
                source: source, serving: serving, engines: Self.engines, definitions: Self.definitions(Self.all),
                state: state, seed: seed,
                length: .init(rounds: 2, transactionsPerRound: 12), older: older)
            #expect(try serving.count("dbo.stg_cdc_orders WHERE op = 2") > 0)
        }
    }

    @Test("keeps them when either database is taken away until the log says so, and comes back")
    func outage() async throws {
        try await withDatabases { source, serving, _ in
            let runner = try OutageRunner(source: source, serving: serving)
            try await PipelineContract.check(
                source: source, serving: serving, engines: Self.engines, definitions: Self.definitions(Self.shipped),
                state: URL(filePath: runner.place.file("unused")), seed: .random(in: 1...999_999),
                length: .init(rounds: 3, transactionsPerRound: 8), runner: runner)
            #expect(runner.outages == 2)
            let verified = try await runner.place.run("verify")
            #expect(verified.end == .exit(0), "\(verified.output)\(verified.errors)")
        }
    }

    @Test("keeps them when the process is killed again and again")
    func killed() async throws {
        try await withDatabases { source, serving, _ in
            let runner = try ProcessRunner(source: source.database.dsn, serving: serving.dsn)
            try await PipelineContract.check(
                source: source, serving: serving, engines: Self.engines, definitions: Self.definitions(Self.shipped),
                state: URL(filePath: runner.place.file("data/state")), seed: .random(in: 1...999_999),
                length: .init(rounds: 6, transactionsPerRound: 8), runner: runner)
            let verified = try await runner.place.run("verify")
            #expect(verified.end == .exit(0), "\(verified.output)\(verified.errors)")
        }
    }

    @Test("goes on after changes were purged before they were read, once it is told how")
    func gap() async throws {
        func orders(_ ids: ClosedRange<Int>) -> String {
            let rows = ids.map { "(\($0), 1, \($0).25, N'NEW', '2026-01-01T10:00:00', '2026-01-01T10:00:00')" }
            return "INSERT INTO dbo.orders VALUES \(rows.joined(separator: ", "))"
        }
        try await withDatabases { source, serving, _ in
            let place = try Workplace(
                environment: ["SOURCE_DSN": source.database.dsn.text, "SERVING_DSN": try serving.dsn.text])
            try await source.transaction([orders(1...6)])
            let first = try await place.startPipeline()
            func ids() throws -> [[Value]] {
                try serving.rows("SELECT order_id FROM dbo.proj_orders_latest WHERE order_id <= 9 ORDER BY order_id")
            }
            try await eventually("the projection is built") { (try? ids()) == [[1], [2], [3], [4], [5], [6]] }
            try await first.stop()

            try await source.transaction(["UPDATE dbo.orders SET amount = 0.5 WHERE order_id = 2"])
            try await source.transaction(["DELETE FROM dbo.orders WHERE order_id IN (3, 4)"])
            try await source.transaction([orders(7...9)])
            let end = try await source.source.bounds().maxLSN
            for table in ["customers", "orders", "payments"] { try await source.purge("dbo_\(table)", below: end) }

            let second = try await place.startPipeline()
            try await second.logs("capture dbo_orders has a gap")
            try await second.stop()
            #expect(try ids() == [[1], [2], [3], [4], [5], [6]])

            let third = try await place.startPipeline(environment: ["CDC_ON_GAP": "snapshot"])
            try await eventually("the projection goes on") {
                try ids() == [[1], [2], [5], [6], [7], [8], [9]]
            }
            try await third.stop()
            let verified = try await place.run("verify")
            #expect(verified.end == .exit(0), "\(verified.output)\(verified.errors)")
        }
    }

    @Test(
        "keeps them when connections are cut, and a server is gone for a while",
        .enabled(if: TestServer.source?.address != nil, "the DSN does not name the source's server by an IPv4 address"),
        .enabled(if: TestServer.serving?.address != nil, "nor the serving one's"))
    func network() async throws {
        try await withDatabases { source, serving, state in
            let addresses = try (#require(TestServer.source?.address), #require(TestServer.serving?.address))
            let lines = try (
                Proxy(to: addresses.0.host, port: addresses.0.port), Proxy(to: addresses.1.host, port: addresses.1.port)
            )
            let far = FarSource(
                near: source,
                source: SQLServerSource(
                    try SQLServerDatabase(
                        source.database.server.target(database: source.database.name, through: lines.0.port),
                        role: "source"), options: .init(logger: LogLines().logger)))
            let distant = FarServing(near: serving, port: lines.1.port)
            let cuts = Mutex(0)
            try await PipelineContract.check(
                source: far, serving: distant, engines: Self.engines, definitions: Self.definitions(Self.all),
                state: state,
                seed: .random(in: 1...999_999), length: .init(rounds: 2, transactionsPerRound: 25),
                disturb: {
                    let number = cuts.withLock { cuts in
                        cuts += 1
                        return cuts
                    }
                    let line = number % 2 == 0 ? lines.0 : lines.1
                    guard number % 3 == 0 else { return line.cut() }
                    line.down()
                    DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(700)) { line.up() }
                })
            #expect(cuts.withLock { $0 } > 0, "nothing was cut")
        }
    }
}

/// `tidemark run` as a process, killed with SIGKILL.
private final class ProcessRunner: PipelineContract.Runner {
    let place: Workplace
    private let running = Mutex<Workplace.Running?>(nil)

    init(source: SQLServerDSN, serving: SQLServerDSN) throws {
        place = try Workplace(environment: ["SOURCE_DSN": source.text, "SERVING_DSN": serving.text])
    }

    func start() async throws {
        let process = try place.start("run")
        running.withLock { $0 = process }
        // Not always so far as to work.
        if Bool.random() { try await process.logs("running") }
    }

    func stop(isLast: Bool) async throws {
        guard let process = running.withLock({ $0.take() }) else { return }
        guard !isLast else { return try await process.stop() }
        try await process.process.killAndWait()
    }
}

/// `tidemark run` as one process, one of whose databases is away between rounds until the log shows the error that is
/// recorded at the third failure.
///
/// The database is set offline, which ends its connections. Babelfish cannot; there a relay stands for it, which cuts
/// them and lets nobody through.
private final class OutageRunner: PipelineContract.Runner {
    let place: Workplace
    private let lines: (source: Proxy, serving: Proxy)?
    private let source: SQLServerSourceFixture
    private let serving: SQLServerServingFixture
    private let state = Mutex<(process: Workplace.Running?, outages: Int)>((nil, 0))

    var outages: Int { state.withLock { $0.outages } }

    init(source: SQLServerSourceFixture, serving: SQLServerServingFixture) throws {
        self.source = source
        self.serving = serving
        var dsns = (source: source.database.dsn, serving: try serving.dsn)
        if serving.isBabelfish {
            let addresses = try (#require(TestServer.source?.address), #require(TestServer.serving?.address))
            let lines = try (
                source: Proxy(to: addresses.0.host, port: addresses.0.port),
                serving: Proxy(to: addresses.1.host, port: addresses.1.port)
            )
            dsns.source = try #require(TestServer.source).dsn(
                database: source.database.name, through: lines.source.port)
            dsns.serving = try #require(TestServer.serving).dsn(database: serving.name, through: lines.serving.port)
            self.lines = lines
        } else {
            lines = nil
        }
        place = try Workplace(environment: ["SOURCE_DSN": dsns.source.text, "SERVING_DSN": dsns.serving.text])
    }

    func start() async throws {
        guard state.withLock({ $0.process == nil }) else { return }
        let process = try place.start("run")
        state.withLock { $0.process = process }
        try await process.logs("running")
    }

    func stop(isLast: Bool) async throws {
        guard let process = state.withLock({ $0.process }) else { return }
        guard !isLast else { return try await process.stop() }
        let number = state.withLock { state in
            state.outages += 1
            return state.outages
        }
        let isSource = number == 1
        try await take(away: true, isSource)
        // Login timeouts included, of which some drivers make use even when nobody is there.
        try await process.logs(isSource ? "the source does not answer" : "projection failed", within: .seconds(180))
        try await take(away: false, isSource)
    }

    private func take(away: Bool, _ isSource: Bool) async throws {
        if let lines {
            let line = isSource ? lines.source : lines.serving
            if away { line.down() } else { line.up() }
            return
        }
        let server = try #require(isSource ? TestServer.source : TestServer.serving)
        let name = isSource ? source.database.name : serving.name
        let master = try SQLServerDatabase(server.target(database: "master"), role: "test")
        let state = away ? "OFFLINE WITH ROLLBACK IMMEDIATE" : "ONLINE"
        try await master.run { connection in
            _ = try connection.execute("ALTER DATABASE \(quoted(name)) SET \(state)")
        }
        guard !away else { return }
        // The tests' own connections have gone with it.
        try await eventually("the database is back") {
            if isSource { return (try? await source.execute("SELECT 1")) != nil }
            return (try? await serving.serving.projections()) != nil
        }
    }
}

/// A source whose pipeline comes by way of a relay, while the application does not.
private struct FarSource: SourceFixture {
    let near: SQLServerSourceFixture
    let source: any ChangeSource

    func transaction(_ statements: [String]) async throws { try await near.transaction(statements) }
    func rolledBack(_ statements: [String]) async throws { try await near.rolledBack(statements) }
    func literal(_ text: String) -> String { near.literal(text) }
}

/// A serving database whose pipeline comes by way of a relay, while readers do not.
private struct FarServing: ServingFixture {
    let near: SQLServerServingFixture
    let port: Int

    var store: any ServingStore { near.store }
    var keepsNUL: Bool { near.keepsNUL }

    func another() async throws -> any ServingStore { try near.store(through: port) }
    func execute(_ sql: String) async throws { try near.execute(sql) }
    func indexedColumns(of table: String) async throws -> [String] { try near.indexedColumns(of: table) }
}
