import ContractTests
import DuckDBEngine
import Embedded
import Foundation
import GRDB
import Logging
import Testing
import Tidemark

@Suite("Contract of a compute engine")
struct ContractTests {
    @Test("DuckDB keeps the contract of a compute engine", arguments: ComputeEngineContract.clauses)
    func engine(clause: ComputeEngineContract.Clause) async throws {
        let fixture = try await DuckDBFixture()
        defer { fixture.remove() }
        try await clause.check(fixture)
    }
}

/// The sample shop and a serving database, both on SQLite, in a directory of their own.
private struct DuckDBFixture: EngineFixture {
    private let directory: URL
    private let serving: EmbeddedServing
    let shop: any SourceFixture
    var store: any ServingStore { serving }

    init() async throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "tidemark-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let tables = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "sql/sqlite/source/001_tables.sql")
        let source = try EmbeddedSource(path: directory.appending(path: "source.db").path)
        try await source.execute(script: String(contentsOf: tables, encoding: .utf8))
        try await source.enableCDC()
        shop = Shop(
            embedded: source, plain: try DatabaseQueue(path: directory.appending(path: "source.db").path))
        serving = try EmbeddedServing(path: directory.appending(path: "serving.db").path)
        try await serving.bootstrap()
    }

    func remove() { try? FileManager.default.removeItem(at: directory) }

    func engine(captures: [Capture], watermarks: [String: Watermark]) async throws -> any ComputeEngine {
        try await DuckDBComputeEngine(
            .init(memoryLimit: "200MB"), captures: captures, store: serving, watermarks: watermarks, epoch: 0,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }
}

private struct Shop: SourceFixture {
    let embedded: EmbeddedSource
    let plain: DatabaseQueue
    var source: any ChangeSource { embedded }

    func transaction(_ statements: [String]) async throws { try await run(statements, end: .commit) }
    func rolledBack(_ statements: [String]) async throws { try await run(statements, end: .rollback) }

    private func run(_ statements: [String], end: Database.TransactionCompletion) async throws {
        try await plain.writeWithoutTransaction { db in
            try db.inTransaction {
                for statement in statements { try db.execute(sql: statement) }
                return end
            }
        }
    }

    func literal(_ text: String) -> String { "'" + text.replacing("'", with: "''") + "'" }
}
