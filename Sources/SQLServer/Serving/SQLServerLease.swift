import Foundation
import ODBC
import Tidemark

/// A lease held as an application lock of a session: the server releases it when the session ends, however it ends.
///
/// The session is asked every few seconds whether it still holds the lock. When it was lost (the server restarted, the
/// network broke) it is opened anew and the lock asked for again. Meanwhile another pipeline may have taken it; then
/// both run, until one finds that a watermark or checkpoint is not where it left it, and ends. The compare-and-swaps
/// keep the data right; the lease keeps a second pipeline from trying.
///
/// https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-getapplock-transact-sql
final class SQLServerLease: PipelineLease {
    private let keeper: LeaseKeeper

    private init(_ keeper: LeaseKeeper) { self.keeper = keeper }

    deinit { keeper.stop() }

    /// - Returns: `nil` when another session holds the lock.
    static func acquire(
        in database: SQLServerDatabase, warn: @escaping @Sendable (String) -> Void
    ) async throws -> SQLServerLease? {
        let keeper = LeaseKeeper(database, warn)
        let isHeld = try await withCheckedThrowingContinuation { continuation in
            keeper.start { continuation.resume(with: $0) }
        }
        return isHeld ? SQLServerLease(keeper) : nil
    }

    /// Gives the lock back and waits until the server knows, so that the next in line need not.
    func release() {
        keeper.stop()
        keeper.waitUntilEnded()
    }
}

/// The session behind a lease, on a thread of its own, which blocks nobody and needs no executor to be released.
private final class LeaseKeeper: @unchecked Sendable {
    /// The lock's name, as an expression. SQL Server keeps locks by database; other servers of its protocol may not.
    private static let resource = "CONCAT(N'tidemark:', LOWER(DB_NAME()))"
    /// Seconds between two looks: far less than the minutes after which firewalls forget an idle connection.
    private static let interval: TimeInterval = 5
    /// How long a look may take before the session counts as lost.
    private static let timeout: Duration = .seconds(10)
    /// Seconds `release` waits for at most.
    private static let releaseTimeout: TimeInterval = 5

    private let database: SQLServerDatabase
    private let warn: @Sendable (String) -> Void
    private let condition = NSCondition()
    // Guarded by `condition`.
    private var isStopped = false
    private var hasEnded = false

    init(_ database: SQLServerDatabase, _ warn: @escaping @Sendable (String) -> Void) {
        self.database = database
        self.warn = warn
    }

    /// Tells `opened` whether the lock was got, and keeps it.
    func start(_ opened: @escaping @Sendable (Result<Bool, any Error>) -> Void) {
        let thread = Thread { [self] in
            do {
                let connection = try open()
                opened(.success(connection != nil))
                if let connection { keep(connection) }
            } catch {
                opened(.failure(SQLServerFailure.readable(error, in: database.label)))
            }
            condition.withLock {
                hasEnded = true
                condition.broadcast()
            }
        }
        thread.name = "tidemark.lease"
        thread.start()
    }

    func stop() {
        condition.withLock {
            isStopped = true
            condition.broadcast()
        }
    }

    func waitUntilEnded() {
        let limit = Date(timeIntervalSinceNow: Self.releaseTimeout)
        condition.withLock {
            while !hasEnded, condition.wait(until: limit) {}
        }
    }

    /// Whether it is time for another look, not for the end.
    private func pause() -> Bool {
        let limit = Date(timeIntervalSinceNow: Self.interval)
        return condition.withLock {
            while !isStopped, condition.wait(until: limit) {}
            return !isStopped
        }
    }

    private func keep(_ first: Connection) {
        var connection: Connection? = first
        var reported = ""
        while pause() {
            if let held = connection {
                if holds(held) { continue }
                held.close()
                connection = nil
                warn("the lease on \(database.label) was lost with its session; asking for it again")
            }
            do {
                connection = try open()
                warn(
                    connection == nil
                        ? """
                        another pipeline has taken the lease on \(database.label) meanwhile; the one that finds itself \
                        overtaken ends
                        """ : "the lease on \(database.label) is held again")
                reported = ""
                // Whoever has it may be gone soon; one sentence about it is enough.
                while connection == nil, pause() { connection = try open() }
            } catch {
                let message = "\(SQLServerFailure.readable(error, in: database.label))"
                if message != reported { warn("the lease cannot be asked for again: \(message)") }
                reported = message
            }
        }
        if let connection { release(connection) }
    }

    /// A session's end is noticed by the server in its own time; a lock given back is free at once.
    private func release(_ connection: Connection) {
        _ = try? connection.execute(
            """
            DECLARE @resource nvarchar(255) = \(Self.resource);
            EXEC sp_releaseapplock @Resource = @resource, @LockOwner = N'Session', @DbPrincipal = N'public'
            """)
        connection.close()
    }

    private func holds(_ connection: Connection) -> Bool {
        let mode = try? connection.scalar(
            "SELECT APPLOCK_MODE(N'public', \(Self.resource), N'Session')"
        )
        return mode == .string("Exclusive")
    }

    /// A connection whose session holds the lock; `nil` when another one does.
    private func open() throws -> Connection? {
        let connection = try database.openConnection(queryTimeout: Self.timeout)
        let result = try connection.scalar(
            """
            DECLARE @result int, @resource nvarchar(255) = \(Self.resource);
            EXEC @result = sp_getapplock @Resource = @resource, @LockMode = N'Exclusive',
                @LockOwner = N'Session', @LockTimeout = 0, @DbPrincipal = N'public';
            SELECT @result
            """
        ).int64
        if let result, result >= 0 { return connection }
        // -1 says that somebody else has it; other servers of the protocol have other numbers for that.
        let isFree = try connection.scalar(
            "SELECT APPLOCK_TEST(N'public', \(Self.resource), N'Exclusive', N'Session')"
        ).int64
        connection.close()
        guard result != -1, isFree != 0 else { return nil }
        throw TidemarkError.unavailable(
            """
            \(database.label) does not give the pipeline its lock (sp_getapplock says \(result ?? 0)); a login needs \
            membership in the role public, no more
            """)
    }
}
