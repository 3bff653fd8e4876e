import Blocking
import DuckDB
import Foundation
import Synchronization
import Testing

/// A query that would run for hours.
private let endless = "SELECT count(*) FROM range(10000000000000) a(i) WHERE (i * 7919) % 13 = 5"

/// Tells another task that something has happened.
private final class Flag: Sendable {
    private let state = Atomic(false)

    var isRaised: Bool { state.load(ordering: .acquiring) }

    func raise() { state.store(true, ordering: .releasing) }
}

@Suite("Session", .timeLimit(.minutes(1)))
struct SessionTests {
    @Test("closures run on the session's own thread, not on Swift's")
    func ownThread() async throws {
        let session = try await Session(path: nil, name: "duckdb test")
        let executor = session.executor
        let seen = try await session.run { _ in (Thread.current.name, executor.isCurrent) }
        #expect(seen.0 == "duckdb test")
        #expect(seen.1)
        #expect(!executor.isCurrent)
        await session.close()
    }

    @Test("many blocked sessions hold up no other task")
    func blockedSessions() async throws {
        let database = try Database()
        let gate = DispatchSemaphore(value: 0)
        // More than Swift has threads for tasks, so that all of them would be taken.
        let sessions = ProcessInfo.processInfo.activeProcessorCount + 4
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<sessions {
                group.addTask {
                    let session = try await Session(database: database)
                    try await session.run { _ in gate.wait() }
                }
            }
            group.addTask {
                await Task.yield()
                for _ in 0..<sessions { gate.signal() }
            }
            try await group.waitForAll()
        }
    }

    @Test("results and errors come back to the caller")
    func results() async throws {
        let session = try await Session(path: nil)
        let rows = try await session.run { connection in
            try connection.execute("CREATE TABLE t AS SELECT i FROM range(3) t(i)")
            return try connection.query("FROM t").rows()
        }
        #expect(rows == [[0], [1], [2]])
        let error = await #expect(throws: DuckDBError.self) { try await session.run { try $0.execute("FROM nowhere") } }
        #expect(error?.kind == .catalog)
    }

    @Test("a chunk is sent into a session and another comes out")
    func sentChunks() async throws {
        let session = try await Session(path: nil)
        let chunk = DataChunk([.int64])
        try chunk.withMutableValues(of: Int64.self, column: 0) { $0[0] = 42 }
        chunk.count = 1
        try await session.run { connection in
            try connection.execute("CREATE TABLE t(n BIGINT)")
            let appender = try connection.appender(table: "t")
            try appender.append(chunk)
            try appender.close()
        }
        let answer = try await session.run { connection in try connection.query("FROM t").nextChunk() }
        #expect(try answer?.value(row: 0, column: 0) == 42)
    }

    @Test("closures of one session run one at a time, in full")
    func oneAtATime() async throws {
        let session = try await Session(path: nil)
        try await session.run { try $0.execute("CREATE TABLE t(n BIGINT); INSERT INTO t VALUES (0)") }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<50 {
                group.addTask {
                    try await session.run { connection in
                        try connection.transaction {
                            let count = try connection.scalar("SELECT n FROM t").int64 ?? -1
                            try connection.prepare("UPDATE t SET n = $1").execute([.int(count + 1)])
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await session.run { try $0.scalar("SELECT n FROM t") } == 50)
    }

    @Test("cancelling the waiting task interrupts its query, and the session goes on", arguments: [false, true])
    func cancellation(streaming: Bool) async throws {
        let session = try await Session(path: nil)
        let (started, start) = AsyncStream.makeStream(of: Void.self)
        let task = Task {
            try await session.run { connection in
                start.yield()
                return try connection.query(endless, streaming: streaming).rows()
            }
        }
        for await _ in started { break }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(try await session.run { try $0.scalar("SELECT 1") } == 1)
    }

    @Test("a cancelled task runs no further statement, but rolls its transaction back")
    func cancelledTransaction() async throws {
        let session = try await Session(path: nil)
        try await session.run { try $0.execute("CREATE TABLE t(n BIGINT)") }
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
        #expect(try await session.run { try $0.scalar("SELECT count(*) FROM t") } == 0)
        try await session.run { connection in
            try connection.transaction { try connection.execute("INSERT INTO t VALUES (2)") }
        }
    }

    @Test("cancelling a task that waits its turn leaves the running one alone")
    func cancelledInQueue() async throws {
        let session = try await Session(path: nil)
        let (started, start) = AsyncStream.makeStream(of: Void.self)
        let goOn = DispatchSemaphore(value: 0)
        let first = Task {
            try await session.run { connection in
                start.yield()
                goOn.wait()
                return try connection.scalar("SELECT count(*) FROM range(1000000)")
            }
        }
        for await _ in started { break }
        let hasRun = Flag()
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                await #expect(throws: CancellationError.self) {
                    try await session.run { _ in hasRun.raise() }
                }
            }
            group.cancelAll()
            goOn.signal()
        }
        #expect(try await first.value == 1_000_000)
        #expect(!hasRun.isRaised)
    }

    @Test("the interrupt handle stops a query from another thread, and only a running one")
    func interruptHandle() async throws {
        let session = try await Session(path: nil)
        let handle = try await session.run { $0.interruptHandle }
        handle.interrupt()
        #expect(try await session.run { try $0.scalar("SELECT 1") } == 1)

        let isDone = Flag()
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                let error = await #expect(throws: DuckDBError.self) { try await session.run { try $0.scalar(endless) } }
                #expect(error?.kind == .interrupt)
                #expect(error?.sql == endless)
                isDone.raise()
            }
            group.addTask {
                // The query may not have begun yet, so ask again until it is stopped.
                while !isDone.isRaised {
                    handle.interrupt()
                    try? await Task.sleep(for: .milliseconds(1))
                }
            }
        }
        #expect(try await session.run { try $0.scalar("SELECT 2") } == 2)
    }

    @Test("a closed session has let go of the file and refuses work")
    func close() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.path("a.duckdb")
        let session = try await Session(path: path)
        try await session.run { try $0.execute("CREATE TABLE t AS SELECT 1 AS n") }
        await session.close()
        await session.close()
        await #expect(throws: DuckDBError.closed("connection")) { try await session.run { try $0.execute("FROM t") } }
        // Closing wrote the log into the file.
        #expect(!FileManager.default.fileExists(atPath: path + ".wal"))
        let again = try await Session(path: path)
        #expect(try await again.run { try $0.scalar("SELECT n FROM t") } == 1)
        await again.close()
    }

    @Test("sessions that are dropped close their file too")
    func drop() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.path("a.duckdb")
        var executor: ThreadExecutor?
        do {
            let session = try await Session(path: path)
            try await session.run { try $0.execute("CREATE TABLE t AS SELECT 1 AS n") }
            executor = session.executor
        }
        // Closing was queued when the session went; this comes after it.
        await executor?.run {}
        #expect(!FileManager.default.fileExists(atPath: path + ".wal"))
    }

    @Test("an executor that is dropped ends with its last job")
    func dropExecutor() async throws {
        weak var weakExecutor: ThreadExecutor?
        do {
            let executor = ThreadExecutor(name: "short")
            weakExecutor = executor
            for _ in 0..<3 { await executor.run {} }
        }
        // The thread lets go of its last job just after that has answered.
        for _ in 0..<1000 where weakExecutor != nil { try await Task.sleep(for: .milliseconds(5)) }
        #expect(weakExecutor == nil)
    }

    @Test("an actor can live on the executor")
    func actorOnExecutor() async {
        actor Guest {
            let executor = ThreadExecutor(name: "guest")
            nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }
            func isOnThread() -> Bool { executor.isCurrent }
            nonisolated func assumed() async -> Bool { await executor.run { self.assumeIsolated { _ in true } } }
        }
        let guest = Guest()
        #expect(await guest.isOnThread())
        #expect(await guest.assumed())
    }
}
