public import ODBC
import Synchronization
import Tidemark

/// A database on SQL Server: how to reach it, and the connections kept open to it.
///
///     let database = try SQLServerDatabase(target, role: "serving")
///     let version = try await database.run { try $0.scalar("SELECT @@VERSION").string }
///
/// Every connection has a thread of its own, runs one thing at a time, and is kept for the next caller unless it
/// failed. So a lost connection costs the call that lost it, and the next one connects anew.
public final class SQLServerDatabase: Sendable {
    /// Connections kept while nobody uses them; more are closed when they are given back.
    private static let keptConnections = 8

    /// How long connecting may take; a failover of an availability group is over in that time.
    static let loginTimeout: Duration = .seconds(15)

    /// What every connection is told first.
    ///
    /// Results must not depend on the login's or the server's defaults: FreeTDS asks for 64 KiB of a text value at
    /// most, a login's language decides how dates are read, and indexed views, filtered indexes and XML methods want
    /// the ANSI settings. XACT_ABORT ends a transaction on the first error, so that no half of it is committed.
    static let sessionSettings = """
        SET ANSI_NULLS, ANSI_PADDING, ANSI_WARNINGS, ARITHABORT, CONCAT_NULL_YIELDS_NULL, QUOTED_IDENTIFIER ON;
        SET XACT_ABORT ON;
        SET TEXTSIZE 2147483647;
        SET LANGUAGE us_english;
        SET DATEFORMAT ymd;
        SET LOCK_TIMEOUT 30000;
        """

    let label: DatabaseLabel
    let timeouts: StatementTimeouts
    private let target: ConnectionString
    private let environment: Environment
    private let idle = Mutex<[Session]>([])

    /// - Parameters:
    ///   - target: what to connect to.
    ///   - role: `source` or `serving`, for messages.
    ///   - place: where the database is, without secrets, for messages.
    ///   - timeouts: how long a statement may take.
    public init(
        _ target: ConnectionString, role: String, place: String? = nil, timeouts: StatementTimeouts = .init()
    ) throws {
        self.target = target
        self.timeouts = timeouts
        label = DatabaseLabel(role: role, place: place ?? target.redacted)
        environment = try Environment()
    }

    /// Runs `body` with a connection, on that connection's thread.
    ///
    /// Its statements may take as long as small ones do, unless ``data(_:_:)`` says otherwise.
    ///
    /// - Throws: a `TidemarkError` for what the driver reports, `.transient` when trying again may help; otherwise
    ///   what `body` throws.
    public func run<Success: Sendable>(
        _ body: @escaping @Sendable (Connection) throws -> Success
    ) async throws -> Success {
        try await withSession { [timeouts] session in
            try await session.run { connection in
                connection.queryTimeout = timeouts.small
                return try body(connection)
            }
        }
    }

    /// Runs `body` in a transaction; rolls back when it throws.
    public func transaction<Success: Sendable>(
        _ body: @escaping @Sendable (Connection) throws -> Success
    ) async throws -> Success {
        try await run { connection in try connection.transaction { try body(connection) } }
    }

    /// Streams the blocks that `body` pushes, which runs ahead of the reader by two blocks.
    ///
    /// `body` ends when it returns, or when `push` returns `false` because nobody reads any more. It has begun, on the
    /// connection's thread, when this returns, and needs no other from then on: readers block, and those that block all
    /// threads tasks run on would wait for ever for one that has yet to begin.
    func stream<Block: Sendable>(
        of: Block.Type = Block.self,
        _ body: @escaping @Sendable (Connection, _ push: (Block) -> Bool) throws -> Void
    ) async -> any BlockReader<Block> {
        let (producer, consumer) = BlockChannel.make(of: Block.self)
        await withCheckedContinuation { (beginning: CheckedContinuation<Void, Never>) in
            let beginning = Beginning(beginning)
            Task.detached { [self, label] in
                do {
                    try await run { connection in
                        beginning.resume()
                        do {
                            try body(connection) { producer.push($0) }
                            producer.finish()
                        } catch {
                            producer.finish(throwing: SQLServerFailure.readable(error, in: label))
                            throw error
                        }
                    }
                } catch {
                    // No connection came about; later ends have no effect.
                    producer.finish(throwing: error)
                    beginning.resume()
                }
            }
        }
        return consumer
    }

    /// Opens a connection that is not shared with anybody.
    func connect(name: String = "tidemark.odbc") async throws -> Session {
        do {
            let session = try await Session(
                environment, target, loginTimeout: Self.loginTimeout, queryTimeout: timeouts.small, name: name)
            try await session.run { connection in _ = try connection.execute(Self.sessionSettings) }
            return session
        } catch {
            throw SQLServerFailure.readable(error, in: label)
        }
    }

    /// Opens a connection for a thread of the caller's, which it blocks.
    func openConnection(queryTimeout: Duration) throws -> Connection {
        let connection = try environment.connect(
            target, loginTimeout: Self.loginTimeout, queryTimeout: queryTimeout)
        try connection.execute(Self.sessionSettings)
        return connection
    }

    private func withSession<Success: Sendable>(
        _ body: (Session) async throws -> Success
    ) async throws -> Success {
        let session: Session
        if let kept = idle.withLock({ $0.popLast() }) { session = kept } else { session = try await connect() }
        do {
            let result = try await body(session)
            giveBack(session)
            return result
        } catch let error as ODBCError where error.errorClass == .transient {
            // A failover or a restart takes all connections with it.
            idle.withLock { $0 = [] }
            throw SQLServerFailure.readable(error, in: label)
        } catch {
            if let isDead = try? await session.run({ $0.isDead }), !isDead { giveBack(session) }
            throw SQLServerFailure.readable(error, in: label)
        }
    }

    private func giveBack(_ session: Session) {
        // What ended its last result, or put it in order for the next one, may have failed without a word.
        guard !session.isClosed else { return }
        idle.withLock { idle in
            if idle.count < Self.keptConnections { idle.append(session) }
        }
    }
}

/// What waits for a stream to begin; told once.
private final class Beginning: Sendable {
    private let waiting: Mutex<CheckedContinuation<Void, Never>?>

    init(_ continuation: CheckedContinuation<Void, Never>) { waiting = Mutex(continuation) }

    func resume() {
        waiting.withLock { $0.take() }?.resume()
    }
}
