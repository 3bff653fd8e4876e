/// The port to `stg_cdc_*`: the durable log of changes, one table for each capture.
public protocol StagingLog: Sendable {
    /// Creates the staging table of `capture` and its watermark at `LSN.zero` when they are missing.
    ///
    /// - Throws: `TidemarkError.schema` when a staging table with other columns or types is there, `.configuration` when
    ///   changes are staged in it under another source's name.
    func prepareStaging(for capture: Capture, source: String) async throws

    /// Stages what a read of the source's table tells, in place of whatever is staged beyond `watermark`. The watermark
    /// stays, so nothing of it is seen until `ingest` has brought the changes since.
    ///
    /// No transaction is open while the reader is waited for; a large table takes several, as in `ingest`.
    ///
    /// - Parameter changes: in log order, all beyond the watermark.
    /// - Returns: what was staged.
    /// - Throws: `TidemarkError.conflict` when the capture's watermark is not `watermark`, or somebody else stages beyond it.
    func stageSnapshot(
        of capture: Capture, source: String, after watermark: LSN, from changes: any BlockReader<ChangeBatch>
    ) async throws -> StagedSnapshot

    /// Appends the changes `reader` hands out to the capture's staging table and moves its watermark from
    /// `window.after` to `window.through`, in one transaction. Sets the capture's status to OK.
    ///
    /// The changes are gathered first, so no transaction is open while the reader is waited for. Those of a window that
    /// is larger than `BlockLimits.transactionBytes` are staged in several transactions beyond the watermark, where nobody
    /// looks, and the last one moves it: `StagingAttempt` has the rule.
    ///
    /// - Parameter snapshot: what `stageSnapshot` has staged in the window, if it has: it counts as ingested from now on,
    ///   the capture is complete from the window's end, and a resync that was asked for is done.
    /// - Returns: the number of changes written.
    ///
    /// A watermark that leaves `LSN.zero` begins the capture: what projections consumed of it before is void, and they
    /// are to be built in full (status INIT).
    func ingest(
        _ capture: Capture, source: String, window: LSNWindow, commitTime: Timestamp?, snapshot: StagedSnapshot?,
        from reader: any BlockReader<ChangeBatch>
    ) async throws -> Int

    /// Moves several watermarks over windows in which their captures had no change, in one transaction.
    ///
    /// - Throws: `TidemarkError.conflict` as well when something is staged in such a window.
    func advance(_ moves: [WatermarkMove], source: String, commitTime: Timestamp?) async throws

    /// Opens a reader over the staged changes of `capture` in `window`, in log order.
    func staged(_ capture: Capture, in window: LSNWindow, limits: BlockLimits) async throws
        -> any BlockReader<ChangeBatch>
}

extension StagingLog {
    /// An ingest of a window without a snapshot.
    @discardableResult
    public func ingest(
        _ capture: Capture, source: String, window: LSNWindow, commitTime: Timestamp?,
        from reader: any BlockReader<ChangeBatch>
    ) async throws -> Int {
        try await ingest(
            capture, source: source, window: window, commitTime: commitTime, snapshot: nil, from: reader)
    }

    /// Staged changes in blocks of at most `blockRows` rows.
    public func staged(_ capture: Capture, in window: LSNWindow, blockRows: Int) async throws
        -> any BlockReader<ChangeBatch>
    {
        try await staged(capture, in: window, limits: BlockLimits(rows: blockRows))
    }
}
