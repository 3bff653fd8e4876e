import ContractTests
import Foundation
import ODBC
import Synchronization
import Testing
import Tidemark

@testable import SQLServer

/// The server the serving tests run on.
enum ServingServer {
    static let variable = "TIDEMARK_TEST_SERVING_DSN"
    static let dsn = ProcessInfo.processInfo.environment[variable]
    static let hint: Comment = "TIDEMARK_TEST_SERVING_DSN, the ODBC connection string of a T-SQL server, is not set"

    /// The connection string with other values for some keys.
    static func target(_ changes: [String: String]) -> ConnectionString {
        var parts = (dsn ?? "").split(separator: ";").map(String.init)
        for (key, value) in changes {
            parts.removeAll { $0.lowercased().hasPrefix(key.lowercased() + "=") }
            parts.append("\(key)=\(value)")
        }
        return ConnectionString(parts.joined(separator: ";"))
    }

    static func connect(_ name: String) throws -> Connection {
        let connection = try Environment().connect(target(["Database": name]), queryTimeout: .seconds(60))
        try connection.execute(SQLServerDatabase.sessionSettings)
        return connection
    }

    /// The scripts the package ships that make tables.
    static func scripts() throws -> [(name: String, text: String)] {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "sql/serving")
        let tables = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
            .filter { !$0.hasSuffix("_database.sql") && !$0.hasSuffix("_roles.sql") }
        return try tables.map { name in
            (name, try String(contentsOf: folder.appending(path: name), encoding: .utf8))
        }
    }
}

/// A serving database of one test's own.
final class SQLServerServingFixture: ServingFixture {
    let name: String
    let serving: SQLServerServing
    /// Babelfish, whose PostgreSQL has no U+0000 in text, and no MERGE, lock hints and named constraints besides.
    let isBabelfish: Bool
    let warnings = Warnings()

    var store: any ServingStore { serving }
    var keepsNUL: Bool { !isBabelfish }

    /// Runs `body` with a database that is bootstrapped, and drops it afterwards.
    static func run(
        isBootstrapped: Bool = true, _ body: (SQLServerServingFixture) async throws -> Void
    ) async throws {
        let name = "tm_srv_\(UUID().uuidString.prefix(8).lowercased())"
        let master = try ServingServer.connect("master")
        // A server may refuse to make two databases at once.
        for attempt in 1... {
            do {
                try master.execute("CREATE DATABASE \(name)")
                break
            } catch {
                guard attempt < 50 else { throw error }
                try await Task.sleep(for: .milliseconds(100))
            }
        }
        let result: Result<Void, any Error>
        do {
            let fixture = try SQLServerServingFixture(name)
            if isBootstrapped { try await fixture.serving.bootstrap() }
            result = .success(try await body(fixture))
        } catch {
            result = .failure(error)
        }
        // Connections close on threads of their own.
        for attempt in 1...50 {
            do {
                _ = try? master.execute("ALTER DATABASE \(name) SET SINGLE_USER WITH ROLLBACK IMMEDIATE")
                try master.execute("DROP DATABASE \(name)")
                break
            } catch {
                if attempt == 50 { Issue.record("\(name) could not be dropped: \(error)") }
                try await Task.sleep(for: .milliseconds(100))
            }
        }
        try result.get()
    }

    private init(_ name: String) throws {
        self.name = name
        let connection = try ServingServer.connect(name)
        isBabelfish = try connection.scalar("SELECT @@VERSION").string?.contains("Babelfish") ?? false
        let warnings = warnings
        serving = try Self.make(name, warnings: warnings)
    }

    private static func make(_ name: String, _ changes: [String: String] = [:], warnings: Warnings) throws
        -> SQLServerServing
    {
        let target = ServingServer.target(changes.merging(["Database": name]) { $1 })
        return SQLServerServing(
            try SQLServerDatabase(target, role: "serving", place: name), scripts: try ServingServer.scripts(),
            warn: { warnings.add($0) })
    }

    func another() async throws -> any ServingStore { try store() }

    /// Another store on the database, by way of other settings.
    func store(_ changes: [String: String] = [:]) throws -> SQLServerServing {
        try Self.make(name, changes, warnings: warnings)
    }

    /// A plain connection, as another program has one.
    func connect() throws -> Connection { try ServingServer.connect(name) }

    func execute(_ sql: String) throws { try connect().execute(sql) }

    func rows(_ sql: String) throws -> [[Value]] { try connect().query(sql).rows() }

    func count(_ table: String) throws -> Int {
        Int(try connect().scalar("SELECT CAST(COUNT(*) AS bigint) FROM \(table)").int64 ?? -1)
    }
}

/// Sentences a store told its operator.
final class Warnings: Sendable {
    private let list = Mutex<[String]>([])
    var all: [String] { list.withLock { $0 } }
    func add(_ sentence: String) { list.withLock { $0.append(sentence) } }
}
