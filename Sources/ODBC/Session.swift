import Blocking
import Synchronization

/// A connection for async code: its blocking calls run on a thread of their own.
///
///     let session = try await Session(environment, "Driver=FreeTDS;Server=db;…", name: "orders")
///     let count = try await session.run { connection in
///         try connection.scalar("SELECT count(*) FROM orders")
///     }
///
/// Closures run one after the other, each from start to end without another in between. Cancelling the
/// task that waits for one cancels the statement it is in.
public final class Session: Sendable {
    private let thread: ThreadExecutor
    // Used on the thread only.
    nonisolated(unsafe) private let connection: Connection
    private let cancelHandle: CancelHandle
    private let hasClosed = Mutex(false)

    /// Opens a connection on a thread of its own.
    ///
    /// - Parameter name: the thread's name; Linux takes at most 15 bytes.
    public init(
        _ environment: Environment, _ target: ConnectionString, loginTimeout: Duration? = .seconds(15),
        queryTimeout: Duration? = nil, name: String = "odbc"
    ) async throws {
        thread = ThreadExecutor(name: name)
        connection = try await thread.run {
            try environment.connect(target, loginTimeout: loginTimeout, queryTimeout: queryTimeout)
        }
        cancelHandle = connection.cancelHandle
    }

    deinit {
        // Disconnecting talks to the server, so it does not happen where the last reference was dropped.
        nonisolated(unsafe) let connection = connection
        thread.later { connection.close() }
    }

    /// Whether the connection was closed in a closure, or given up with a call that did not come back: another is needed.
    public var isClosed: Bool { hasClosed.withLock { $0 } }

    /// Runs `body` with the connection on the session's thread.
    ///
    /// The connection, and what belongs to it (statements, cursors), must not leave `body`.
    ///
    /// - Throws: what `body` throws, or `CancellationError` when the task was cancelled before its turn came
    ///   or while a statement was running.
    @discardableResult
    public func run<Success>(
        _ body: sending @escaping (Connection) throws -> sending Success
    ) async throws -> sending Success {
        let scope = CancelHandle.Scope()
        let work = Once<Success, any Error> { [self] in
            let isWanted = cancelHandle.enter(scope)
            defer {
                cancelHandle.leave()
                if connection.isClosed { hasClosed.withLock { $0 = true } }
            }
            guard isWanted else { throw CancellationError() }
            do {
                return try body(connection)
            } catch let error as ODBCError where error.errorClass == .cancelled && cancelHandle.isScopeCancelled {
                throw CancellationError()
            }
        }
        return try await withTaskCancellationHandler {
            try await thread.run(work)
        } onCancel: { [cancelHandle] in
            cancelHandle.cancel(scope)
        }
    }

    /// Disconnects and waits until it is done. Closing twice does nothing; later calls throw.
    public func close() async {
        await thread.run { [self] in connection.close() }
        hasClosed.withLock { $0 = true }
    }
}
