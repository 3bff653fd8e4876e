import Logging
import Synchronization
import Tidemark

/// Logs what the pipeline writes without a line per commit: the first commit of each capture and projection at once,
/// then the sum of the ones since at most every ten seconds. At level debug each commit has its line as well.
final class ProgressLog: Sendable {
    /// Often enough to see a pipeline live, seldom enough that a day's log can be read.
    private static let interval = 10.0

    private struct Tally {
        var rows = 0
        var commits = 0
        var reportedAt: Timestamp?
    }

    private let logger: Logger
    private let tallies = Mutex<[String: Tally]>([:])

    init(logger: Logger) { self.logger = logger }

    /// Takes in an event of the pipeline. Failures are logged by the pipeline itself.
    func observe(_ event: PipelineEvent) {
        switch event {
        case .ingested(let capture, let step, let at):
            record(
                "ingested", subject: ("capture", capture), rows: step.rows, at: at,
                position: ["watermark": "\(step.watermark)"])
        case .projected(let name, let step, let at):
            var position: Logger.Metadata = ["as_of_lsn": "\(step.asOf)"]
            if let time = step.asOfTime {
                position["behind_ms"] = .stringConvertible(Int(max(0, at.seconds(since: time)) * 1000))
            }
            record("projected", subject: ("projection", name), rows: step.rows, at: at, position: position)
        case .polled, .captureFailed, .projectionFailed:
            break
        }
    }

    private func record(
        _ message: Logger.Message, subject: (kind: String, name: String), rows: Int, at: Timestamp,
        position: Logger.Metadata
    ) {
        let metadata = position.merging([subject.kind: "\(subject.name)"]) { first, _ in first }
        logger.debug(message, metadata: metadata.merging(["rows": .stringConvertible(rows)]) { first, _ in first })
        let due: Tally? = tallies.withLock { tallies in
            var tally = tallies["\(subject.kind) \(subject.name)"] ?? Tally()
            tally.rows += rows
            tally.commits += 1
            let isDue = tally.reportedAt.map { at.seconds(since: $0) >= Self.interval } ?? true
            // A line that tells of no row is worth nothing.
            let due = isDue && tally.rows > 0 ? tally : nil
            if due != nil { tally = Tally(reportedAt: at) }
            tallies["\(subject.kind) \(subject.name)"] = tally
            return due
        }
        guard let due else { return }
        logger.info(
            message,
            metadata: metadata.merging([
                "rows": .stringConvertible(due.rows), "commits": .stringConvertible(due.commits),
            ]) { first, _ in first })
    }
}
