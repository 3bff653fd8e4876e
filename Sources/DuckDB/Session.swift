public import Blocking

/// A connection for async code: its blocking calls run on a thread of their own.
///
///     let session = try await Session(path: "replica.duckdb", name: "replica")
///     let count = try await session.run { connection in
///         try connection.scalar("SELECT count(*) FROM orders")
///     }
///
/// Closures run one after the other, each from start to end without another in between. Cancelling the
/// task that waits for one interrupts the DuckDB query it is in.
public final class Session: Sendable {
    /// The session's thread, for actors that work closely with it.
    public let executor: ThreadExecutor

    // Used on the executor's thread only.
    nonisolated(unsafe) private let connection: Connection
    private let interruptHandle: InterruptHandle

    /// Opens a connection on a thread of its own.
    ///
    /// - Parameter name: the thread's name.
    public convenience init(database: Database, name: String = "duckdb") async throws {
        try await self.init(name: name) { try database.connect() }
    }

    /// Opens a database, in memory when `path` is nil, and a connection to it on a thread of its own.
    public convenience init(
        path: String?, options: [String: String] = [:], name: String = "duckdb"
    ) async throws {
        try await self.init(name: name) { try Database(path: path, options: options).connect() }
    }

    private init(name: String, _ connect: sending @escaping () throws -> sending Connection) async throws {
        executor = ThreadExecutor(name: name)
        connection = try await executor.run(connect)
        interruptHandle = connection.interruptHandle
    }

    deinit {
        // Closing can write a checkpoint, so it does not happen where the last reference was dropped.
        nonisolated(unsafe) let connection = connection
        executor.later { connection.close() }
    }

    /// Runs `body` with the connection on the session's thread.
    ///
    /// The connection, and what belongs to it (statements, results, appenders), must not leave `body`.
    ///
    /// - Throws: what `body` throws, or `CancellationError` when the task was cancelled before its turn came
    ///   or while a statement was running.
    @discardableResult
    public func run<Success>(
        _ body: sending @escaping (Connection) throws -> sending Success
    ) async throws -> sending Success {
        let scope = InterruptHandle.Scope()
        // Not `self`: the session is to end with the caller's reference, not whenever its thread drops this.
        nonisolated(unsafe) let connection = connection
        let work = Once<Success, any Error> { [interruptHandle] in
            interruptHandle.enter(scope)
            defer { interruptHandle.leave() }
            guard !scope.isCancelled else { throw CancellationError() }
            do {
                return try body(connection)
            } catch let error as DuckDBError where error.kind == .interrupt && scope.isCancelled {
                throw CancellationError()
            }
        }
        return try await withTaskCancellationHandler {
            try await executor.run(work)
        } onCancel: { [interruptHandle] in
            interruptHandle.cancel(scope)
        }
    }

    /// Disconnects and waits until it is done. Closing twice does nothing; later calls throw.
    public func close() async {
        nonisolated(unsafe) let connection = connection
        await executor.run { connection.close() }
    }
}
