import Synchronization

/// The latest value of something that changes, and a way to wait for the next one.
///
/// A slow observer misses values in between, never the last one.
public final class Watch<Value: Sendable>: Sendable {
    private struct State {
        var value: Value
        var observers: [Int: AsyncStream<Void>.Continuation] = [:]
        var nextID = 0
    }

    private let state: Mutex<State>

    public init(_ value: Value) { state = Mutex(State(value: value)) }

    public var value: Value { state.withLock { $0.value } }

    /// Changes the value in place and tells all observers.
    public func update(_ change: (inout Value) -> Void) {
        let observers = state.withLock { state in
            change(&state.value)
            return Array(state.observers.values)
        }
        // Not under the lock: waking a task takes a lock of the task, which its cancellation holds while it calls
        // `onTermination`, which takes ours.
        for observer in observers { observer.yield() }
    }

    public func set(_ value: Value) { update { $0 = value } }

    /// The present value, then every later one, newest only.
    public func values() -> some AsyncSequence<Value, Never> & Sendable {
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let id = state.withLock { state in
            let id = state.nextID
            state.nextID += 1
            state.observers[id] = continuation
            return id
        }
        continuation.yield()
        continuation.onTermination = { [weak self] _ in
            _ = self?.state.withLock { $0.observers.removeValue(forKey: id) }
        }
        // What is told is that there is something new; the value is the one of the moment at which it is looked at.
        return stream.map { self.value }
    }
}
