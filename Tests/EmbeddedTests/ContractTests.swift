import ContractTests
import DuckDBEngine
import Foundation
import Testing
import Tidemark

@Suite("Contracts")
struct Contracts {
    @Test("SQLite keeps the contract of a change source", arguments: ChangeSourceContract.clauses)
    func source(clause: ChangeSourceContract.Clause) async throws {
        try await clause.check(SQLiteSource.shop())
    }

    @Test("SQLite keeps the contract of a serving store", arguments: ServingStoreContract.clauses)
    func serving(clause: ServingStoreContract.Clause) async throws {
        try await clause.check(SQLiteServing())
    }

    private static let engines: PipelineContract.Engines = {
        DuckDBComputeEngine.factory(.init(directory: $0, memoryLimit: "200MB"), store: $1, logger: $2)
    }

    @Test("a whole pipeline on SQLite keeps its promises", arguments: [UInt64(1), 2])
    func pipeline(seed: UInt64) async throws {
        let directory = try TemporaryDirectory()
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let definitions = try [
            "projections/orders_kpi_by_minute_segment", "projections/orders_latest",
            "examples/projections/customer_lifetime_value",
        ].map { try ProjectionDefinition.load(directory: root.appending(path: $0).path(percentEncoded: false)) }
        try await PipelineContract.check(
            source: SQLiteSource.shop(), serving: SQLiteServing(), engines: Self.engines, definitions: definitions,
            state: URL(filePath: directory.file("state")), seed: seed,
            length: .init(rounds: 3, transactionsPerRound: 25))
    }
}
