internal import CODBC
import Foundation

/// Calls a driver on a thread of its own, and stops waiting for a call that does not come back.
///
/// No attribute of ODBC bounds every call on a connection whose other end is silent, tried with a server whose answers
/// were held back. Microsoft's driver 18, told to take two seconds, waits four minutes more for the answer to its own
/// request to stop, and for ever within a result; FreeTDS 1.3.17 ends a statement after twice the time, and a COMMIT
/// never. FreeTDS' threads can also wait for one another for ever when SQLCancel comes as a result ends
/// (`tds_connection_network`). So the wait is what is bounded: the call stays behind with its thread and its
/// connection, of which nothing more is used. On Linux the socket it waits for is shut down, by which it ends, and with
/// it what the server holds for it; elsewhere, or stuck otherwise, it ends when the driver gives up.
final class DriverThread: @unchecked Sendable {
    /// The call did not come back in time.
    struct Abandoned: Error {
        /// How long was waited for it.
        let limit: Duration
        /// It was asked to stop before.
        let isCancelled: Bool
    }

    /// What comes on top of a driver's own limit, or of a request to cancel: the time for the server to confirm that it
    /// has stopped, and for the driver to say so.
    static let grace: Duration = .seconds(5)

    // All guarded by `condition`.
    private let condition = NSCondition()
    private var thread: Thread?
    /// The thread's number with the system.
    private var number = 0
    private var work: (() -> Void)?
    private var isBusy = false
    private var isStopped = false
    private var hasAbandoned = false
    /// Run on the thread, should an abandoned call come back.
    private var afterwards: (() -> Void)?
    /// When the wait for the present call is over; `nil` for never.
    private var deadline: ContinuousClock.Instant?
    /// How long each call of the present work may take.
    private var limit: Duration?
    /// The present call was asked to stop.
    private var isHurried = false

    /// Whether a call was abandoned, so that the connection must not be used.
    var isAbandoned: Bool { condition.withLock { hasAbandoned } }

    /// Runs `body` on the thread, or at once on it.
    ///
    /// - Parameters:
    ///   - limit: how long each call in `body` may take, which ``beginCall()`` tells apart; without limit when nil.
    ///   - afterwards: what is left to do when `body` comes back after all.
    ///   - body: its values are shared with nobody until it returns, and with nobody ever after when it was abandoned.
    /// - Throws: ``Abandoned``, or what `body` throws.
    func run<Success>(
        within limit: Duration?, afterwards: @escaping () -> Void, _ body: @escaping () throws -> Success
    ) throws -> Success {
        let outcome = Outcome<Success>()
        condition.lock()
        defer { condition.unlock() }
        if let thread, thread === Thread.current { return try unlocked(body) }
        start()
        work = { outcome.result = Result { try body() } }
        isBusy = true
        self.afterwards = afterwards
        self.limit = limit
        deadline = limit.map { .now + $0 }
        isHurried = false
        condition.broadcast()
        while isBusy {
            guard let deadline else {
                condition.wait()
                continue
            }
            let left = ContinuousClock.now.duration(to: deadline)
            guard left > .zero else {
                hasAbandoned = true
                isStopped = true
                let abandoned = Abandoned(limit: limit ?? Self.grace, isCancelled: isHurried)
                endWait()
                throw abandoned
            }
            _ = condition.wait(until: Date(timeIntervalSinceNow: left / .seconds(1)))
        }
        guard let result = outcome.result else { throw CancellationError() }
        return try result.get()
    }

    /// Gives the call that begins now the whole time.
    func beginCall() {
        condition.withLock {
            deadline = limit.map { .now + $0 }
            isHurried = false
        }
    }

    /// Leaves the present call no more than the time it takes to be cancelled.
    func hurry() {
        condition.withLock {
            guard isBusy else { return }
            let end = ContinuousClock.now + Self.grace
            deadline = min(deadline ?? end, end)
            isHurried = true
            condition.broadcast()
        }
    }

    /// Ends the thread when it has nothing more to do.
    func stop() {
        condition.withLock {
            isStopped = true
            condition.broadcast()
        }
    }

    /// How often the call is looked for in the network, should it be elsewhere for a moment.
    private static let looks = 5

    /// Called with the lock held.
    private func endWait() {
        for _ in 0..<Self.looks {
            guard isBusy, codbc_end_wait(number) == 0 else { return }
            _ = condition.wait(until: Date(timeIntervalSinceNow: 0.02))
        }
    }

    private func unlocked<Success>(_ body: () throws -> Success) rethrows -> Success {
        condition.unlock()
        defer { condition.lock() }
        return try body()
    }

    /// Called with the lock held.
    private func start() {
        guard thread == nil else { return }
        let thread = Thread { [self] in loop() }
        // As the threads of sessions have: drivers expect more than macOS's 512 KiB.
        thread.stackSize = 8 << 20
        self.thread = thread
        thread.start()
    }

    private func loop() {
        // Foundation on Linux names a thread by itself only.
        Thread.current.name = "odbc driver"
        condition.withLock { number = codbc_thread() }
        while true {
            // Released before the caller goes on, so that what it holds last ends on the caller's thread.
            guard perform() else { return }
            let afterwards = condition.withLock { () -> (() -> Void)? in
                isBusy = false
                condition.broadcast()
                defer { self.afterwards = nil }
                return hasAbandoned ? self.afterwards : nil
            }
            afterwards?()
        }
    }

    /// Runs what there is to do; false when there will be nothing more.
    private func perform() -> Bool {
        let work = condition.withLock { () -> (() -> Void)? in
            while self.work == nil, !isStopped { condition.wait() }
            defer { self.work = nil }
            return self.work
        }
        work?()
        return work != nil
    }

    /// Written on the thread, read after it.
    private final class Outcome<Success> {
        var result: Result<Success, any Error>?
    }
}
