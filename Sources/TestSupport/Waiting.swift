/// How long anything may take that takes a moment: far more than it needs, on the busiest machine.
package let patience: Duration = .seconds(180)

/// What did not happen in time.
package struct TimedOut: Error, CustomStringConvertible {
    package let description: String
}

/// Waits until `condition` holds.
///
/// - Throws: `TimedOut` when it does not within `limit`, and what `condition` throws.
package func eventually(
    _ what: String, within limit: Duration = patience, _ condition: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + limit
    while try await !condition() {
        guard ContinuousClock.now < deadline else { throw TimedOut(description: "not within \(limit): \(what)") }
        try await Task.sleep(for: .milliseconds(10))
    }
}
