import ContractTests
import Foundation
import Logging
import ODBC
import Testing
import Tidemark

@testable import SQLServer

/// A source database on the test server, and a plain connection to it, as another program has one.
struct SQLServerSourceFixture: SourceFixture {
    let database: TestDatabase
    let sqlServer: SQLServerSource
    let plain: SQLServerDatabase
    let standIn: SourceStandIn
    let log: LogLines

    var source: any ChangeSource { sqlServer }

    /// Runs `body` with a database of its own.
    ///
    /// - Parameters:
    ///   - tables: `CREATE TABLE` statements and their keys, by name.
    ///   - first: statements run before the tables are created.
    ///   - before: statements run before capture is enabled on the tables.
    ///   - excluded: as `SQLServerSource.Options.excludedColumns`.
    static func with(
        _ tables: [(name: String, sql: String, key: [String])], excluded: Set<String> = [],
        first: [String] = [], before: [String] = [], _ body: (SQLServerSourceFixture) async throws -> Void
    ) async throws {
        let server = try #require(TestServer.source)
        try await server.withDatabase(prefix: "tm_src_") { database in
            let plain = try database.open()
            let log = LogLines()
            let source = SQLServerSource(
                try database.open(role: "source"), options: .init(excludedColumns: excluded, logger: log.logger))
            let standIn = SourceStandIn(database: database, connection: plain)
            let fixture = SQLServerSourceFixture(
                database: database, sqlServer: source, plain: plain, standIn: standIn, log: log)
            try await standIn.enable()
            for statement in first { try await fixture.execute(statement) }
            for table in tables { try await fixture.execute(table.sql) }
            for statement in before { try await fixture.execute(statement) }
            for table in tables { try await standIn.enable(table.name, key: table.key) }
            try await body(fixture)
        }
    }

    /// With the sample tables.
    ///
    /// - Parameter before: statements run before capture is enabled on them.
    static func withShop(
        before: [String] = [], _ body: (SQLServerSourceFixture) async throws -> Void
    ) async throws {
        try await with(
            [
                (
                    "customers",
                    """
                    CREATE TABLE dbo.customers (customer_id bigint NOT NULL PRIMARY KEY, segment nvarchar(50) NULL,
                        is_active bit NOT NULL, updated_at datetime2(3) NOT NULL)
                    """, ["customer_id"]
                ),
                (
                    "orders",
                    """
                    CREATE TABLE dbo.orders (order_id bigint NOT NULL PRIMARY KEY, customer_id bigint NULL,
                        amount decimal(18, 2) NULL, status nvarchar(20) NULL, created_at datetime2(3) NULL,
                        updated_at datetime2(3) NOT NULL)
                    """, ["order_id"]
                ),
                (
                    "payments",
                    """
                    CREATE TABLE dbo.payments (payment_id bigint NOT NULL PRIMARY KEY, order_id bigint NULL,
                        paid_amount decimal(18, 2) NULL, paid_at datetime2(3) NULL)
                    """, ["payment_id"]
                ),
            ], before: before, body)
    }

    func execute(_ sql: String) async throws {
        try await plain.run { connection in _ = try connection.execute(sql) }
    }

    func transaction(_ statements: [String]) async throws {
        try await plain.transaction { connection in
            for statement in statements { _ = try connection.execute(statement) }
        }
        try await standIn.harvest()
    }

    func rolledBack(_ statements: [String]) async throws {
        struct Rollback: Error {}
        await #expect(throws: Rollback.self) {
            try await plain.transaction { connection in
                for statement in statements { _ = try connection.execute(statement) }
                throw Rollback()
            }
        }
        try await standIn.harvest()
    }

    func literal(_ text: String) -> String { SQLServer.literal(text) }

    func capture(_ table: String) async throws -> Capture {
        try #require(try await source.captures().first { $0.table == table })
    }

    /// All changes of a table up to now.
    func changes(_ table: String, after: LSN = .zero, blockRows: Int = 100) async throws -> [ReadableChange] {
        let window = LSNWindow(after: after, through: try await source.bounds().maxLSN)
        return try await source.changes(of: capture(table), in: window, blockRows: blockRows).blocks()
            .flatMap(\.readable)
    }

    /// The rows of a table as they stand, by their first column.
    func rows(_ table: String) async throws -> [[String?]] {
        try await source.rows(of: capture(table), blockRows: 100).blocks().flatMap(\.readable)
            .sorted { ($0[0] ?? "") < ($1[0] ?? "") }
    }
}

/// What a logger was told, with the errors it was given.
final class LogLines: Sendable {
    private let lines = Lines()

    var logger: Logger {
        let lines = lines
        return Logger(label: "test") { _ in Handler(lines: lines) }
    }

    var warnings: [String] { lines.texts }

    func forget() { lines.forget() }

    private final class Lines: @unchecked Sendable {
        private let lock = NSLock()
        private var kept: [String] = []
        var texts: [String] { lock.withLock { kept } }
        func append(_ text: String) { lock.withLock { kept.append(text) } }
        func forget() { lock.withLock { kept = [] } }
    }

    private struct Handler: LogHandler {
        let lines: Lines
        var metadata: Logger.Metadata = [:]
        var logLevel: Logger.Level = .warning

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let error = event.metadata?["error"].map { ": \($0)" } ?? ""
            lines.append("\(event.message)\(error)")
        }
    }
}

@Suite("SQL Server as a source", .serialized, .enabled(if: TestServer.source != nil, TestServer.sourceIsMissing))
struct SQLServerSourceContract {
    @Test("SQL Server keeps the contract of a change source", arguments: ChangeSourceContract.clauses)
    func contract(clause: ChangeSourceContract.Clause) async throws {
        try await SQLServerSourceFixture.withShop { try await clause.check($0) }
    }
}
