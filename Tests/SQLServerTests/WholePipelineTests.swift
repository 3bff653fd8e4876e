import ContractTests
import Foundation
import Testing
import Tidemark

@testable import SQLServer

/// The whole pipeline with SQL Server at both ends.
@Suite(
    "The pipeline on SQL Server", .serialized,
    .enabled(if: TestServer.source != nil, TestServer.sourceIsMissing),
    .enabled(if: TestServer.serving != nil, TestServer.servingIsMissing))
struct WholePipelineTests {
    static func definitions() throws -> [ProjectionDefinition] {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        return try [
            "projections/orders_kpi_by_minute_segment", "projections/orders_latest",
            "examples/projections/customer_lifetime_value",
        ].map { try ProjectionDefinition.load(directory: root.appending(path: $0).path(percentEncoded: false)) }
    }

    @Test("keeps its promises", arguments: [UInt64(1), 2, 3])
    func oracle(seed: UInt64) async throws {
        try await SQLServerSourceFixture.withShop { source in
            try await SQLServerServingFixture.run { serving in
                let state = URL.temporaryDirectory.appending(path: "tidemark-\(UUID().uuidString)")
                defer { try? FileManager.default.removeItem(at: state) }
                try await PipelineContract.check(
                    source: source, serving: serving, definitions: Self.definitions(), state: state, seed: seed,
                    length: .init(rounds: 3, transactionsPerRound: 15))
            }
        }
    }
}
