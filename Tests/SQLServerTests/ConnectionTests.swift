import ODBC
import Testing

@testable import SQLServer

@Suite("A connection to SQL Server", .enabled(if: TestServer.source != nil, TestServer.sourceIsMissing))
struct ConnectionTests {
    /// The server's IPv4 address in IPv6's notation, which a socket of IPv6 takes: the server need not listen there too.
    private static let mapped: SQLServerDSN? = {
        guard let server = TestServer.source, let (host, port) = server.address,
            case .address(let address) = server.dsn(database: "master")
        else { return nil }
        return .address(address.with(host: "::ffff:\(host)", port: port))
    }()

    @Test(
        "an IPv6 address leads to the server",
        .enabled(if: mapped != nil, "the server is not named by sqlserver:// and an IPv4 address"))
    func ipv6() async throws {
        let database = try SQLServerDatabase(try #require(Self.mapped), role: "test")
        #expect(try await database.run { try $0.scalar("SELECT DB_NAME()").string } == "master")
    }

    @Test("a connection that its last user closed is not handed to the next")
    func closed() async throws {
        let server = try #require(TestServer.source)
        let database = try SQLServerDatabase(server.target(database: "master"), role: "test")
        try await database.run { $0.close() }
        #expect(try await database.run { try $0.scalar("SELECT DB_NAME()").string } == "master")
    }
}
