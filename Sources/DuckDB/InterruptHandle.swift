internal import CDuckDB
import Synchronization

/// Stops what a connection is running, from any thread.
///
/// DuckDB's own interrupt only reaches a query that has started: starting one clears it. This handle
/// remembers the request from the moment a statement begins, so that none is lost in between.
public final class InterruptHandle: Sendable {
    private struct State: @unchecked Sendable {
        /// Nil once the connection is closed.
        var connection: duckdb_connection?
        var isRunning = false
        /// The running statement is to stop.
        var isRequested = false
        /// The scope entered last and not left. Once it is cancelled, its further statements stop as well.
        var scope: Scope?
        /// A statement is running that must not be stopped halfway.
        var isShielded = false

        mutating func interrupt() {
            guard isRunning, !isShielded else { return }
            isRequested = true
            duckdb_interrupt(connection)
        }
    }

    /// One stretch of work on the connection, e.g. one closure run by a session.
    final class Scope: Sendable {
        private let cancelled = Atomic(false)

        var isCancelled: Bool { cancelled.load(ordering: .acquiring) }

        fileprivate func cancel() { cancelled.store(true, ordering: .releasing) }
    }

    private let state: Mutex<State>

    init(_ connection: duckdb_connection) {
        state = Mutex(State(connection: connection))
    }

    /// Stops the statement that is running, which then throws with kind `.interrupt`.
    ///
    /// Does nothing when none is running.
    public func interrupt() {
        state.withLock { $0.interrupt() }
    }

    // MARK: for the connection

    /// Marks the start of a statement; false when the work it belongs to is cancelled.
    func begin() -> Bool {
        state.withLock { state in
            guard state.isShielded || state.scope?.isCancelled != true else { return false }
            state.isRunning = true
            state.isRequested = false
            return true
        }
    }

    /// Whether the running statement is to stop. Asked after DuckDB has cleared its own mark.
    var isRequested: Bool {
        state.withLock { $0.isRequested }
    }

    func end() {
        state.withLock { $0.isRunning = false }
    }

    /// Runs a short statement to its end, whatever is asked meanwhile.
    func shielded<Result>(_ body: () throws -> Result) rethrows -> Result {
        state.withLock { $0.isShielded = true }
        defer { state.withLock { $0.isShielded = false } }
        return try body()
    }

    /// Whether the work now running was cancelled.
    var isScopeCancelled: Bool {
        state.withLock { $0.scope?.isCancelled == true }
    }

    func close() {
        state.withLock { state in
            state.connection = nil
            state.isRunning = false
        }
    }

    // MARK: for the session

    func enter(_ scope: Scope) {
        state.withLock { $0.scope = scope }
    }

    func leave() {
        state.withLock { $0.scope = nil }
    }

    /// Stops the scope's running statement and all that follow it, or keeps it from starting.
    func cancel(_ scope: Scope) {
        state.withLock { state in
            scope.cancel()
            // Other work may be running while this scope waits for its turn.
            if state.scope === scope { state.interrupt() }
        }
    }
}
