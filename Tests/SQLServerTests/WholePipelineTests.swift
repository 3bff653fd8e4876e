import ContractTests
import Foundation
import Logging
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
                try await body(source, serving, state)
            }
        }
    }

    @Test("keeps its promises", arguments: [UInt64(1), 2])
    func oracle(seed: UInt64) async throws {
        try await withDatabases { source, serving, state in
            try await PipelineContract.check(
                source: source, serving: serving, definitions: Self.definitions(Self.all), state: state, seed: seed,
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
                source: source, serving: serving, definitions: Self.definitions(Self.all), state: state, seed: seed,
                length: .init(rounds: 2, transactionsPerRound: 12), older: older)
            #expect(try serving.count("dbo.stg_cdc_orders WHERE op = 2") > 0)
        }
    }

    @Test("keeps them when the process is killed again and again")
    func killed() async throws {
        try await withDatabases { source, serving, _ in
            let runner = try ProcessRunner(source: source.database.dsn, serving: serving.dsn)
            try await PipelineContract.check(
                source: source, serving: serving, definitions: Self.definitions(Self.shipped),
                state: URL(filePath: runner.place.file("data/state")), seed: .random(in: 1...999_999),
                length: .init(rounds: 6, transactionsPerRound: 8), runner: runner)
            let verified = try await runner.place.run("verify")
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
                source: far, serving: distant, definitions: Self.definitions(Self.all), state: state,
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
}
