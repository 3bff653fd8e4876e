public import Logging

/// When to try again after failures in a row, and whom to tell.
///
/// The pause doubles from 250 ms to 30 s, and each is shortened at random by up to a half, so that loops that failed
/// together do not come back together.
public struct Backoff: Sendable {
    /// Long enough that a deadlock has dissolved, short enough that nobody notices it.
    static let first: Duration = .milliseconds(250)
    /// Long enough that a database coming back is not hammered, short enough that nobody waits for it.
    static let longest: Duration = .seconds(30)
    /// Failures in a row after which one that usually passes is reported like one that does not.
    static let patience = 3

    /// What to do about a failure.
    enum Report: Sendable, Equatable {
        /// It was told before.
        case nothing
        /// It usually passes: a line in the log is enough.
        case warn
        /// It lasts: log it and mark the worker ERROR.
        case record
    }

    private var next = Backoff.first
    private var resumeAt: ContinuousClock.Instant?
    private var failures = 0
    /// What was reported last, so that a lasting failure is told once.
    private var last: (message: String, report: Report)?

    /// Whether the pause after the last failure is over.
    func isOver(at now: ContinuousClock.Instant) -> Bool { resumeAt.map { now >= $0 } ?? true }

    /// Starts a pause.
    ///
    /// - Parameter jitter: the part of the pause to take, 0.5 to 1.
    mutating func failed(
        with error: any Error, at now: ContinuousClock.Instant, jitter: Double = .random(in: 0.5...1)
    ) -> Report {
        failures += 1
        resumeAt = now + next * jitter
        next = min(next * 2, Backoff.longest)
        let isTransient = (error as? TidemarkError)?.isTransient ?? false
        let report: Report = isTransient && failures < Backoff.patience ? .warn : .record
        let message = "\(error)"
        defer { last = (message, report) }
        return last.map { $0 == (message, report) } == true ? .nothing : report
    }

    /// Makes a step of a start again while it fails in a way that passes: the databases may be starting too.
    public static func patiently<Result>(logger: Logger, _ step: () async throws -> Result) async throws -> Result {
        var backoff = Backoff()
        while true {
            do {
                return try await step()
            } catch let error as TidemarkError where error.isTransient {
                if backoff.failed(with: error, at: .now) != .nothing {
                    logger.warning("trying again", metadata: ["error": "\(error)"])
                }
                while !backoff.isOver(at: .now) { try await Task.sleep(for: first / 5) }
            }
        }
    }

    /// Ends a series of failures. Returns whether there was one.
    mutating func succeeded() -> Bool {
        defer { self = Backoff() }
        return failures > 0
    }
}
