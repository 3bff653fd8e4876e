/// Which captures the control table may show as failed, and what keeps them from being shown as mended.
///
/// Errors are written by several loops while a capture's own loop commits, and each commit shows the capture as
/// sound. Whatever the order, an error must not stay when its cause is gone.
struct CaptureStanding: Sendable {
    /// What an error says.
    enum Cause: Sendable {
        /// Something about the capture itself.
        case capture
        /// The source does not answer.
        case unreachable
        /// The source answers, and tells of nothing new.
        case idle
        /// The source has another history than the one that was read.
        case otherHistory
    }

    /// An error in the control table.
    struct Failure: Sendable, Equatable {
        let cause: Cause
        fileprivate let number: Int
    }

    private(set) var failures: [String: Failure] = [:]
    /// What ails the source as a whole; while there is something, no capture is shown as mended for want of news.
    var ailments: Set<Cause> = []
    private var count = 0

    /// An error has been written.
    mutating func shown(as cause: Cause, by instance: String) {
        count += 1
        failures[instance] = Failure(cause: cause, number: count)
    }

    /// Something was committed that began when `before` was the capture's failure, and shows the capture as sound
    /// unless an error was written since.
    ///
    /// - Returns: the capture's failure now.
    mutating func mended(_ instance: String, since before: Failure?) -> Failure? {
        if failures[instance] == before { failures[instance] = nil }
        return failures[instance]
    }
}
