import Testing
import Tidemark

/// Waits until `condition` holds, with a bound far above what it takes.
///
/// - Returns: whether it came to hold; a failure is recorded when it did not.
@discardableResult
func eventually(
    _ what: String, within limit: Duration = .seconds(60), sourceLocation: SourceLocation = #_sourceLocation,
    _ condition: () async throws -> Bool
) async throws -> Bool {
    let end = ContinuousClock.now + limit
    while ContinuousClock.now < end {
        if try await condition() { return true }
        try await Task.sleep(for: .milliseconds(5))
    }
    Issue.record("not within \(limit): \(what)", sourceLocation: sourceLocation)
    return false
}

/// Waits for `work` to return or throw, with a bound.
func ends<Result: Sendable>(
    _ what: String, within limit: Duration = .seconds(60), sourceLocation: SourceLocation = #_sourceLocation,
    _ work: @escaping @Sendable () async throws -> Result
) async throws -> Result? {
    let result = Watch<Swift.Result<Result, any Error>?>(nil)
    Task {
        do { result.set(.success(try await work())) } catch { result.set(.failure(error)) }
    }
    guard
        try await eventually(what, within: limit, sourceLocation: sourceLocation, { result.value != nil })
    else { return nil }
    return try result.value?.get()
}
