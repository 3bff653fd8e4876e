import Foundation
import ODBC
import Testing

@testable import SQLServer

/// A T-SQL server that tests may use: SQL Server, or Babelfish for PostgreSQL.
///
///     @Suite("A source on SQL Server", .enabled(if: TestServer.source != nil, TestServer.sourceIsMissing))
///
/// The variable holds an ODBC connection string whose login may create databases, such as
/// `Driver=/usr/lib/x86_64-linux-gnu/odbc/libtdsodbc.so;Server=…;Port=1433;TDS_Version=7.4;UID=…;PWD=…`.
struct TestServer: Sendable {
    /// The server for source databases.
    static let source = TestServer(variable: "TIDEMARK_TEST_SOURCE_DSN")
    /// The server for serving databases.
    static let serving = TestServer(variable: "TIDEMARK_TEST_SERVING_DSN")

    static let sourceIsMissing: Comment = "TIDEMARK_TEST_SOURCE_DSN names no T-SQL server"
    static let servingIsMissing: Comment = "TIDEMARK_TEST_SERVING_DSN names no T-SQL server"

    private let text: String

    private init?(variable: String) {
        guard let text = ProcessInfo.processInfo.environment[variable], !text.isEmpty else { return nil }
        self.text = text
    }

    /// The connection string for a database of the server.
    ///
    /// - Parameter user: a login other than the one that creates databases.
    func target(database: String, user: (name: String, password: String)? = nil) -> ConnectionString {
        var keys = "Database=\(database);"
        var replaced = #/(?i)Database *=[^;]*;?/#
        if let user {
            keys += "UID=\(user.name);PWD={\(user.password)};"
            replaced = #/(?i)(?:Database|UID|PWD) *=(?: *\{[^}]*\}|[^;]*);?/#
        }
        return ConnectionString(keys + text.replacing(replaced, with: ""))
    }

    /// Runs `body` with a new, empty database, and drops it.
    func withDatabase<Result>(
        prefix: String, _ body: (TestDatabase) async throws -> Result
    ) async throws -> Result {
        let database = try await createDatabase(prefix: prefix)
        do {
            let result = try await body(database)
            try await database.drop()
            return result
        } catch {
            try? await database.drop()
            throw error
        }
    }

    /// A new, empty database, for the caller to drop.
    ///
    /// - Parameter prefix: begins with `tm_`, so that databases of tests that were killed are recognised.
    func createDatabase(prefix: String) async throws -> TestDatabase {
        let master = try SQLServerDatabase(target(database: "master"), role: "test")
        let name = "\(prefix)\(UInt64.random(in: 0 ... .max), radix: 36)"
        let isBabelfish = try await Self.isBabelfish(master)
        try await Self.oneAtATime(master, ["CREATE DATABASE \(quoted(name))"])
        return TestDatabase(server: self, master: master, name: name, isBabelfish: isBabelfish)
    }

    /// Whether the server is Babelfish, which lacks some of SQL Server.
    func isBabelfish() async throws -> Bool {
        try await Self.isBabelfish(SQLServerDatabase(target(database: "master"), role: "test"))
    }

    private static func isBabelfish(_ master: SQLServerDatabase) async throws -> Bool {
        try await master.run { connection in
            let version = try connection.scalar("SELECT CAST(SERVERPROPERTY('BabelfishVersion') AS nvarchar(50))")
            return !version.isNull
        }
    }

    /// How long a statement is tried again: other processes create databases too, and connections that tests let go
    /// of are closed on their own threads.
    private static let patience: Duration = .seconds(30)
    private static let lock = NSLock()

    /// Runs statements that create or drop databases, of which Babelfish takes one at a time.
    fileprivate static func oneAtATime(_ master: SQLServerDatabase, _ statements: [String]) async throws {
        let end = ContinuousClock.now + patience
        while true {
            do {
                return try await master.run { connection in
                    try lock.withLock {
                        for statement in statements { _ = try connection.execute(statement) }
                    }
                }
            } catch {
                guard ContinuousClock.now < end else { throw error }
                try await Task.sleep(for: .milliseconds(.random(in: 20...200)))
            }
        }
    }
}

/// A database of one test.
struct TestDatabase: Sendable {
    let server: TestServer
    fileprivate let master: SQLServerDatabase
    let name: String
    /// Whether the server is Babelfish, which lacks some of SQL Server.
    let isBabelfish: Bool

    /// What a test may call a login of its own, which is dropped with the database.
    var loginName: String { "\(name)_login" }

    var target: ConnectionString { server.target(database: name) }

    /// A way to the database with connections of its own.
    func open(role: String = "test") throws -> SQLServerDatabase {
        try SQLServerDatabase(target, role: role)
    }

    func drop() async throws {
        let end = isBabelfish ? [] : ["ALTER DATABASE \(quoted(name)) SET SINGLE_USER WITH ROLLBACK IMMEDIATE"]
        try await TestServer.oneAtATime(master, end + ["DROP DATABASE \(quoted(name))"])
        // Not before: on Babelfish a login cannot go while a database has granted it something.
        try await TestServer.oneAtATime(
            master, ["IF SUSER_ID(\(literal(loginName))) IS NOT NULL DROP LOGIN \(quoted(loginName))"])
    }
}

extension DefaultStringInterpolation {
    fileprivate mutating func appendInterpolation(_ value: UInt64, radix: Int) {
        appendLiteral(String(value, radix: radix))
    }
}

@Suite("The T-SQL server for tests", .enabled(if: TestServer.source != nil, TestServer.sourceIsMissing))
struct TestServerTests {
    @Test("a test's database is there for the test, and gone after it")
    func lifetime() async throws {
        let server = try #require(TestServer.source)
        let name = try await server.withDatabase(prefix: "tm_src_") { database in
            let open = try database.open()
            let found = try await open.run { try $0.scalar("SELECT DB_NAME()").string }
            #expect(found == database.name)
            return database.name
        }
        let master = try SQLServerDatabase(server.target(database: "master"), role: "test")
        let id = try await master.run { try $0.scalar("SELECT DB_ID(?)", [.string(name)]).isNull }
        #expect(id)
    }
}
