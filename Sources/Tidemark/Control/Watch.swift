import Synchronization

/// The latest value of something that changes, and a way to wait for the next one.
///
/// A slow observer misses values in between, never the last one.
public final class Watch<Value: Sendable>: Sendable {
    private struct State {
        var value: Value
        var observers: [Int: AsyncStream<Value>.Continuation] = [:]
        var nextID = 0
    }

    private let state: Mutex<State>

    public init(_ value: Value) { state = Mutex(State(value: value)) }

    public var value: Value { state.withLock { $0.value } }

    /// Changes the value in place and tells all observers.
    public func update(_ change: (inout Value) -> Void) {
        state.withLock { state in
            change(&state.value)
            for observer in state.observers.values { observer.yield(state.value) }
        }
    }

    public func set(_ value: Value) { update { $0 = value } }

    /// The present value, then every later one, newest only.
    public func values() -> AsyncStream<Value> {
        let (stream, continuation) = AsyncStream.makeStream(of: Value.self, bufferingPolicy: .bufferingNewest(1))
        let id = state.withLock { state in
            continuation.yield(state.value)
            let id = state.nextID
            state.nextID += 1
            state.observers[id] = continuation
            return id
        }
        continuation.onTermination = { [weak self] _ in
            _ = self?.state.withLock { $0.observers.removeValue(forKey: id) }
        }
        return stream
    }
}
