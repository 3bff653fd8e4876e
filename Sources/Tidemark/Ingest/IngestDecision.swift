/// What happens to a capture when changes may have been purged before they were read.
public enum GapPolicy: String, Sendable, CaseIterable {
    /// The capture stops with an error, until its owner decides.
    case stop
    /// Its table is read anew, and what differs from the staged state is staged in place of the lost changes.
    case snapshot
}

/// What an ingestor does next, decided from values alone (design section 5, steps 1 to 3).
public enum IngestDecision: Sendable, Equatable {
    /// The watermark has reached the end of the source's log, or what comes next waits for the log.
    case idle
    /// The capture is new, and whether its changes tell of every row has to be asked of the source.
    case inspect
    /// The table has to be read first: its rows are older than the changes, or changes were purged. What it says is
    /// staged at `lsn`.
    case snapshot(at: LSN)
    /// Changes in `window` can be read. They move the watermark from `from`, in windows of bounded size if
    /// `isBounded`; otherwise all at once, because nothing may be published before the last of them.
    case read(LSNWindow, from: LSN, isBounded: Bool)
    /// Going on would skip changes, or is impossible; the capture stops with this error.
    case stop(TidemarkError)

    /// What is known of a capture whose watermark is zero, below its min LSN, or older than the capture itself.
    public enum Beginning: Sendable, Equatable {
        case unknown
        /// The change table tells of every row.
        case complete
        /// It does not, and the rows have not been read yet.
        case incomplete
        /// The rows are staged at `lsn`; the log `hasPassed` the moment at which their reading ended, or not yet.
        case staged(at: LSN, hasPassed: Bool)
    }

    /// - Parameters:
    ///   - capture: the capture instance's name, for the error.
    ///   - watermark: the last LSN staged.
    ///   - bounds: how far the source's log goes and what it still holds.
    ///   - beginning: matters while the watermark is zero, below the min LSN, or before the capture was made anew.
    ///   - onGap: what a watermark below the min LSN leads to.
    ///   - isResyncRequested: whether an operator asked for the table to be read anew.
    public static func next(
        capture: String, watermark: LSN, bounds: SourceBounds, beginning: Beginning, onGap: GapPolicy,
        isResyncRequested: Bool = false
    ) -> IngestDecision {
        guard let own = bounds.captures[capture] else {
            return .stop(
                .unavailable(
                    "capture \(capture) is no longer offered by the source: enable CDC on its table again"))
        }
        if let fault = own.fault { return .stop(fault) }
        // Nothing captured yet, or all of it purged: there is no log to compare with.
        guard bounds.maxLSN > .zero || watermark == .zero, let minLSN = own.minLSN else { return .idle }
        if watermark > bounds.maxLSN {
            // Seen before by `HistoryDecision`, unless the bounds were not asked about this position.
            return .stop(
                .otherHistory(
                    """
                    capture \(capture) has a watermark of \(watermark), beyond the source's max LSN \(bounds.maxLSN): the \
                    source was put back from a backup or is another database. \(TidemarkError.historyRemedy)
                    """))
        }
        let restartedAt = own.restartedAt ?? .zero
        let isGap = watermark > .zero && watermark < minLSN
        let isRestart = watermark > .zero && watermark < restartedAt
        // What was not captured is lost whatever the retention: reading the table anew is the only way on.
        if isGap, onGap == .stop, !isRestart, !isResyncRequested {
            return .stop(.gap(capture: capture, watermark: watermark, minLSN: minLSN))
        }
        let isReadAnew = isGap || isRestart || isResyncRequested && watermark > .zero
        guard isReadAnew || watermark == .zero else {
            return watermark == bounds.maxLSN ? .idle : read(after: watermark, from: watermark, bounds)
        }
        // What the log tells up to here is in the table's rows already, and they are staged beyond the watermark.
        let here = max(bounds.maxLSN, minLSN, restartedAt, watermark.next)
        switch beginning {
        case .unknown where watermark == .zero && restartedAt == .zero:
            return .inspect
        case .complete where watermark == .zero && restartedAt == .zero:
            // A watermark below the min LSN would be a gap.
            return bounds.maxLSN < max(minLSN, .first) ? .idle : read(after: .zero, from: .zero, bounds)
        case .unknown, .complete, .incomplete:
            return .snapshot(at: here)
        case .staged(let lsn, _) where lsn < restartedAt:
            // The rows were read before: what was not captured may not be among them.
            return .snapshot(at: here)
        case .staged(let lsn, let hasPassed):
            return hasPassed && bounds.maxLSN >= lsn
                ? read(after: lsn, from: watermark, bounds, isBounded: false) : .idle
        }
    }

    private static func read(
        after: LSN, from: LSN, _ bounds: SourceBounds, isBounded: Bool = true
    ) -> IngestDecision {
        .read(LSNWindow(after: after, through: bounds.maxLSN), from: from, isBounded: isBounded)
    }
}
