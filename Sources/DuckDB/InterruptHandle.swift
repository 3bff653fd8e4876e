internal import CDuckDB
import Dispatch
import Synchronization

/// Stops what a connection is running, from any thread.
///
/// DuckDB's own interrupt only reaches a query that has started: starting one clears it. So a request is repeated
/// until the statement it is for has ended.
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

        /// How many statements have begun: tells a request for one from a later one.
        var statement = 0

        mutating func interrupt() -> Bool {
            guard isRunning, !isShielded else { return false }
            isRequested = true
            duckdb_interrupt(connection)
            return true
        }
    }

    /// One stretch of work on the connection, e.g. one closure run by a session.
    final class Scope: Sendable {
        private let cancelled = Atomic(false)

        var isCancelled: Bool { cancelled.load(ordering: .acquiring) }

        fileprivate func cancel() { cancelled.store(true, ordering: .releasing) }
    }

    /// Pause between two requests: starting a statement takes less, and nobody waits much longer for it.
    private static let repetition: DispatchTimeInterval = .milliseconds(5)

    private let state: Mutex<State>

    init(_ connection: duckdb_connection) {
        state = Mutex(State(connection: connection))
    }

    /// Stops the statement that is running, which then throws with kind `.interrupt`.
    ///
    /// Does nothing when none is running.
    public func interrupt() {
        if let statement = state.withLock({ $0.interrupt() ? $0.statement : nil }) { repeatInterrupt(of: statement) }
    }

    private func repeatInterrupt(of statement: Int) {
        DispatchQueue.global().asyncAfter(deadline: .now() + Self.repetition) {
            if self.state.withLock({ $0.statement == statement && $0.interrupt() }) {
                self.repeatInterrupt(of: statement)
            }
        }
    }

    // MARK: for the connection

    /// Marks the start of a statement; false when the work it belongs to is cancelled.
    func begin() -> Bool {
        state.withLock { state in
            guard state.isShielded || state.scope?.isCancelled != true else { return false }
            state.isRunning = true
            state.isRequested = false
            state.statement += 1
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
        let statement: Int? = state.withLock { state in
            scope.cancel()
            // Other work may be running while this scope waits for its turn.
            return state.scope === scope && state.interrupt() ? state.statement : nil
        }
        if let statement { repeatInterrupt(of: statement) }
    }
}
