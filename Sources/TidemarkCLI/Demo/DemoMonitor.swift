import Synchronization
import Tidemark

/// Collects what the load generator commits and what the pipeline does with it.
///
/// Freshness is measured from the commit of each source transaction to the commit of the projection that first
/// shows it, transaction by transaction.
final class DemoMonitor: Sendable {
    struct CaptureFigures: Sendable {
        var rows = 0
        var watermark = LSN.zero
        var commitTime: Timestamp?
        var error: String?
    }

    struct ProjectionFigures: Sendable {
        var commits = 0
        var rows = 0
        var asOf = LSN.zero
        var asOfTime: Timestamp?
        var committedAt: Timestamp?
        var freshness = LatencyHistogram()
        var error: String?
        /// Index of the first transaction that is not shown yet, counted from the first one ever.
        fileprivate var next = 0
    }

    struct Figures: Sendable {
        var transactions = 0
        var captures: [String: CaptureFigures] = [:]
        var projections: [String: ProjectionFigures] = [:]
        var sourceEnd: (lsn: LSN, time: Timestamp?) = (.zero, nil)
        fileprivate var hasPipelineEnded = false
        /// Transactions that some projection does not show yet, oldest first; LSNs do not fall.
        fileprivate var pending: [(lsn: LSN, at: Timestamp)] = []
        /// How many transactions came before `pending`.
        fileprivate var dropped = 0
    }

    private let state: Mutex<Figures>

    init(projections: [String]) {
        var figures = Figures()
        for name in projections { figures.projections[name] = ProjectionFigures() }
        state = Mutex(figures)
    }

    var figures: Figures { state.withLock { $0 } }

    /// Transactions the load generator committed.
    func committed(_ commits: [SourceCommit]) {
        state.withLock { figures in
            figures.transactions += commits.count
            for commit in commits {
                if let lsn = commit.lsn { figures.pending.append((lsn, commit.committedAt)) }
            }
            // A projection may have shown them before the generator could say so.
            for name in figures.projections.keys { Self.settle(name, &figures) }
        }
    }

    /// Something the pipeline did.
    func observed(_ event: PipelineEvent) {
        state.withLock { figures in
            switch event {
            case .polled(let bounds):
                figures.sourceEnd = (bounds.maxLSN, bounds.maxCommitTime)
            case .ingested(let capture, let step, _):
                var line = figures.captures[capture] ?? CaptureFigures()
                line.rows += step.rows
                line.watermark = step.watermark
                line.commitTime = step.commitTime
                line.error = nil
                figures.captures[capture] = line
            case .projected(let name, let step, let at):
                figures.projections[name]?.commits += 1
                figures.projections[name]?.rows += step.rows
                figures.projections[name]?.asOf = step.asOf
                figures.projections[name]?.asOfTime = step.asOfTime
                figures.projections[name]?.committedAt = at
                figures.projections[name]?.error = nil
                Self.settle(name, &figures)
                Self.dropShown(&figures)
            case .captureFailed(let capture, let message):
                figures.captures[capture, default: CaptureFigures()].error = message
            case .projectionFailed(let name, let message):
                figures.projections[name]?.error = message
            }
        }
    }

    /// The pipeline has ended, stopped or failed.
    func pipelineEnded() { state.withLock { $0.hasPipelineEnded = true } }

    var hasPipelineEnded: Bool { state.withLock { $0.hasPipelineEnded } }

    /// Whether every transaction committed so far is shown by every projection.
    var isCaughtUp: Bool {
        state.withLock { figures in
            figures.projections.values.allSatisfy { $0.next == figures.dropped + figures.pending.count }
        }
    }

    /// Forgets the freshness measured so far.
    func resetFreshness() {
        state.withLock { figures in
            for name in figures.projections.keys { figures.projections[name]?.freshness = LatencyHistogram() }
        }
    }

    /// Records the freshness of the transactions that projection `name` now shows.
    private static func settle(_ name: String, _ figures: inout Figures) {
        guard var line = figures.projections[name], let shownAt = line.committedAt else { return }
        while line.next - figures.dropped < figures.pending.count {
            let transaction = figures.pending[line.next - figures.dropped]
            guard transaction.lsn <= line.asOf else { break }
            line.freshness.record(max(0, shownAt.seconds(since: transaction.at)))
            line.next += 1
        }
        figures.projections[name] = line
    }

    /// Forgets transactions that every projection shows.
    private static func dropShown(_ figures: inout Figures) {
        guard let next = figures.projections.values.map(\.next).min() else { return }
        let shown = next - figures.dropped
        // Seldom, because removing from the front moves the rest.
        guard shown > 4096 else { return }
        figures.pending.removeFirst(shown)
        figures.dropped = next
    }
}
