import Foundation
import ODBC
import TestSupport
import Testing

/// A server that keeps its connections open and answers nothing any more, which TCP does not tell from a long query.
@Suite(
    "A server that falls silent", .enabled(if: Installed.postgreSQL, Installed.postgreSQLHint), .timeLimit(.minutes(2)))
struct SilenceTests {
    let line: Proxy
    let connection: Connection
    let another: () throws -> Connection

    init() throws {
        let server = try PostgreSQL.shared.get()
        let line = try Proxy(port: server.port)
        self.line = line
        another = {
            try Environment().connect(server.target(port: line.port), queryTimeout: .milliseconds(500))
        }
        connection = try another()
    }

    @Test("a statement without an answer fails as transient, its connection is dead, and a new one works")
    func statement() throws {
        line.hush()
        let error = try #require(throws: ODBCError.self) { try connection.scalar("SELECT 1") }
        #expect(error.errorClass == .transient)
        #expect(error.description.contains("has not answered within"))
        #expect(connection.isDead)
        #expect(throws: ODBCError.givenUp) { try connection.execute("SELECT 2") }
        #expect(ODBCError.givenUp.errorClass == .transient)
        line.speak()
        #expect(try another().scalar("SELECT 3") == 3)
    }

    @Test("a COMMIT without an answer fails as transient, which says that it may have taken place")
    func commit() throws {
        try connection.execute("CREATE TABLE silence(n int)")
        let error = try #require(throws: ODBCError.self) {
            try connection.transaction {
                try connection.execute("INSERT INTO silence VALUES (1)")
                line.hush()
            }
        }
        #expect(error.errorClass == .transient)
        #expect(error.sql == "COMMIT")
        line.speak()
        let later = try another()
        #expect(try later.scalar("SELECT count(*) FROM silence") == 1)
        try later.execute("DROP TABLE silence")
    }

    @Test("a prepared statement and a transaction end where the silence begins, and so does closing")
    func leftovers() throws {
        let prepared = try connection.prepare("SELECT 1 WHERE 1 = ?")
        #expect(try prepared.query([1]).rows() == [[1]])
        let error = try #require(throws: ODBCError.self) {
            try connection.transaction {
                line.hush()
                _ = try prepared.query([1]).rows()
            }
        }
        #expect(error.errorClass == .transient)
        #expect(connection.isDead)
        connection.close()
        #expect(throws: ODBCError.closed("connection")) { try prepared.query([1]) }
    }

    @Test("a task that is cancelled in the silence ends, and its session closes")
    func cancelled() async throws {
        let server = try PostgreSQL.shared.get()
        let session = try await Session(Environment(), server.target(port: line.port))
        line.hush()
        let task = Task { try await session.run { try $0.scalar("SELECT 1") } }
        try await eventually("the answer is kept back") { line.swallowed > 0 }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(session.isClosed)
        #expect(try await session.run { $0.isDead })
        await session.close()
    }

    @Test("a call that ends after all ends its connection, and all it held goes")
    func late() async throws {
        let server = try PostgreSQL.shared.get()
        let environment = Weak<Environment>()
        try {
            let held = try Environment()
            environment.value = held
            let connection = try held.connect(server.target(port: line.port), queryTimeout: .milliseconds(500))
            line.hush()
            #expect(throws: ODBCError.self) { try connection.execute("SELECT 1") }
        }()
        #if !os(Linux)
        line.cut()
        #endif
        try await eventually("the connection has ended") { environment.value == nil }
    }

    private final class Weak<Object: AnyObject & Sendable>: @unchecked Sendable {
        weak var value: Object?
    }
}
