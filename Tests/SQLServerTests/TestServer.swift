import Foundation
import ODBC
import Testing

@testable import SQLServer

/// A T-SQL server that tests may use: SQL Server, or Babelfish for PostgreSQL.
///
///     @Suite("A source on SQL Server", .enabled(if: TestServer.source != nil, TestServer.sourceIsMissing))
///
/// The variable holds a DSN whose login may create databases, `sqlserver://…` or an ODBC connection string such as
/// `Driver=/usr/lib/x86_64-linux-gnu/odbc/libtdsodbc.so;Server=…;Port=1433;TDS_Version=7.4;UID=…;PWD=…`.
struct TestServer: Sendable {
    /// The server for source databases.
    static let source = TestServer(variable: "TIDEMARK_TEST_SOURCE_DSN")
    /// The server for serving databases.
    static let serving = TestServer(variable: "TIDEMARK_TEST_SERVING_DSN")

    static let sourceIsMissing: Comment = "TIDEMARK_TEST_SOURCE_DSN names no T-SQL server"
    static let servingIsMissing: Comment = "TIDEMARK_TEST_SERVING_DSN names no T-SQL server"

    private let dsn: SQLServerDSN

    /// `nil` when the variable is not set. One that cannot be read is none either, and `TestServerVariableTests` fails.
    private init?(variable: String) {
        guard let dsn = try? Self.dsn(variable, in: ProcessInfo.processInfo.environment) else { return nil }
        self.dsn = dsn
    }

    private init(dsn: SQLServerDSN) { self.dsn = dsn }

    /// The variables that name servers.
    static let variables = ["TIDEMARK_TEST_SOURCE_DSN", "TIDEMARK_TEST_SERVING_DSN"]

    /// What a variable says; `nil` when it is not set, or empty.
    ///
    /// - Throws: `DSNError` with the variable's name, and without its value.
    static func dsn(_ variable: String, in environment: [String: String]) throws(DSNError) -> SQLServerDSN? {
        guard let text = environment[variable], !text.isEmpty else { return nil }
        do {
            guard let dsn = try SQLServerDSN(text) else {
                throw DSNError("is neither sqlserver://… nor an ODBC connection string")
            }
            return dsn
        } catch {
            throw DSNError("\(variable) \(error)")
        }
    }

    /// The DSN of a database of the server.
    ///
    /// - Parameters:
    ///   - user: a login other than the one that creates databases.
    ///   - port: a relay's, on this machine.
    func dsn(
        database: String, user: (name: String, password: String)? = nil, through port: Int? = nil
    ) -> SQLServerDSN {
        switch dsn.with(database: database) {
        case .address(var address):
            if let user { address = address.with(user: user.name, password: user.password) }
            if let port { address = address.with(host: "127.0.0.1", port: port) }
            return .address(address)
        case .odbc(let string):
            // Of a keyword given twice the driver manager's syntax says the first counts; FreeTDS takes the last.
            var keys: [(key: String, value: String)] = []
            if let user { keys += [("UID", user.name), ("PWD", user.password)] }
            if let port {
                let hasPort = string.value("port") != nil
                keys += hasPort ? [("Server", "127.0.0.1"), ("Port", "\(port)")] : [("Server", "127.0.0.1,\(port)")]
            }
            let changes = Set(keys.map { $0.key.lowercased() })
            keys =
                string.pairs.filter { !changes.contains($0.keyword.lowercased()) }.map { ($0.keyword, $0.value) } + keys
            guard let changed = try? ODBCString(ConnectionString(pairs: keys).text) else { return .odbc(string) }
            return .odbc(changed)
        }
    }

    /// The connection string for a database of the server.
    func target(
        database: String, user: (name: String, password: String)? = nil, through port: Int? = nil
    ) throws -> ConnectionString {
        try dsn(database: database, user: user, through: port).connectionString(drivers: .ofThisMachine())
    }

    /// The same server without TLS, so that a relay can read what is said.
    var plain: TestServer {
        switch dsn {
        case .address(let address):
            var options = address.options
            options[.encrypt] = "false"
            guard let plain = try? SQLServerAddress(SQLServerDSN.text(address, options: options)) else { return self }
            return TestServer(dsn: .address(plain))
        case .odbc(let string):
            let others = string.pairs.filter { !["encrypt", "encryption"].contains($0.keyword.lowercased()) }
            // One of them is FreeTDS', the other Microsoft's; each passes over the other's.
            let pairs = others.map { ($0.keyword, $0.value) } + [("Encryption", "off"), ("Encrypt", "no")]
            guard let plain = try? ODBCString(ConnectionString(pairs: pairs).text) else { return self }
            return TestServer(dsn: .odbc(plain))
        }
    }

    /// Whether the server lets somebody in who does not encrypt.
    func isPlain() async -> Bool {
        guard let database = try? SQLServerDatabase(plain.target(database: "master"), role: "test") else {
            return false
        }
        return (try? await database.run { try $0.scalar("SELECT 1").isNull }) == false
    }

    /// Where the server listens, when the DSN says so with a number for a port: what a relay needs.
    var address: (host: String, port: Int)? {
        let (host, port): (String, Int?)
        switch dsn {
        case .address(let address): (host, port) = (address.host, address.port ?? 1_433)
        case .odbc(let string):
            let parts = (string.value("server") ?? "").replacing("tcp:", with: "").split(separator: ",").map(
                String.init)
            host = parts.first ?? ""
            port = parts.count == 2 ? Int(parts[1]) : string.value("port").map { Int($0) ?? 1_433 } ?? 1_433
        }
        let numbers = host == "localhost" ? "127.0.0.1" : host
        guard let port, !numbers.isEmpty, !numbers.contains(where: \.isLetter) else { return nil }
        return (numbers, port)
    }

    /// Runs `body` with a new, empty database, and drops it.
    ///
    /// - Parameter isThere: `false` for one that `body` creates.
    func withDatabase<Result>(
        prefix: String, isThere: Bool = true, _ body: (TestDatabase) async throws -> Result
    ) async throws -> Result {
        let database = try await nameDatabase(prefix: prefix)
        if isThere { try await database.create() }
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
        let database = try await nameDatabase(prefix: prefix)
        try await database.create()
        return database
    }

    /// A database that there is not.
    private func nameDatabase(prefix: String) async throws -> TestDatabase {
        let master = try SQLServerDatabase(target(database: "master"), role: "test")
        let name = "\(prefix)\(UInt64.random(in: 0 ... .max), radix: 36)"
        return TestDatabase(
            server: self, master: master, name: name, isBabelfish: try await Self.isBabelfish(master))
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
    private static let patience: Duration = .seconds(120)

    /// Runs statements that create or drop databases, of which Babelfish takes one at a time.
    fileprivate static func oneAtATime(_ master: SQLServerDatabase, _ statements: [String]) async throws {
        let end = ContinuousClock.now + patience
        while true {
            do {
                return try await alone {
                    try await master.run { connection in
                        for statement in statements { _ = try connection.execute(statement) }
                    }
                }
            } catch {
                guard ContinuousClock.now < end else { throw error }
                try await Task.sleep(for: .milliseconds(.random(in: 20...200)))
            }
        }
    }

    /// Runs `body` while no other test creates or drops a database.
    static func alone<Result>(_ body: () async throws -> Result) async throws -> Result {
        await turns.take()
        do {
            let result = try await body()
            await turns.give()
            return result
        } catch {
            await turns.give()
            throw error
        }
    }

    private static let turns = Turns()

    /// Lets one task at a time go on, in the order in which they came.
    private actor Turns {
        private var isTaken = false
        private var waiting: [CheckedContinuation<Void, Never>] = []

        func take() async {
            if isTaken {
                await withCheckedContinuation { waiting.append($0) }
            } else {
                isTaken = true
            }
        }

        func give() {
            if waiting.isEmpty {
                isTaken = false
            } else {
                waiting.removeFirst().resume()
            }
        }
    }
}

extension SQLServerDSN {
    /// The DSN as a setting has it, password and all.
    var text: String {
        switch self {
        case .odbc(let string): return string.connectionString
        case .address(let address): return Self.text(address, options: address.options)
        }
    }

    /// The DSN of an address, with other options.
    fileprivate static func text(
        _ address: SQLServerAddress, options: [SQLServerAddress.Option: String]
    ) -> String {
        func encoded(_ text: String) -> String {
            text.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? text
        }
        let login = address.user.map { "\(encoded($0)):\(encoded(address.password ?? ""))@" } ?? ""
        let host = address.isIPv6 ? "[\(address.host.replacing("%", with: "%25"))]" : encoded(address.host)
        let query = options.map { "\($0.key.rawValue)=\(encoded($0.value))" }.joined(separator: "&")
        return "sqlserver://\(login)\(host)\(address.port.map { ":\($0)" } ?? "")?\(query)"
    }
}

/// A database of one test.
struct TestDatabase: Sendable {
    let server: TestServer
    fileprivate let master: SQLServerDatabase
    let name: String
    /// Whether the server is Babelfish, which lacks some of SQL Server.
    let isBabelfish: Bool

    var dsn: SQLServerDSN { server.dsn(database: name) }
    /// What a test may call a login of its own, which is dropped with the database.
    var loginName: String { "\(name)_login" }

    /// A way to the database with connections of its own.
    func open(role: String = "test") throws -> SQLServerDatabase {
        try SQLServerDatabase(server.target(database: name), role: role)
    }

    fileprivate func create() async throws {
        try await TestServer.oneAtATime(master, ["CREATE DATABASE \(quoted(name))"])
    }

    /// Whether the server has it.
    func isThere() async throws -> Bool {
        try await master.run { [name] connection in
            try connection.scalar("SELECT COUNT(*) FROM sys.databases WHERE name = ?", [.string(name)]).int64 == 1
        }
    }

    func drop() async throws {
        if try await isThere() { try await dropDatabase() }
        // Not before: on Babelfish a login cannot go while a database has granted it something.
        try await TestServer.oneAtATime(
            master, ["IF SUSER_ID(\(literal(loginName))) IS NOT NULL DROP LOGIN \(quoted(loginName))"])
    }

    private func dropDatabase() async throws {
        let end = isBabelfish ? [] : ["ALTER DATABASE \(quoted(name)) SET SINGLE_USER WITH ROLLBACK IMMEDIATE"]
        try await TestServer.oneAtATime(master, end + ["DROP DATABASE \(quoted(name))"])
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
