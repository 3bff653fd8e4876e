import Foundation
import Synchronization
import UnixSignals

/// What SIGINT and SIGTERM do while a command works that has an end of its own, such as a demo.
enum Interruption {
    /// Runs `work`, and calls `handle` for each SIGINT or SIGTERM with how many there have been.
    static func handled<Result: Sendable>(
        by handle: @escaping @Sendable (_ signal: UnixSignal, _ count: Int) -> Void,
        during work: () async throws -> Result
    ) async throws -> Result {
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
        let watching = Task {
            var count = 0
            for await signal in signals {
                count += 1
                handle(signal, count)
            }
        }
        defer { watching.cancel() }
        return try await work()
    }

    /// Ends the process with the code a shell shows for `signal`. Open transactions roll back as after a kill.
    static func exit(by signal: UnixSignal) -> Never {
        _exit(128 + signal.rawValue)
    }
}

/// A piece of work that can be told to end early, before or after it was started.
final class EndableWork: Sendable {
    private struct State {
        var isEnded = false
        var cancel: (@Sendable () -> Void)?
    }

    private let state = Mutex(State())

    /// Whether the work is going on.
    var isRunning: Bool { state.withLock { $0.cancel != nil } }

    /// Runs `work` in a task that `end()` cancels.
    func run<Result: Sendable>(_ work: @escaping @Sendable () async throws -> Result) async throws -> Result {
        let task = Task { try await work() }
        let isEnded = state.withLock { state in
            state.cancel = { task.cancel() }
            return state.isEnded
        }
        if isEnded { task.cancel() }
        defer { state.withLock { $0.cancel = nil } }
        return try await task.value
    }

    /// Cancels the work.
    func end() {
        let cancel = state.withLock { state in
            state.isEnded = true
            return state.cancel
        }
        cancel?()
    }
}
