/// When a projection may be looked at again: its interval is the least time between two steps that did something.
///
/// The first step, the one after a look that found nothing to do, the one after a failure and a rebuild that is asked
/// for are not held by it.
struct ProjectionSchedule: Sendable {
    /// What a look at the projection came to.
    enum Outcome: Sendable {
        /// There was nothing to do.
        case idle
        /// The table was changed.
        case stepped
        /// Its pause is another's business (`Backoff`).
        case failed
        /// It was only asked whether a rebuild is wanted, and none is.
        case notAsked
    }

    /// What to do now.
    enum Action: Sendable, Equatable {
        /// Make a step if there is something to do.
        case look
        /// Find out whether a rebuild is asked for: if so, look, otherwise tell `.notAsked`.
        case ask
        /// Nothing before then.
        case wait(until: ContinuousClock.Instant)
    }

    let interval: Duration
    /// How often it is asked for rebuilds while the interval holds it.
    let heartbeat: Duration
    private var heldUntil: ContinuousClock.Instant?
    private var askAt: ContinuousClock.Instant?

    init(interval: Duration, heartbeat: Duration) {
        self.interval = interval
        self.heartbeat = heartbeat
    }

    func next(at now: ContinuousClock.Instant) -> Action {
        guard let heldUntil, now < heldUntil else { return .look }
        guard let askAt, now < askAt else { return .ask }
        return .wait(until: min(heldUntil, askAt))
    }

    mutating func ended(_ outcome: Outcome, at now: ContinuousClock.Instant) {
        switch outcome {
        case .stepped:
            heldUntil = now + interval
            askAt = now + heartbeat
        case .idle, .failed:
            heldUntil = nil
        case .notAsked:
            askAt = now + heartbeat
        }
    }
}
