internal import CODBC
import Foundation

/// Stops what a connection is running, from any thread.
///
/// A request can reach the driver before the statement does, and is lost then; so it is repeated until the
/// statement ends. SQLCancel may wait for the network, so it runs on a thread of its own, never the caller's.
public final class CancelHandle: @unchecked Sendable {
    /// One stretch of work on the connection, e.g. one closure run by a session.
    final class Scope: @unchecked Sendable {
        // Guarded by a handle's condition.
        fileprivate(set) var isCancelled = false
    }

    /// Seconds after which a request is repeated.
    private static let repetition = 0.25

    // All guarded by `condition`.
    private let condition = NSCondition()
    /// The statement the driver is at work on.
    private var running: SQLHSTMT?
    /// Counts the calls, so that a request is not carried over to the next.
    private var turn = 0
    /// The turn the cancelling thread is for.
    private var cancellingTurn = 0
    /// SQLCancel is being called; the statement's handle must stay.
    private var isCalling = false
    /// The running statement is to stop.
    private var isRequested = false
    /// The scope entered last and not left. Once it is cancelled, its further statements stop as well.
    private var scope: Scope?
    /// A statement is running that must not be stopped halfway.
    private var isShielded = false

    private let reachesDriver: Bool
    /// Told of every request that reaches the driver.
    private let requested: @Sendable () -> Void

    init(reachesDriver: Bool, requested: @escaping @Sendable () -> Void = {}) {
        self.reachesDriver = reachesDriver
        self.requested = requested
    }

    /// Stops the statement that is running, which then throws ``ODBCError/cancelled(sql:)``.
    ///
    /// Does nothing when none is running. With a driver that cannot be stopped (SQLite's), the statement
    /// runs to its end and throws then.
    public func cancel() {
        condition.withLock { request() }
    }

    // MARK: for the connection

    /// Marks the start of a driver's call; false when the work it belongs to is cancelled.
    func begin(_ statement: SQLHSTMT?) -> Bool {
        condition.withLock {
            guard isShielded || scope?.isCancelled != true else { return false }
            running = statement
            turn += 1
            isRequested = false
            return true
        }
    }

    /// Marks the end of a driver's call and says whether it was asked to stop.
    ///
    /// A call that was asked to stop and ended well all the same may have lost rows to the request.
    func end() -> Bool {
        condition.withLock {
            while isCalling { condition.wait() }
            running = nil
            condition.broadcast()
            return isRequested
        }
    }

    /// Forgets the call that runs, which does not come back.
    func abandon() {
        condition.withLock {
            running = nil
            turn += 1
            condition.broadcast()
        }
    }

    /// Whether the work now running was cancelled.
    var isScopeCancelled: Bool {
        condition.withLock { scope?.isCancelled == true }
    }

    /// Runs a short piece of work to its end, whatever is asked meanwhile.
    func shielded<Result>(_ body: () throws -> Result) rethrows -> Result {
        condition.withLock { isShielded = true }
        defer { condition.withLock { isShielded = false } }
        return try body()
    }

    // MARK: for the session

    /// Enters a scope; false when it is already cancelled.
    func enter(_ scope: Scope) -> Bool {
        condition.withLock {
            self.scope = scope
            return !scope.isCancelled
        }
    }

    func leave() {
        condition.withLock { scope = nil }
    }

    /// Stops the scope's running statement and all that follow it, or keeps it from starting.
    func cancel(_ scope: Scope) {
        condition.withLock {
            scope.isCancelled = true
            // Other work may be running while this scope waits for its turn.
            if self.scope === scope { request() }
        }
    }

    // MARK: the request

    /// Called with the lock held.
    private func request() {
        guard running != nil, !isShielded else { return }
        isRequested = true
        guard reachesDriver, cancellingTurn != turn else { return }
        requested()
        cancellingTurn = turn
        let turn = turn
        let thread = Thread { [self] in repeatCancel(turn) }
        thread.name = "odbc cancel"
        thread.start()
    }

    private func repeatCancel(_ turn: Int) {
        condition.lock()
        defer { condition.unlock() }
        while self.turn == turn, let running {
            isCalling = true
            condition.unlock()
            // Its result says nothing: drivers return an error when the statement has just ended.
            _ = SQLCancel(running)
            condition.lock()
            isCalling = false
            condition.broadcast()
            let next = Date(timeIntervalSinceNow: Self.repetition)
            while self.turn == turn, self.running != nil, condition.wait(until: next) {}
        }
    }
}
