/// When to try again after failures in a row: 1 s, doubling to 30 s.
struct Backoff: Sendable {
    /// Long enough that a database coming back is not hammered, short enough that nobody waits for it.
    static let first: Duration = .seconds(1)
    static let longest: Duration = .seconds(30)

    private var next = Backoff.first
    private var resumeAt: ContinuousClock.Instant?
    /// The last error reported, so that a lasting one is logged and recorded once.
    private var lastMessage: String?

    /// Whether the pause after the last failure is over.
    func isOver(at now: ContinuousClock.Instant) -> Bool { resumeAt.map { now >= $0 } ?? true }

    /// Starts a pause. Returns whether `message` is another one than last time.
    mutating func failed(with message: String, at now: ContinuousClock.Instant) -> Bool {
        resumeAt = now + next
        next = min(next * 2, Backoff.longest)
        defer { lastMessage = message }
        return message != lastMessage
    }

    /// Ends a series of failures. Returns whether there was one.
    mutating func succeeded() -> Bool {
        defer { self = Backoff() }
        return lastMessage != nil
    }
}
