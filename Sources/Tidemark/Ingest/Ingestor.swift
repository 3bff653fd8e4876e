public import Logging
import Synchronization

/// Brings the changes of one capture into staging, window by window (design section 5).
///
/// The watermark lives in the serving database, and `step` takes it in and gives the next one back. What is kept
/// here is how far the initial read of a new capture is; lost, that read begins anew.
public final class Ingestor: Sendable {
    /// One window that was staged.
    public struct Step: Sendable, Equatable {
        /// The new watermark.
        public var watermark: LSN
        /// Commit time of the last transaction at or below the watermark.
        public var commitTime: Timestamp?
        /// Changes staged.
        public var rows: Int
    }

    /// Rows in a block: large enough that the cost of handing it over vanishes, small enough that three
    /// blocks in flight take a few megabytes whatever the window.
    public static let blockRows = 16_384

    public let capture: Capture
    private let sourceName: String
    private let source: any ChangeSource
    private let store: any ServingStore
    private let maxRows: Int
    private let logger: Logger
    private let beginning = Mutex(Beginning.unknown)
    /// The end of a window whose commit may have taken place although its answer was lost.
    private let unsettled = Mutex<LSN?>(nil)

    /// How a capture with a watermark of zero begins.
    private enum Beginning: Sendable {
        case unknown
        case complete
        case incomplete
        case staged(at: LSN, rows: Int, until: SourceMark)
    }

    /// - Parameters:
    ///   - capture: the capture to ingest.
    ///   - sourceName: `SOURCE_NAME`, the first part of the watermark's key.
    ///   - maxRows: changes in a window at most, but for one transaction larger than that.
    public init(
        capture: Capture, sourceName: String, source: any ChangeSource, store: any ServingStore, maxRows: Int,
        logger: Logger
    ) {
        self.capture = capture
        self.sourceName = sourceName
        self.source = source
        self.store = store
        self.maxRows = maxRows
        self.logger = logger
    }

    /// Stages one window after `watermark`; `nil` when there is nothing to be published now.
    ///
    /// - Throws: `TidemarkError.gap`, `.sourceBehind`, `.value`, `.conflict`, or what the databases threw.
    ///   The watermark has not moved then.
    public func step(after watermark: LSN, bounds: SourceBounds) async throws -> Step? {
        if let step = try await settle() { return step }
        while true {
            let beginning = try await state(bounds: bounds)
            switch IngestDecision.next(
                capture: capture.instance, watermark: watermark, bounds: bounds, beginning: beginning)
            {
            case .idle:
                return nil
            case .stop(let error):
                throw error
            case .inspect:
                let isComplete = try await source.isComplete(capture)
                self.beginning.withLock { $0 = isComplete ? .complete : .incomplete }
            case .snapshot(let lsn):
                try await snapshot(at: lsn)
            case .read(let window, let from, let isBounded):
                return try await read(window, from: from, isBounded: isBounded, bounds: bounds)
            }
        }
    }

    /// Finds out how an attempt ended whose answer was lost; `nil` when it did not take place, or there is none.
    private func settle() async throws -> Step? {
        guard let end = unsettled.withLock({ $0 }) else { return nil }
        let present = try await store.watermarks(source: sourceName)[capture.instance]
        unsettled.withLock { $0 = nil }
        guard let present, present.lastIngestedLSN == end else { return nil }
        beginning.withLock { $0 = .unknown }
        // The rows were counted in the control table; how many they were is not known here.
        return Step(watermark: end, commitTime: present.lastCommitTime, rows: 0)
    }

    private func state(bounds: SourceBounds) async throws -> IngestDecision.Beginning {
        switch beginning.withLock({ $0 }) {
        case .unknown: .unknown
        case .complete: .complete
        case .incomplete: .incomplete
        case .staged(let lsn, _, let mark):
            .staged(at: lsn, hasPassed: try await source.hasPassed(mark, bounds: bounds))
        }
    }

    /// Stages the rows older than the changes. Read while the table is written to, they are not the table at one
    /// moment; they are once the changes up to the end of the read have been applied to them.
    private func snapshot(at lsn: LSN) async throws {
        let place: Logger.Metadata = ["capture": "\(capture.instance)"]
        logger.info("reading the rows older than change data capture", metadata: place)
        let rows = try await store.stageSnapshot(
            of: capture, source: sourceName, at: lsn, from: source.rows(of: capture, blockRows: Self.blockRows))
        let mark = try await source.mark()
        beginning.withLock { $0 = .staged(at: lsn, rows: rows, until: mark) }
        logger.info(
            "read \(rows) rows; they are published once the changes made meanwhile are in", metadata: place)
    }

    private func read(
        _ window: LSNWindow, from: LSN, isBounded: Bool, bounds: SourceBounds
    ) async throws -> Step {
        do {
            let end =
                isBounded
                ? try await source.windowEnd(
                    of: capture, after: window.after, upTo: window.through, maxRows: maxRows) : window.through
            let commitTime = end == bounds.maxLSN ? bounds.maxCommitTime : try await source.commitTime(of: end)
            let reader = try await source.changes(
                of: capture, in: LSNWindow(after: window.after, through: end), blockRows: Self.blockRows)
            unsettled.withLock { $0 = end }
            let rows = try await store.ingest(
                capture, source: sourceName, window: LSNWindow(after: from, through: end), commitTime: commitTime,
                from: BlockChannel.prefetch(reader))
            unsettled.withLock { $0 = nil }
            var total = rows
            beginning.withLock { beginning in
                if case .staged(_, let before, _) = beginning { total += before }
                beginning = .unknown
            }
            return Step(watermark: end, commitTime: commitTime, rows: total)
        } catch {
            // Only a lost answer leaves open what became of the transaction.
            if case TidemarkError.transient = error {} else { unsettled.withLock { $0 = nil } }
            // Changes may have been purged by the time of the next attempt, so nothing found out before holds then.
            beginning.withLock { beginning in
                switch beginning {
                case .staged:
                    if case TidemarkError.gap = error { beginning = .unknown }
                default:
                    beginning = .unknown
                }
            }
            throw error
        }
    }
}
