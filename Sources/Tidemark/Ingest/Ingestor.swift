public import Logging
import Synchronization

/// Brings the changes of one capture into staging, window by window (design section 5).
///
/// The watermark lives in the serving database, and `step` takes it in and gives the next one back. What is kept
/// here is how far the read of a table is, of a new capture or after a gap; lost, that read begins anew.
public final class Ingestor: Sendable {
    /// One window that was staged.
    public struct Step: Sendable, Equatable {
        /// The new watermark.
        public var watermark: LSN
        /// Commit time of the last transaction at or below the watermark.
        public var commitTime: Timestamp?
        /// Changes staged.
        public var rows: Int
        /// Where the capture is complete from, when a snapshot changed that.
        public var completeFrom: LSN?
    }

    public let capture: Capture
    private let sourceName: String
    private let source: any ChangeSource
    private let store: any ServingStore
    private let maxRows: Int
    private let limits: BlockLimits
    private let engine: (any ComputeEngine)?
    private let onGap: GapPolicy
    private let logger: Logger
    private let beginning = Mutex(Beginning.unknown)
    /// The end of a window whose commit may have taken place although its answer was lost.
    private let unsettled = Mutex<LSN?>(nil)

    /// How a capture begins, or goes on after a gap.
    private enum Beginning: Sendable {
        case unknown
        case complete
        case incomplete
        /// - positions: what the log held before the read and, where the source can tell, when it began and when it
        ///   ended. A log that no longer has them is not the one of the table that was read.
        case staged(at: LSN, StagedSnapshot, until: SourceMark, positions: [SourcePosition])
    }

    /// - Parameters:
    ///   - capture: the capture to ingest.
    ///   - sourceName: `SOURCE_NAME`, the first part of the watermark's key.
    ///   - maxRows: changes in a window at most, but for one transaction larger than that.
    ///   - limits: how large the blocks get that are read from the source.
    ///   - engine: shows the staged state when the table is read anew; without one that is an error.
    ///   - onGap: what happens when changes may have been purged before they were read.
    public init(
        capture: Capture, sourceName: String, source: any ChangeSource, store: any ServingStore, maxRows: Int,
        limits: BlockLimits = .standard, engine: (any ComputeEngine)? = nil, onGap: GapPolicy = .stop, logger: Logger
    ) {
        self.capture = capture
        self.sourceName = sourceName
        self.source = source
        self.store = store
        self.maxRows = maxRows
        self.limits = limits
        self.engine = engine
        self.onGap = onGap
        self.logger = logger
    }

    /// Whether rows of the table are staged that nobody sees yet.
    public var isReading: Bool {
        beginning.withLock { if case .staged = $0 { true } else { false } }
    }

    /// Stages one window after `watermark`; `nil` when there is nothing to be published now.
    ///
    /// - Throws: `TidemarkError.gap`, `.otherHistory`, `.value`, `.conflict`, or what the databases threw.
    ///   The watermark has not moved then.
    public func step(after watermark: Watermark, bounds: SourceBounds) async throws -> Step? {
        if let step = try await settle() { return step }
        let position = HistoryDecision.position(of: [watermark])
        while true {
            let beginning = try await state(bounds: bounds)
            switch IngestDecision.next(
                capture: capture.instance, watermark: watermark.lastIngestedLSN, bounds: bounds, beginning: beginning,
                onGap: onGap, isResyncRequested: watermark.isResyncRequested)
            {
            case .idle:
                return nil
            case .stop(let error):
                throw error
            case .inspect:
                let isComplete = try await source.isComplete(capture)
                self.beginning.withLock { $0 = isComplete ? .complete : .incomplete }
            case .snapshot(let lsn):
                try await snapshot(at: lsn, after: watermark, bounds: bounds)
            case .read(let window, let from, let isBounded):
                // A read of the table that is no longer wanted, as the log it answered to is gone: its rows give way.
                if isBounded, isReading { giveUpRead() }
                do {
                    return try await read(
                        window, from: from, expecting: position, isBounded: isBounded, bounds: bounds)
                } catch TidemarkError.gap where window.after == .zero {
                    // Changes were purged after the log was found to be complete. It is looked at again.
                    continue
                } catch TidemarkError.otherHistory(let reason) where !isBounded {
                    // What was read is void. Whether the watermark is too is found at the next look at the source.
                    throw TidemarkError.transient("the table of \(capture.instance) is read again: \(reason)")
                }
            }
        }
    }

    /// The same from a watermark of which only the LSN is known.
    package func step(after lsn: LSN, bounds: SourceBounds) async throws -> Step? {
        try await step(
            after: Watermark(
                lastIngestedLSN: lsn, lastCommitTime: nil, rowsIngested: 0, status: .ok, lastError: nil,
                updatedAt: .now()), bounds: bounds)
    }

    /// Finds out how an attempt ended whose answer was lost; `nil` when it did not take place, or there is none.
    private func settle() async throws -> Step? {
        guard let end = unsettled.withLock({ $0 }) else { return nil }
        let present = try await store.watermarks(source: sourceName)[capture.instance]
        unsettled.withLock { $0 = nil }
        guard let present, present.lastIngestedLSN == end else { return nil }
        beginning.withLock { $0 = .unknown }
        // The rows were counted in the control table; how many they were is not known here.
        return Step(
            watermark: end, commitTime: present.lastCommitTime, rows: 0, completeFrom: present.completeFrom)
    }

    private func state(bounds: SourceBounds) async throws -> IngestDecision.Beginning {
        switch beginning.withLock({ $0 }) {
        case .unknown: return .unknown
        case .complete: return .complete
        case .incomplete: return .incomplete
        case .staged(let lsn, _, let mark, let positions):
            if try await source.hasPassed(mark, bounds: bounds) { return .staged(at: lsn, hasPassed: true) }
            guard try await isReplaced(positions.last) else { return .staged(at: lsn, hasPassed: false) }
            giveUpRead()
            return .unknown
        }
    }

    /// Whether the log no longer has a position. One that was put back may never pass a mark that was made before.
    private func isReplaced(_ position: SourcePosition?) async throws -> Bool {
        guard let position else { return false }
        return switch try await source.bounds(verifying: position).finding {
        case .beyond, .replaced: true
        case .kept, .forgotten, .unasked: false
        }
    }

    private func giveUpRead() { beginning.withLock { $0 = .unknown } }

    /// Stages what the table's rows tell. Read while the table is written to, they are not the table at one moment; they
    /// are once the changes up to the end of the read have been applied to them.
    private func snapshot(at lsn: LSN, after present: Watermark, bounds: SourceBounds) async throws {
        let watermark = present.lastIngestedLSN
        let place: Logger.Metadata = ["capture": "\(capture.instance)"]
        if watermark == .zero {
            logger.info("reading the rows older than change data capture", metadata: place)
        } else if present.isResyncRequested {
            logger.info("reading the table anew, as was asked for", metadata: place)
        } else if bounds.captures[capture.instance]?.trouble(of: capture.instance, at: watermark) != nil {
            logger.warning("reading the table anew: changes may not have been captured", metadata: place)
        } else {
            logger.warning(
                "changes after \(watermark) may have been purged before they were read; reading the table anew",
                metadata: place)
        }
        // A position of its own for the moment at which the read begins: a source that is put back meanwhile, even to a
        // moment just before it, does not have it.
        let opening = try await source.mark()
        let rows = try await source.rows(of: capture, limits: limits)
        let staged: StagedSnapshot
        if watermark > .zero {
            guard let engine else {
                throw TidemarkError.unavailable(
                    "the table of \(capture.instance) cannot be read anew without an engine to compare it with")
            }
            staged = try await GapSnapshot(capture: capture, engine: engine).differences(
                between: watermark, and: rows, at: lsn
            ) { differences in
                try await store.stageSnapshot(of: capture, source: sourceName, after: watermark, from: differences)
            }
        } else {
            staged = try await store.stageSnapshot(
                of: capture, source: sourceName, after: watermark,
                from: BlockChannel.prefetch(SnapshotReader(rows, at: lsn)))
        }
        let mark = try await source.mark()
        let positions = [bounds.end, opening.position, mark.position].compactMap(\.self)
        beginning.withLock { $0 = .staged(at: lsn, staged, until: mark, positions: positions) }
        logger.info(
            """
            staged \(staged.rows) \(watermark == .zero ? "rows" : "differences"); they are published once the changes made \
            meanwhile are in
            """, metadata: place)
    }

    /// - Parameter position: the watermark's, which the log must still hold.
    private func read(
        _ window: LSNWindow, from: LSN, expecting position: SourcePosition?, isBounded: Bool, bounds: SourceBounds
    ) async throws -> Step {
        do {
            let end =
                isBounded
                ? try await source.windowEnd(
                    of: capture, after: window.after, upTo: window.through, maxRows: maxRows) : window.through
            let commitTime = end == bounds.maxLSN ? bounds.maxCommitTime : try await source.commitTime(of: end)
            let last = commitTime.map { SourcePosition(lsn: end, commitTime: $0) }
            var snapshot: StagedSnapshot?
            // The end of the log that was looked at answers for captures that have no watermark of their own yet.
            var positions = [position, last, end == bounds.maxLSN ? nil : bounds.end].compactMap(\.self)
            if case .staged(_, let staged, _, let read) = beginning.withLock({ $0 }) {
                snapshot = staged
                positions += read
            }
            let reader = try await source.changes(
                of: capture, in: LSNWindow(after: window.after, through: end), expecting: positions,
                limits: limits)
            unsettled.withLock { $0 = end }
            let rows = try await store.ingest(
                capture, source: sourceName, window: LSNWindow(after: from, through: end), commitTime: commitTime,
                snapshot: snapshot, from: BlockChannel.prefetch(reader))
            unsettled.withLock { $0 = nil }
            beginning.withLock { $0 = .unknown }
            return Step(
                watermark: end, commitTime: commitTime, rows: (snapshot?.rows ?? 0) + rows,
                completeFrom: snapshot == nil ? nil : end)
        } catch {
            // Only a lost answer leaves open what became of the transaction.
            if case TidemarkError.transient = error {} else { unsettled.withLock { $0 = nil } }
            // Changes may have been purged by the time of the next attempt, so nothing found out before holds then.
            beginning.withLock { beginning in
                switch beginning {
                case .staged:
                    switch error {
                    case TidemarkError.gap, TidemarkError.otherHistory: beginning = .unknown
                    default: break
                    }
                default:
                    beginning = .unknown
                }
            }
            throw error
        }
    }
}

/// The rows of a table as inserts at one LSN.
private final class SnapshotReader: BlockReader {
    private let rows: any BlockReader<RowBatch>
    private let lsn: LSN
    private let count = Mutex(0)

    init(_ rows: any BlockReader<RowBatch>, at lsn: LSN) {
        self.rows = rows
        self.lsn = lsn
    }

    func next() throws -> ChangeBatch? {
        guard let batch = try rows.next() else { return nil }
        let before = count.withLock { count in
            defer { count += batch.count }
            return count
        }
        return ChangeBatch(snapshot: batch, at: lsn, firstRow: before)
    }
}
