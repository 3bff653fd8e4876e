import ContractTests
import Foundation
import ODBC
import Synchronization
import TestSupport
import Testing
import Tidemark

@testable import SQLServer

/// The server the serving tests run on.
enum ServingServer {
    /// - Parameters:
    ///   - port: a relay's, on this machine.
    ///   - isPlain: whether nothing is to be encrypted, so that the relay can read it.
    static func target(
        _ database: String, through port: Int? = nil, isPlain: Bool = false
    ) throws -> ConnectionString {
        let server = try #require(TestServer.serving)
        return try (isPlain ? server.plain : server).target(database: database, through: port)
    }

    static func connect(_ name: String) throws -> Connection {
        let connection = try Environment().connect(target(name), queryTimeout: .seconds(60))
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
        try await #require(TestServer.serving).withDatabase(prefix: "tm_srv_") { database in
            let fixture = try SQLServerServingFixture(database)
            if isBootstrapped { try await fixture.serving.bootstrap() }
            try await body(fixture)
        }
    }

    private init(_ database: TestDatabase) throws {
        name = database.name
        isBabelfish = database.isBabelfish
        serving = try Self.make(name, warnings: warnings)
    }

    private static func make(
        _ name: String, through port: Int? = nil, isPlain: Bool = false, warnings: Warnings
    ) throws -> SQLServerServing {
        let target = try ServingServer.target(name, through: port, isPlain: isPlain)
        return SQLServerServing(
            try SQLServerDatabase(target, role: "serving", place: name), scripts: try ServingServer.scripts(),
            warn: { warnings.add($0) })
    }

    func another() async throws -> any ServingStore { try store() }

    /// Another store on the database, by way of a relay's port, and without encryption if that is to read along.
    func store(through port: Int? = nil, isPlain: Bool = false) throws -> SQLServerServing {
        try Self.make(name, through: port, isPlain: isPlain, warnings: warnings)
    }

    var dsn: SQLServerDSN {
        get throws { try #require(TestServer.serving).dsn(database: name) }
    }

    /// A plain connection, as another program has one.
    func connect() throws -> Connection { try ServingServer.connect(name) }

    func execute(_ sql: String) throws { try connect().execute(sql) }

    static func indexedColumnsSQL(_ table: String) -> String {
        """
        SELECT c.name FROM sys.indexes AS i
        JOIN sys.index_columns AS ic ON ic.object_id = i.object_id AND ic.index_id = i.index_id
        JOIN sys.columns AS c ON c.object_id = ic.object_id AND c.column_id = ic.column_id
        WHERE i.object_id = OBJECT_ID(N'dbo.\(table)') AND i.is_primary_key = 0 ORDER BY c.name
        """
    }

    func indexedColumns(of table: String) throws -> [String] {
        try rows(Self.indexedColumnsSQL(table)).compactMap { $0[0].string }
    }

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

/// Passes a TDS connection on, and cuts it at a COMMIT.
///
/// The request is a packet of type 14 (transaction manager) with request type 7:
/// https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/14 (MS-TDS 2.2.6.9)
final class CommitCuttingProxy: Sendable {
    enum Cut: Sendable {
        /// The server never sees the COMMIT.
        case before
        /// The server commits, and its answer is lost.
        case after
    }

    private let relay: Relay
    private let next: NextCut

    private final class NextCut: Sendable {
        let state = Mutex<(cut: Cut?, count: Int)>((nil, 0))

        func take() -> Cut? {
            state.withLock { state in
                defer { state.cut = nil }
                if state.cut != nil { state.count += 1 }
                return state.cut
            }
        }
    }

    init(to target: (host: String, port: Int)) throws {
        let next = NextCut()
        self.next = next
        relay = try Relay(to: target.host, port: target.port) { client, server in
            let packets = TDSPackets()
            Relay.pump(client, server) { bytes in
                packets.take(bytes).allSatisfy { packet in
                    let cut = TDSPackets.isCommit(packet) ? next.take() : nil
                    guard cut != .before, Relay.send(packet, to: server) else { return false }
                    guard cut == .after else { return true }
                    // The client hears nothing more; the server commits before it sees the end.
                    Relay.end(client)
                    Thread.sleep(forTimeInterval: 0.2)
                    return false
                }
            }
            Relay.pump(server, client) { Relay.send($0, to: client) }
            return true
        }
    }

    var port: Int { relay.port }

    /// Cuts the connection of the next COMMIT, once.
    func arm(_ cut: Cut) { next.state.withLock { $0.cut = cut } }

    var cutCount: Int { next.state.withLock { $0.count } }
}
