/// The port to the source database: its capture instances, how far its log goes, and the changes in it.
///
/// Every implementation passes the suite `ChangeSourceContract`.
public protocol ChangeSource: Sendable {
    /// Reads which capture instances the source has; costs more than a poll, so call it at start-up.
    ///
    /// - Throws: `TidemarkError.unavailable` when change data capture is off, or hidden from the login.
    func catalog() async throws -> SourceCatalog

    /// Where the log stands, for all captures in one cheap round trip, and what the source is.
    ///
    /// Every transaction committed before the call has an LSN at or below `maxLSN`, unless the source was
    /// too busy to close the log position just now; then a later call shows it.
    ///
    /// - Parameter position: one that was read before; `SourceBounds.finding` says, of the same moment as the rest, what
    ///   became of it.
    func bounds(verifying position: SourcePosition?) async throws -> SourceBounds

    /// The end of the next window of `capture`: a transaction boundary in `(after, upTo]`.
    ///
    /// - Parameters:
    ///   - after: the watermark.
    ///   - upTo: `SourceBounds.maxLSN`, the furthest the window may go.
    ///   - maxRows: how many changes a window should hold at most. One transaction larger than that is
    ///     returned whole: it is never split.
    /// - Returns: `upTo` when all changes fit, otherwise the LSN of the last transaction that does.
    func windowEnd(of capture: Capture, after: LSN, upTo: LSN, maxRows: Int) async throws -> LSN

    /// When the last transaction at or before `lsn` was committed; `nil` when the source no longer knows.
    func commitTime(of lsn: LSN) async throws -> Timestamp?

    /// Opens a reader over the changes of `capture` in `window`, ordered by `(lsn, command_id, seqval, op)`.
    ///
    /// No snapshot of the source is held longer than it takes to read a block.
    ///
    /// A window that begins at `LSN.zero` tells of every row: the changes of a capture that `isComplete`.
    ///
    /// - Parameters:
    ///   - positions: what the log must hold just so, in each snapshot the changes are read in.
    ///   - limits: how large a block gets; memory is bounded by it, not by the window.
    /// - Throws: here or from the reader, `TidemarkError.gap` when changes of the window may have been purged,
    ///   `.otherHistory` when one of the positions is not in the log as it was read, `.value` when a value does not fit
    ///   its column's type.
    func changes(of capture: Capture, in window: LSNWindow, expecting positions: [SourcePosition], limits: BlockLimits)
        async throws -> any BlockReader<ChangeBatch>

    /// Whether replaying the changes of `capture` from the first one gives the whole table: nothing was purged, and
    /// every row the table holds has a change. May be costly: asked once, when a capture is first seen.
    func isComplete(_ capture: Capture) async throws -> Bool

    /// Opens a reader over the rows the source table holds now: each committed, though not all at one moment.
    func rows(of capture: Capture, limits: BlockLimits) async throws -> any BlockReader<RowBatch>

    /// Marks this moment in the source's log.
    func mark() async throws -> SourceMark

    /// Whether every transaction committed before `mark` has an LSN at or below `bounds.maxLSN`.
    func hasPassed(_ mark: SourceMark, bounds: SourceBounds) async throws -> Bool

    /// Notes how far a pipeline has read, so that the source keeps what it has not. Called before the first read, and
    /// every now and then.
    func acknowledge(_ reader: SourceReader) async throws

    /// Periodic upkeep the source needs from the pipeline, such as purging changes past their retention.
    ///
    /// Returns a sentence for the log when something was done.
    func maintain() async throws -> String?

    /// Looks whether something keeps the source from telling of new changes although it answers, such as a capture job
    /// that does not run; `nil` when nothing can be seen to.
    func trouble() async throws -> SourceTrouble?
}

extension ChangeSource {
    /// Where the log stands.
    public func bounds() async throws -> SourceBounds { try await bounds(verifying: nil) }

    /// The changes of a window, whatever the log was before.
    public func changes(of capture: Capture, in window: LSNWindow, blockRows: Int) async throws
        -> any BlockReader<ChangeBatch>
    {
        try await changes(of: capture, in: window, expecting: [], limits: BlockLimits(rows: blockRows))
    }

    /// The source keeps changes for its retention, whoever has read them.
    public func acknowledge(_ reader: SourceReader) async throws {}

    /// None is needed.
    public func maintain() async throws -> String? { nil }

    /// A source that answers tells everything.
    public func trouble() async throws -> SourceTrouble? { nil }

    /// Rows in blocks of at most `blockRows`.
    public func rows(of capture: Capture, blockRows: Int) async throws -> any BlockReader<RowBatch> {
        try await rows(of: capture, limits: BlockLimits(rows: blockRows))
    }

    /// The capture instances the source offers, by name: those of its catalog that can be carried.
    public func captures() async throws -> [Capture] { try await catalog().carried.captures }
}

/// The capture instances of a source, by name.
public struct SourceCatalog: Sendable, Equatable {
    public var captures: [Capture]
    /// Those that cannot be carried, such as one with a column of an unknown type; the others go on without them.
    public var refused: [RefusedCapture]
    /// What their owner should know, one sentence each.
    public var warnings: [String]

    public init(captures: [Capture], refused: [RefusedCapture], warnings: [String] = []) {
        self.captures = captures
        self.refused = refused
        self.warnings = warnings
    }

    /// The same with those refused too whose names leave the pipeline none for its own columns.
    public var carried: SourceCatalog {
        var carried = SourceCatalog(captures: [], refused: refused, warnings: warnings)
        for capture in captures {
            if let problem = capture.namingProblem {
                carried.refused.append(
                    RefusedCapture(instance: capture.instance, table: capture.table, reason: problem))
            } else {
                carried.captures.append(capture)
            }
        }
        return carried
    }
}

/// A capture instance that the source has and the pipeline cannot carry.
public struct RefusedCapture: Sendable, Equatable {
    public var instance: String
    /// The source table's name without its schema, where it is known.
    public var table: String?
    /// What to change so that it can be carried.
    public var reason: TidemarkError

    public init(instance: String, table: String? = nil, reason: TidemarkError) {
        self.instance = instance
        self.table = table
        self.reason = reason
    }

    /// Whether a projection that reads `name` reads this: a capture is called by its instance or by its table, whose
    /// name is the instance's end.
    public func isNamed(_ name: String) -> Bool {
        instance == name || table.map { $0 == name } ?? instance.hasSuffix("_" + name)
    }
}

/// What keeps a source that answers from telling of new changes.
public struct SourceTrouble: Sendable, Equatable {
    /// What is wrong, with the remedy.
    public var error: TidemarkError
    /// Whether it was seen, not concluded from a silence that may be somebody's free day.
    public var isCertain: Bool

    public init(_ error: TidemarkError, isCertain: Bool) {
        self.error = error
        self.isCertain = isCertain
    }
}

/// How far the source's log goes.
public struct SourceBounds: Sendable, Equatable {
    /// The last LSN whose transactions are complete; every transaction at or below it can be read.
    public var maxLSN: LSN
    /// Commit time of `maxLSN`; `nil` when the log is still empty.
    public var maxCommitTime: Timestamp?
    /// By capture instance: what its change table still holds.
    public var captures: [String: CaptureBounds]
    /// What the source is.
    public var identity: SourceIdentity
    /// What became of the position that was asked about.
    public var finding: PositionFinding

    public init(
        maxLSN: LSN, maxCommitTime: Timestamp?, captures: [String: CaptureBounds],
        identity: SourceIdentity = SourceIdentity(), finding: PositionFinding = .unasked
    ) {
        self.maxLSN = maxLSN
        self.maxCommitTime = maxCommitTime
        self.captures = captures
        self.identity = identity
        self.finding = finding
    }

    /// The end of the log as a position; `nil` when its commit time is not known.
    var end: SourcePosition? { maxCommitTime.map { SourcePosition(lsn: maxLSN, commitTime: $0) } }
}

/// What a capture's change table still holds.
public struct CaptureBounds: Sendable, Equatable {
    /// Changes below this LSN may have been purged. It may lie beyond the end of the log for a while after the capture
    /// was enabled; `nil` when the source does not tell it yet.
    public var minLSN: LSN?
    /// Where the capture was made anew, after changes may have gone uncaptured: they are lost to every watermark below
    /// it, and the table has to be read anew, whatever is set for gaps. `nil` when that never happened.
    public var restartedAt: LSN?
    /// What was found then, the capture being its subject.
    public var restartReason: String?
    /// What keeps changes from being captured, with the remedy. While there is something, nothing past the watermark can
    /// be vouched for.
    public var fault: TidemarkError?

    public init(
        minLSN: LSN?, restartedAt: LSN? = nil, restartReason: String? = nil, fault: TidemarkError? = nil
    ) {
        self.minLSN = minLSN
        self.restartedAt = restartedAt
        self.restartReason = restartReason
        self.fault = fault
    }

    /// Why what is staged of `capture` up to `watermark` must not be taken for its table; `nil` when nothing speaks
    /// against it.
    public func trouble(of capture: String, at watermark: LSN) -> TidemarkError? {
        if let fault { return fault }
        guard let restartedAt, watermark > .zero, watermark < restartedAt else { return nil }
        return .restarted(
            capture: capture, watermark: watermark, restartedAt: restartedAt,
            reason: restartReason ?? "was made anew")
    }
}

/// A pipeline that reads a source.
public struct SourceReader: Sendable, Equatable {
    /// The serving database's id, by which the source tells pipelines apart.
    public var id: String
    /// Its watermarks, by capture instance.
    public var watermarks: [String: LSN]

    public init(id: String, watermarks: [String: LSN]) {
        self.id = id
        self.watermarks = watermarks
    }
}

/// A moment in a source's log, in whatever terms the source knows it at once. Only its source can read it.
public struct SourceMark: Sendable, Equatable {
    public var lsn: LSN
    public var time: Timestamp
    /// Whether the log holds the mark as a position: committed at `time`, with `lsn`.
    public var isPosition: Bool

    public init(lsn: LSN, time: Timestamp, isPosition: Bool = false) {
        self.lsn = lsn
        self.time = time
        self.isPosition = isPosition
    }

    /// The mark as a position of the log; `nil` when it is none.
    var position: SourcePosition? { isPosition ? SourcePosition(lsn: lsn, commitTime: time) : nil }
}

/// A cursor that hands out blocks; blocking, for one caller at a time.
///
/// Call `next()` from a thread that may block, never from Swift's cooperative pool. Dropping the reader
/// closes the cursor.
public protocol BlockReader<Block>: AnyObject, Sendable {
    associatedtype Block: Sendable

    /// The next block, never empty; `nil` after the last.
    func next() throws -> Block?
}
