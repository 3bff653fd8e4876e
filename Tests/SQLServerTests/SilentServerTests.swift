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

/// A running pipeline, one of whose servers keeps its connections open and answers nothing any more.
@Suite(
    "A pipeline whose server falls silent", .timeLimit(.minutes(10)),
    .enabled(if: TestServer.source != nil, TestServer.sourceIsMissing),
    .enabled(if: TestServer.serving != nil, TestServer.servingIsMissing),
    .enabled(if: TestServer.source?.address != nil, "the DSN does not name the source's server by an IPv4 address"),
    .enabled(if: TestServer.serving?.address != nil, "nor the serving one's"))
struct SilentServerTests {
    /// The request that is the first one without an answer.
    enum Moment: String, CaseIterable, Sendable {
        case poll, read, ingest, commit
        case end = "the end of a transaction"

        var isOfSource: Bool { self == .poll || self == .read }

        func recognises(_ request: ArraySlice<UInt8>) -> Bool {
            switch self {
            case .poll: Self.holds("cdc.change_tables AS t ON 1 = 1", request)
            case .read: Self.holds("fn_cdc_get_all_changes_dbo_orders", request)
            case .ingest: Self.holds("UPDATE [dbo].[ctl_ingestion_watermarks]", request)
            case .commit: Self.holds("UPDATE [dbo].[ctl_projection_checkpoints]", request)
            // COMMIT is a request of the protocol's transaction manager, no text: MS-TDS 2.2.6.9.
            case .end: request.first == 14 && request.count > 12 && Self.kind(Array(request)) == 7
            }
        }

        private static func kind(_ request: [UInt8]) -> UInt8? {
            let headers = Int(request[8]) | Int(request[9]) << 8
            return request.count > 8 + headers ? request[8 + headers] : nil
        }

        private static func holds(_ text: String, _ request: ArraySlice<UInt8>) -> Bool {
            let bytes = Array(text.utf16).flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }
            return Data(request).range(of: Data(bytes)) != nil
        }
    }

    @Test(
        "tells so, and goes on when the server answers again, whatever it was asked last",
        .enabled("the servers take no connection without TLS, in which a relay sees no request") {
            let isSourcePlain = await TestServer.source?.isPlain() ?? false
            let isServingPlain = await TestServer.serving?.isPlain() ?? false
            return isSourcePlain && isServingPlain
        })
    func silence() async throws {
        try await SQLServerSourceFixture.withShop { source in
            try await SQLServerServingFixture.run { serving in try await check(source, serving) }
        }
    }

    /// Several statements in a row may wait in vain, and pauses come between.
    private let limit: Duration = .seconds(120)

    private func check(_ source: SQLServerSourceFixture, _ serving: SQLServerServingFixture) async throws {
        let addresses = try (#require(TestServer.source?.address), #require(TestServer.serving?.address))
        let lines = try (
            source: Proxy(to: addresses.0.host, port: addresses.0.port),
            serving: Proxy(to: addresses.1.host, port: addresses.1.port)
        )
        var timeouts = StatementTimeouts()
        // Longer than a statement takes on a server that is busy with other tests.
        (timeouts.small, timeouts.data) = (.seconds(12), .seconds(12))
        let log = LogLines()
        let far = SQLServerSource(
            try SQLServerDatabase(
                source.database.server.plain.target(database: source.database.name, through: lines.source.port),
                role: "source", timeouts: timeouts), options: .init(logger: log.logger))
        let store = SQLServerServing(
            try SQLServerDatabase(
                ServingServer.target(serving.name, through: lines.serving.port, isPlain: true), role: "serving",
                timeouts: timeouts),
            scripts: [])
        var options = Pipeline.Options()
        (options.pollInterval, options.projectionInterval) = (.milliseconds(50), .milliseconds(50))
        let definition = try ProjectionDefinition.load(
            directory: URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .deletingLastPathComponent().appending(path: "projections/orders_latest").path(percentEncoded: false))
        let pipeline = Pipeline(
            source: far, store: store, engine: DuckDBComputeEngine.factory(.init(), store: store, logger: log.logger),
            definitions: [definition], options: options, logger: log.logger)
        let running = Task { try await pipeline.run() }
        var place = "the start"
        do {
            var count = 1
            try await write(count, to: source)
            try await showsOrders(count, of: serving)
            for moment in Moment.allCases {
                place = moment.rawValue
                let line = moment.isOfSource ? lines.source : lines.serving
                let before = line.swallowed
                log.forget()
                line.hush { moment.recognises($0) }
                count += 1
                try await write(count, to: source)
                try await eventually("an answer is kept back", within: limit) { line.swallowed > before }
                try await eventually("the pipeline tells of it", within: limit) {
                    log.warnings.contains { $0.contains("answer") }
                }
                line.speak()
                count += 1
                try await write(count, to: source)
                try await showsOrders(count, of: serving)
            }
        } catch {
            Issue.record("\(place): \(error); \(log.warnings)")
        }
        pipeline.stop()
        try await running.value
    }

    private func write(_ number: Int, to source: SQLServerSourceFixture) async throws {
        try await source.transaction([
            "INSERT INTO dbo.customers VALUES (\(number), N'A', 1, '2024-03-01 00:00:00')",
            "INSERT INTO dbo.orders VALUES (\(number), \(number), 1.25, N'NEW', '2024-03-01 00:00:00', '2024-03-01 00:00:00')",
        ])
    }

    private func showsOrders(_ count: Int, of serving: SQLServerServingFixture) async throws {
        try await eventually("the projection shows \(count) orders", within: limit) {
            guard try serving.rows("SELECT 1 WHERE OBJECT_ID(N'dbo.proj_orders_latest') IS NOT NULL").count == 1 else {
                return false
            }
            let shown = try serving.rows("SELECT order_id, segment FROM dbo.proj_orders_latest ORDER BY order_id")
            return shown == (1...count).map { [.int(Int64($0)), .string("A")] }
        }
    }
}
