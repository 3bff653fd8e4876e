import Foundation
import ODBC
import TestSupport
import Testing
import Tidemark

@testable import SQLServer

/// A database on the test server as an administrator and the pipeline reach it, each with a login of its own.
///
/// The administrator's way leads through `BabelfishDialect` where the server is Babelfish.
struct Deployment: Sendable {
    let database: TestDatabase
    /// The pipeline's login and its password, which holds what has to be quoted somewhere on its way.
    let login: String
    let password = "Tide-mark'7]\"%41$(DATABASE)\(UInt32.random(in: .min ... .max))"
    private let dialect: BabelfishDialect?
    /// The server on the administrator's way.
    private let server: TestServer

    var name: String { database.name }

    /// Runs `body` with a database that is dropped afterwards, with its login.
    ///
    /// - Parameters:
    ///   - isThere: `false` for one that bootstrap is to make.
    ///   - replacements: as `BabelfishDialect` takes them.
    static func with(
        _ server: TestServer?, prefix: String = "tm_srv_", isThere: Bool = true,
        replacements: [(refused: String, instead: String)] = [], _ body: (Deployment) async throws -> Void
    ) async throws {
        try await #require(server).withDatabase(prefix: prefix, isThere: isThere) { database in
            try await body(Deployment(database, replacements))
        }
    }

    private init(_ database: TestDatabase, _ replacements: [(refused: String, instead: String)]) throws {
        self.database = database
        login = database.loginName
        server = database.isBabelfish ? database.server.plain : database.server
        dialect = database.isBabelfish ? try BabelfishDialect(before: database.server, replacements) : nil
    }

    // MARK: DSNs

    var administratorDSN: SQLServerDSN { server.dsn(database: name, through: dialect?.port) }

    var pipelineDSN: SQLServerDSN { database.server.dsn(database: name, user: (login, password)) }

    /// The pipeline's login by the administrator's way, for bootstrap.
    var pipelineBootstrapDSN: SQLServerDSN {
        server.dsn(database: name, user: (login, password), through: dialect?.port)
    }

    /// What bootstrap gets: `SOURCE_DSN` and `BOOTSTRAP_SOURCE_DSN`, or the same of `SERVING`.
    func environment(_ side: String) -> [String: String] {
        ["\(side)_DSN": pipelineDSN.text, "BOOTSTRAP_\(side)_DSN": administratorDSN.text]
    }

    // MARK: Databases

    func administrator() throws -> SQLServerDatabase { try SQLServerDatabase(administratorDSN, role: "test") }

    func pipeline() throws -> SQLServerDatabase { try SQLServerDatabase(pipelineDSN, role: "test") }

    func execute(_ sql: String) async throws {
        try await administrator().run { connection in _ = try connection.execute(sql) }
    }

    func rows(_ sql: String) async throws -> [[Value]] {
        try await administrator().run { try $0.query(sql).rows() }
    }

    /// What the pipeline's login sees.
    func pipelineRows(_ sql: String) async throws -> [[Value]] {
        try await pipeline().run { try $0.query(sql).rows() }
    }

    /// Why the pipeline's login may not.
    func refusal(_ sql: String) async throws -> String {
        do {
            try await pipeline().run { connection in _ = try connection.execute(sql) }
            return "it may"
        } catch {
            return "\(error)"
        }
    }

    /// On Babelfish, lets the members of a role make tables, which its GRANT cannot. They may drop, alter and rename
    /// their own, where SQL Server's `ALTER ON SCHEMA::dbo` reaches all.
    func grantTables(to role: String) throws {
        guard database.isBabelfish else { return }
        try BabelfishPort.run(["-c", "GRANT CREATE ON SCHEMA \"\(name)_dbo\" TO \"\(name)_\(role)\""])
    }
}

extension Workplace {
    /// Runs bootstrap while no other test creates or drops a database: Babelfish looks through the roles of all
    /// databases when it is asked for one, and fails when they go away meanwhile.
    func bootstrap(_ options: String..., environment: [String: String] = [:]) async throws -> Outcome {
        try await TestServer.alone { try await start(["bootstrap"] + options, environment: environment).ended() }
    }
}
