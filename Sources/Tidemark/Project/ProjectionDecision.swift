/// What a projection worker does next, decided from values alone (design section 6).
public enum ProjectionDecision: Sendable, Equatable {
    /// The table is already true at the cutoff, or nothing has been ingested yet.
    case idle
    /// The table is true at the cutoff, and shows an error of before: clear it.
    case confirm(at: LSN)
    /// Build the table in full as of `asOf`.
    case build(asOf: LSN, reason: BuildReason)
    /// The state at the cutoff cannot be shown: a capture lags far behind the others. The cutoff will catch up with
    /// `until`.
    case wait(until: LSN)
    /// Apply what changed between two LSNs.
    case advance(from: LSN, to: LSN)
    /// The checkpoint lies beyond the cutoff, which no step of the pipeline can cause.
    case stop(TidemarkError)

    public enum BuildReason: String, Sendable {
        case new = "it was never built"
        case requested = "a rebuild was asked for"
        case definitionChanged = "its definition changed"
        case checkpointTooOld = "its checkpoint is older than the replica"
        case stepTooLarge = "its step takes more memory than there is"
    }

    /// - Parameters:
    ///   - name: the projection's name, for the error.
    ///   - state: what the serving database knows of it.
    ///   - definitionHash: hash of the definition at hand.
    ///   - captures: the capture instances it reads.
    ///   - cutoff: MIN(watermark) over those captures.
    ///   - completeFrom: the LSN from which on staging shows all of them.
    ///   - replicaBase: the oldest LSN the replica can still show, MAX(base LSN) over those captures.
    ///   - furthest: MAX(watermark) over those captures: what the cutoff reaches once none lags.
    public static func next(
        name: String, state: ProjectionState?, definitionHash: String, captures: Set<String>, cutoff: LSN,
        completeFrom: LSN, replicaBase: LSN, furthest: LSN
    ) -> ProjectionDecision {
        guard cutoff > .zero else { return .idle }
        func build(_ reason: BuildReason) -> ProjectionDecision {
            // Readers have seen the table at `shown`, and see no earlier state unless there will be no later one:
            // the watermarks were reset under it.
            let shown = state?.checkpoints.values.max() ?? .zero
            let earliest = max(replicaBase, completeFrom, shown <= furthest ? shown : .zero)
            return cutoff < earliest ? .wait(until: earliest) : .build(asOf: cutoff, reason: reason)
        }
        guard let state, let checkpoint = state.checkpoints.values.min(), state.asOfLSN != nil else {
            return build(.new)
        }
        if state.status == .initial { return build(.requested) }
        if state.definitionHash != definitionHash || Set(state.checkpoints.keys) != captures {
            return build(.definitionChanged)
        }
        if checkpoint > cutoff {
            return .stop(
                .projection(
                    name: name,
                    reason: """
                        its checkpoint \(checkpoint) is beyond the cutoff \(cutoff), so watermarks were reset under it; \
                        run `tidemark rebuild \(name)`
                        """))
        }
        if checkpoint == cutoff { return state.status == .error ? .confirm(at: cutoff) : .idle }
        if cutoff < completeFrom { return .wait(until: completeFrom) }
        if checkpoint < replicaBase { return build(.checkpointTooOld) }
        return .advance(from: checkpoint, to: cutoff)
    }

    /// MAX(watermark) over a projection's captures.
    public static func furthest(of captures: some Sequence<String>, watermarks: [String: Watermark]) -> LSN {
        captures.compactMap { watermarks[$0]?.lastIngestedLSN }.max() ?? .zero
    }

    /// The LSN from which on staging shows all of a projection's captures: MAX(complete from) over them.
    public static func completeFrom(of captures: some Sequence<String>, watermarks: [String: Watermark]) -> LSN {
        captures.compactMap { watermarks[$0]?.completeFrom }.max() ?? .zero
    }

    /// The cutoff of a projection: MIN(watermark) over its captures, with that watermark's commit time.
    /// `nil` while a capture has no watermark yet.
    public static func cutoff(of captures: some Sequence<String>, watermarks: [String: Watermark])
        -> (lsn: LSN, commitTime: Timestamp?)?
    {
        var lowest: (lsn: LSN, commitTime: Timestamp?)?
        for capture in captures {
            guard let watermark = watermarks[capture] else { return nil }
            if lowest == nil || watermark.lastIngestedLSN < lowest!.lsn {
                lowest = (watermark.lastIngestedLSN, watermark.lastCommitTime)
            }
        }
        return lowest
    }
}
