import Foundation
import ODBC
import Testing

@Suite("Session", .enabled(if: Installed.postgreSQL, Installed.postgreSQLHint), .timeLimit(.minutes(1)))
struct SessionTests {
    let server: PostgreSQL

    init() throws {
        server = try PostgreSQL.shared.get()
    }

    @Test("closures run on the session's own thread, one after the other")
    func ownThread() async throws {
        let session = try await server.session(name: "odbc thread")
        let name = try await session.run { _ in Thread.current.name }
        #expect(name == "odbc thread")
        try await session.run { try $0.execute("CREATE TEMP TABLE t(n int); INSERT INTO t VALUES (0)") }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<20 {
                group.addTask {
                    try await session.run { connection in
                        try connection.transaction {
                            let count = try connection.scalar("SELECT n FROM t").int64 ?? -1
                            try connection.execute("UPDATE t SET n = ?", [.int(count + 1)])
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await session.run { try $0.scalar("SELECT n FROM t") } == 20)
        await session.close()
    }

    @Test("many blocked sessions hold up no other task")
    func blockedSessions() async throws {
        let gate = DispatchSemaphore(value: 0)
        // More than Swift has threads for tasks, so that all of them would be taken.
        let count = ProcessInfo.processInfo.activeProcessorCount + 4
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<count {
                group.addTask {
                    let session = try await server.session()
                    try await session.run { _ in gate.wait() }
                }
            }
            group.addTask {
                await Task.yield()
                for _ in 0..<count { gate.signal() }
            }
            try await group.waitForAll()
        }
    }

    @Test("cancelling the waiting task stops its statement, rolls back, and the session goes on")
    func cancellation() async throws {
        let session = try await server.session()
        try await session.run { try $0.execute("CREATE TEMP TABLE t(n int)") }
        let (started, start) = AsyncStream.makeStream(of: Void.self)
        let begun = ContinuousClock.now
        let task = Task {
            try await session.run { connection in
                try connection.transaction {
                    try connection.execute("INSERT INTO t VALUES (1)")
                    start.yield()
                    try connection.execute("SELECT pg_sleep(30)")
                }
            }
        }
        for await _ in started { break }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(ContinuousClock.now - begun < .seconds(15))
        #expect(try await session.run { try $0.query("SELECT n FROM t").rows() } == [])
    }

    @Test("a cancelled task runs no further statement, nor does it commit")
    func cancelledBeforeCommit() async throws {
        let session = try await server.session()
        try await session.run { try $0.execute("CREATE TEMP TABLE t(n int)") }
        let (started, start) = AsyncStream.makeStream(of: Void.self)
        let goOn = DispatchSemaphore(value: 0)
        let task = Task {
            try await session.run { connection in
                try connection.transaction {
                    try connection.execute("INSERT INTO t VALUES (1)")
                    start.yield()
                    goOn.wait()
                }
            }
        }
        for await _ in started { break }
        task.cancel()
        goOn.signal()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(try await session.run { try $0.query("SELECT n FROM t").rows() } == [])
    }

    @Test("cancelling a task that waits its turn leaves the running one alone")
    func cancelledInQueue() async throws {
        let session = try await server.session()
        let (started, start) = AsyncStream.makeStream(of: Void.self)
        let goOn = DispatchSemaphore(value: 0)
        let first = Task {
            try await session.run { connection in
                start.yield()
                goOn.wait()
                return try connection.scalar("SELECT 1")
            }
        }
        for await _ in started { break }
        let second = Task { try await session.run { try $0.scalar("SELECT 2") } }
        second.cancel()
        goOn.signal()
        await #expect(throws: CancellationError.self) { try await second.value }
        #expect(try await first.value == 1)
    }

    @Test("a closed session refuses work")
    func close() async throws {
        let session = try await server.session()
        #expect(!session.isClosed)
        await session.close()
        await session.close()
        #expect(session.isClosed)
        await #expect(throws: ODBCError.closed("connection")) { try await session.run { try $0.execute("SELECT 1") } }
    }

    @Test("a session whose connection was closed by its work says so")
    func closedWithin() async throws {
        let session = try await server.session()
        try await session.run { _ = try $0.scalar("SELECT 1") }
        #expect(!session.isClosed)
        try await session.run { $0.close() }
        #expect(session.isClosed)
    }

    @Test("a failed login is thrown by the session's start")
    func failedLogin() async throws {
        let environment = try Environment()
        await #expect(throws: ODBCError.self) { try await Session(environment, server.target(password: "wrong")) }
    }
}
