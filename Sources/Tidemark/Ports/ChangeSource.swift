/// The port to the source database: its capture instances, how far its log goes, and the changes in it.
///
/// Every implementation passes the suite `ChangeSourceContract`.
public protocol ChangeSource: Sendable {
    /// The capture instances the source offers, by name; asks the catalog, so call it at start-up.
    ///
    /// - Throws: `TidemarkError` naming the table and column when a type cannot be captured.
    func captures() async throws -> [Capture]

    /// Where the log stands, for all captures in one cheap round trip.
    ///
    /// Every transaction committed before the call has an LSN at or below `maxLSN`, unless the source was
    /// too busy to close the log position just now; then a later call shows it.
    func bounds() async throws -> SourceBounds

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
    /// - Parameter blockRows: rows in a block at most; memory is bounded by it, not by the window.
    /// - Throws: `TidemarkError.value` from the reader when a value does not fit its column's type.
    func changes(of capture: Capture, in window: LSNWindow, blockRows: Int) async throws
        -> any BlockReader<ChangeBatch>

    /// Opens a reader over the rows the source table holds now, in its own snapshot.
    func rows(of capture: Capture, blockRows: Int) async throws -> any BlockReader<RowBatch>

    /// Periodic upkeep the source needs from the pipeline, such as purging changes past their retention.
    ///
    /// Returns a sentence for the log when something was done.
    func maintain() async throws -> String?
}

/// How far the source's log goes.
public struct SourceBounds: Sendable, Equatable {
    /// The last LSN whose transactions are complete; every transaction at or below it can be read.
    public var maxLSN: LSN
    /// Commit time of `maxLSN`; `nil` when the log is still empty.
    public var maxCommitTime: Timestamp?
    /// By capture instance: what its change table still holds.
    public var captures: [String: CaptureBounds]

    public init(maxLSN: LSN, maxCommitTime: Timestamp?, captures: [String: CaptureBounds]) {
        self.maxLSN = maxLSN
        self.maxCommitTime = maxCommitTime
        self.captures = captures
    }
}

/// What a capture's change table still holds.
public struct CaptureBounds: Sendable, Equatable {
    /// Changes below this LSN may have been purged.
    public var minLSN: LSN
    /// Whether nothing was ever purged and the change table began with the rows the source table then had,
    /// so that replaying it from the start gives the whole table.
    public var isComplete: Bool

    public init(minLSN: LSN, isComplete: Bool) {
        self.minLSN = minLSN
        self.isComplete = isComplete
    }
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
