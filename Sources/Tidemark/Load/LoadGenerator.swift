/// Writes a `Workload` to the source at a steady rate.
public struct LoadGenerator: Sendable {
    /// Transactions are written in groups this far apart: fine enough to look steady, coarse enough that the
    /// pause is a small part of the work at thousands a second.
    private static let tick: Duration = .milliseconds(4)

    private let writer: any SourceWriter
    private let observe: @Sendable ([SourceCommit]) -> Void

    /// - Parameter observe: told of every group of commits, on the generator's task.
    public init(writer: any SourceWriter, observe: @escaping @Sendable ([SourceCommit]) -> Void = { _ in }) {
        self.writer = writer
        self.observe = observe
    }

    /// Writes `rate` transactions a second for `duration`, or until the task is cancelled when it is `nil`.
    ///
    /// A source that cannot keep up gets what it takes: transactions that are late are written without a
    /// pause, and those more than a second late are left out.
    ///
    /// - Returns: the number of transactions written.
    @discardableResult
    public func run(_ workload: inout Workload, rate: Int, duration: Duration?) async throws -> Int {
        let start = ContinuousClock.now
        var planned = 0
        var written = 0
        while !Task.isCancelled {
            let elapsed = ContinuousClock.now - start
            if let duration, elapsed >= duration { break }
            let due = Int((elapsed / .seconds(1)) * Double(rate)) + 1
            if due - planned > rate { planned = due - rate }
            // A group is bounded, so that cancellation is noticed on a slow source too.
            let count = min(due - planned, max(1, rate / 20))
            if count > 0 {
                var group: [[String]] = []
                for _ in 0..<count { group.append(workload.next(at: .now())) }
                // In a task of its own: a group at hand is written to its end, and counted, when this one is cancelled.
                let due = group
                observe(try await Task { [writer] in try await writer.write(due) }.value)
                planned += count
                written += count
            }
            if planned >= due {
                do { try await Task.sleep(for: Self.tick) } catch { break }
            }
        }
        return written
    }
}
