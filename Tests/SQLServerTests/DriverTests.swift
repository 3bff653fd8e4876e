import Foundation
import ODBC
import TestSupport
import Testing

@testable import SQLServer

/// What the pipeline counts on in a driver, tried on the server with the one that the DSN names.
@Suite(
    "A driver on a T-SQL server", .enabled(if: TestServer.serving != nil, TestServer.servingIsMissing),
    .timeLimit(.minutes(5)))
struct DriverTests {
    /// A statement that takes a minute. Babelfish has no WAITFOR.
    private func slow() async throws -> String {
        try await #require(TestServer.serving).isBabelfish()
            ? "SELECT 1 AS n WHERE pg_sleep(60) IS NOT NULL" : "WAITFOR DELAY '00:01:00'; SELECT 1 AS n"
    }

    /// Gives more rows than the network holds back.
    static let long = "SELECT TOP (100000) a.name, b.name FROM sys.columns AS a CROSS JOIN sys.columns AS b"

    private func connect(_ timeout: Duration? = .seconds(60), through port: Int? = nil) throws -> Connection {
        let connection = try Environment().connect(
            ServingServer.target("master", through: port), queryTimeout: timeout)
        try connection.execute(SQLServerDatabase.sessionSettings)
        return connection
    }

    private func session(_ timeout: Duration? = .seconds(60)) async throws -> Session {
        try await Session(Environment(), ServingServer.target("master"), queryTimeout: timeout)
    }

    @Test("a statement that takes longer than its timeout fails as transient, and the next connection works")
    func queryTimeout() async throws {
        let sql = try await slow()
        let connection = try connect(.seconds(1))
        let error = try #require(throws: ODBCError.self) { try connection.scalar(sql) }
        #expect(error.errorClass == .transient)
        if !connection.isDead { #expect(try connection.scalar("SELECT 1") == 1) }
        #expect(try connect().scalar("SELECT 2") == 2)
    }

    @Test("a task that is cancelled stops its statement, and the session goes on")
    func cancellation() async throws {
        let sql = try await slow()
        let session = try await session()
        for number in 1...3 {
            let (started, start) = AsyncStream.makeStream(of: Void.self)
            let task = Task {
                try await session.run { connection in
                    start.yield()
                    return try connection.scalar(sql)
                }
            }
            for await _ in started { break }
            // In no time, or when the server is at it.
            if number > 1 { try await Task.sleep(for: .milliseconds(100 * number)) }
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
            guard try await !session.run({ $0.isDead }) else { return }
            #expect(try await session.run { try $0.scalar("SELECT 42") } == 42)
        }
        await session.close()
    }

    /// The driver may be in any of its states when the request comes, and what it leaves behind may meet the next
    /// statement. FreeTDS 1.3.17 can be stuck for good then; the session is dead in that case, and nothing waits.
    @Test("tasks cancelled at any moment all end, and no session shows another statement's answer")
    func cancellationAnywhere() async throws {
        var session = try await session()
        for number in 0..<150 {
            let task = Task { [session] in
                try await session.run { connection in
                    try connection.query("SELECT TOP (300) a.name FROM sys.columns AS a CROSS JOIN sys.columns AS b")
                        .rows()
                        .count
                }
            }
            try await Task.sleep(for: .microseconds(.random(in: 0...6_000)))
            task.cancel()
            do {
                #expect(try await task.value == 300)
            } catch is CancellationError {
                // As asked.
            }
            if try await session.run({ $0.isDead }) { session = try await self.session() }
            let expected = Value.int(Int64(number))
            #expect(try await session.run { try $0.scalar("SELECT CAST(\(number) AS bigint)") } == expected)
        }
        await session.close()
    }

    @Test("a result that is read in part makes way for the next statement", arguments: [1, 500])
    func partialResult(rowsPerBlock: Int) throws {
        let connection = try connect()
        for number in 1...3 {
            let cursor = try connection.query(Self.long, options: .init(rowsPerBlock: rowsPerBlock))
            #expect(try cursor.fetch())
            #expect(cursor.count == rowsPerBlock)
            cursor.close()
            #expect(try connection.scalar("SELECT CAST(\(number) AS bigint)") == .int(Int64(number)))
        }
        let prepared = try connection.prepare("SELECT name FROM sys.columns WHERE column_id >= ?")
        for _ in 1...3 {
            let cursor = try prepared.query([1], options: .init(rowsPerBlock: 1))
            #expect(try cursor.fetch())
            cursor.close()
        }
        try connection.transaction {
            let cursor = try connection.query(Self.long, options: .init(rowsPerBlock: 1))
            #expect(try cursor.fetch())
            cursor.close()
            try connection.execute("CREATE TABLE #partial(n int)")
        }
        #expect(connection.isDead == false)
    }

    /// Beyond `nvarchar(4000)` and `varbinary(8000)`, and more than one piece of what is sent in pieces.
    @Test("long text and binary values come back as they were sent", arguments: [4_001, 70_000, 1_000_003])
    func longValues(length: Int) throws {
        let connection = try connect()
        // Pairs of surrogates at odd places, so that pieces end within one.
        let text = String(("a" + String(repeating: "ä€😀", count: length / 4)).prefix(length))
        let bytes = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 131 &+ $0 >> 8) }
        try connection.execute("CREATE TABLE #long(n int, t nvarchar(max), b varbinary(max))")
        let insert = try connection.prepare("INSERT INTO #long VALUES (?, ?, ?)")
        try insert.execute([1, .string(text), .binary(bytes)])
        try insert.execute([2, .typedNull(.string), .typedNull(.binary)])
        try insert.execute([3, .string(""), .binary([])])
        try connection.execute("INSERT INTO #long VALUES (4, ?, ?)", [.string(text), .binary(bytes)])
        let rows = try connection.query("SELECT t, b FROM #long ORDER BY n").rows()
        let whole: [Value] = [.string(text), .binary(bytes)]
        #expect(rows == [whole, [.null, .null], [.string(""), .binary([])], whole])
    }

    /// Where the silence begins.
    enum Moment: String, CaseIterable, Sendable {
        case statement, prepare, fetch, close, commit, rollback
    }

    @Test(
        "a server that answers nothing any more fails as transient, wherever it falls silent",
        arguments: Moment.allCases)
    func silence(moment: Moment) async throws {
        let address = try #require(
            TestServer.serving?.address, "the DSN does not name the server by an IPv4 address")
        let line = try Proxy(to: address.host, port: address.port)
        let connection = try connect(through: line.port)
        connection.queryTimeout = .seconds(1)
        struct Stop: Error {}
        switch moment {
        case .statement:
            line.hush()
            try expectLoss { try connection.scalar("SELECT 1") }
        case .prepare:
            line.hush()
            try expectLoss { try connection.prepare("SELECT 1 WHERE 1 = ?").execute([1]) }
        case .fetch:
            let cursor = try connection.query(Self.long, options: .init(rowsPerBlock: 10))
            #expect(try cursor.fetch())
            line.hush()
            try expectLoss { while try cursor.fetch() {} }
        case .close:
            let cursor = try connection.query(Self.long, options: .init(rowsPerBlock: 10))
            #expect(try cursor.fetch())
            line.hush()
            cursor.close()
        case .commit:
            try expectLoss {
                try connection.transaction {
                    try connection.execute("CREATE TABLE #silence(n int)")
                    line.hush()
                }
            }
        case .rollback:
            #expect(throws: Stop.self) {
                try connection.transaction {
                    try connection.execute("CREATE TABLE #silence(n int)")
                    line.hush()
                    throw Stop()
                }
            }
        }
        #expect(connection.isDead)
        #if os(Linux)
        // What the server holds for it, such as locks, must not be in the way of the next one.
        try await eventually("the server's side has ended as well") { line.connections == 0 }
        #endif
        line.speak()
        #expect(try connect(through: line.port).scalar("SELECT 2") == 2)
    }

    private func expectLoss<Result>(_ body: () throws -> Result) throws {
        let error = try #require(throws: ODBCError.self) { _ = try body() }
        #expect(error.errorClass == .transient, "\(error)")
    }
}
