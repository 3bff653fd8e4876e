/// The port to the serving database: staging, control tables and projections.
///
/// Every implementation passes the suite `ServingStoreContract`. Whatever moves a watermark or a checkpoint
/// does so by compare-and-swap in the same transaction as the data, and throws `TidemarkError.conflict`,
/// with nothing written, when somebody else moved it first.
public protocol ServingStore: Sendable {
    /// Creates the control tables when they are missing; safe to repeat.
    func bootstrap() async throws

    /// A random id given to the serving database when it was bootstrapped. A replica made from another
    /// serving database is recognised by it.
    func servingID() async throws -> String

    /// Tries to become the one pipeline that writes to this serving database.
    ///
    /// - Returns: `nil` when another process holds the lease. The lease ends when the value is released or
    ///   the process dies, however it dies.
    func acquireLease() async throws -> (any PipelineLease)?

    // MARK: Sources

    /// What is known of a source; `nil` before its first start.
    func source(_ name: String) async throws -> SourceRecord?

    /// Notes what a source says it is, and whether it still has the history that was read from it.
    ///
    /// - Parameter mismatch: why it has not. Every capture of the source is an ERROR with that sentence then, and until
    ///   it is noted as `nil` nothing is staged from the source: `ingest`, `advance` and `stageSnapshot` throw
    ///   `TidemarkError.otherHistory`.
    func recordSource(_ name: String, identity: SourceIdentity, mismatch: String?) async throws

    /// Begins a source's history anew, in one transaction: its captures are at `LSN.zero` again, and projections that
    /// have consumed any of them have no checkpoint. Their tables stay as they are until they are built.
    func startOver(source: String, identity: SourceIdentity) async throws

    /// Asks the pipeline that holds the lease to read a table anew; all of the source's when `capture` is `nil`.
    ///
    /// - Returns: whether there is such a capture, or source.
    func requestResync(source: String, capture: String?) async throws -> Bool

    // MARK: Staging

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

    /// All watermarks of `source`, by capture instance.
    func watermarks(source: String) async throws -> [String: Watermark]

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

    /// Marks a capture ERROR; the watermark stays.
    func recordError(_ message: String, capture: String, source: String) async throws

    /// Opens a reader over the staged changes of `capture` in `window`, in log order.
    func staged(_ capture: Capture, in window: LSNWindow, limits: BlockLimits) async throws
        -> any BlockReader<ChangeBatch>

    // MARK: Projections

    /// Checkpoints and metadata of a projection; `nil` when it was never built.
    func projection(_ name: String) async throws -> ProjectionState?

    /// States of all projections the serving database knows, by name.
    func projections() async throws -> [String: ProjectionState]

    /// Applies `changes` to the projection's table, moves its checkpoints and writes its metadata (status OK), in one
    /// transaction. Only rows that differ from what the table holds are written.
    ///
    /// The first changes are gathered before the transaction begins, all of them when they are few.
    ///
    /// - Parameter changes: deletes first, then upserts.
    /// - Returns: the number of rows written.
    @discardableResult
    func commit(_ commit: ProjectionCommit, changes: any BlockReader<ProjectionChange>) async throws -> Int

    /// Fills a new table with `rows` beside the projection's present one, then swaps it in, sets the
    /// checkpoints and writes metadata (status OK) in one transaction. Readers see the old table until then.
    /// A table left over from an attempt that was cut short is dropped first.
    ///
    /// - Returns: the number of rows written.
    func build(_ build: ProjectionBuild, rows: any BlockReader<RowBatch>) async throws -> Int

    /// Marks a projection ERROR; table and checkpoints stay. When a rebuild was asked for (status INIT), the
    /// definition's hash is emptied, so that it is still made.
    func recordError(_ message: String, projection: String) async throws

    /// Asks the pipeline that holds the lease to build a projection anew (status INIT; the table stays as it is until then).
    func requestRebuild(projection: String) async throws

    /// Reads a projection's table together with its state, in one snapshot.
    ///
    /// - Throws: `TidemarkError.schema` when the table's columns are not `columns`.
    func readProjection(_ name: String, columns: [Column], limits: BlockLimits) async throws
        -> (ProjectionState, any BlockReader<RowBatch>)
}

extension ServingStore {
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

    /// A projection's table in blocks of at most `blockRows` rows.
    public func readProjection(_ name: String, columns: [Column], blockRows: Int) async throws
        -> (ProjectionState, any BlockReader<RowBatch>)
    {
        try await readProjection(name, columns: columns, limits: BlockLimits(rows: blockRows))
    }

    /// A step in which nothing changed.
    @discardableResult
    public func commit(_ commit: ProjectionCommit) async throws -> Int {
        try await self.commit(commit, changes: NoBlocks())
    }
}

/// A reader that has nothing.
private final class NoBlocks<Block: Sendable>: BlockReader {
    func next() throws -> Block? { nil }
}

/// The right to be the one pipeline on a serving database.
public protocol PipelineLease: AnyObject, Sendable {
    func release()
}

/// `ctl_ingestion_watermarks`: how far a capture has been staged.
public struct Watermark: Sendable, Equatable {
    public enum Status: String, Sendable {
        /// Nothing ingested yet.
        case initial = "INIT"
        case ok = "OK"
        case error = "ERROR"
    }

    public var lastIngestedLSN: LSN
    /// From here on staging shows the table as it was at every LSN. Before, where a snapshot stands for changes that
    /// could not be read, it shows none.
    public var completeFrom: LSN
    public var lastCommitTime: Timestamp?
    /// Changes ingested since the capture was first seen.
    public var rowsIngested: Int
    public var status: Status
    public var lastError: String?
    /// Whether an operator asked for the table to be read anew.
    public var isResyncRequested: Bool
    public var updatedAt: Timestamp

    public init(
        lastIngestedLSN: LSN, completeFrom: LSN = .zero, lastCommitTime: Timestamp?, rowsIngested: Int,
        status: Status, lastError: String?, isResyncRequested: Bool = false, updatedAt: Timestamp
    ) {
        self.isResyncRequested = isResyncRequested
        self.lastIngestedLSN = lastIngestedLSN
        self.completeFrom = completeFrom
        self.lastCommitTime = lastCommitTime
        self.rowsIngested = rowsIngested
        self.status = status
        self.lastError = lastError
        self.updatedAt = updatedAt
    }
}

/// A watermark's step over a window without changes.
public struct WatermarkMove: Sendable, Equatable {
    public var capture: String
    public var window: LSNWindow

    public init(capture: String, window: LSNWindow) {
        self.capture = capture
        self.window = window
    }
}

/// `ctl_projection_checkpoints` and `ctl_projection_metadata` of one projection.
public struct ProjectionState: Sendable, Equatable {
    public enum Status: String, Sendable {
        /// Never built, or a rebuild was asked for.
        case initial = "INIT"
        case ok = "OK"
        case error = "ERROR"
    }

    /// By capture instance: the LSN up to which the projection has consumed; empty before the first build.
    public var checkpoints: [String: LSN]
    public var status: Status
    /// The LSN the table is true at; `nil` before the first build.
    public var asOfLSN: LSN?
    public var asOfTime: Timestamp?
    /// When the table was last built in full.
    public var builtAt: Timestamp?
    public var definitionHash: String
    /// Rows the last commit or build wrote: inserted, changed and deleted.
    public var rowsWritten: Int
    public var lastError: String?

    public init(
        checkpoints: [String: LSN], status: Status, asOfLSN: LSN?, asOfTime: Timestamp?,
        builtAt: Timestamp?, definitionHash: String, rowsWritten: Int, lastError: String?
    ) {
        self.checkpoints = checkpoints
        self.status = status
        self.asOfLSN = asOfLSN
        self.asOfTime = asOfTime
        self.builtAt = builtAt
        self.definitionHash = definitionHash
        self.rowsWritten = rowsWritten
        self.lastError = lastError
    }
}

/// The shape of a projection's table.
public struct ProjectionTable: Sendable, Equatable {
    public let projection: String
    public let columns: [Column]
    /// The primary key's columns.
    public let key: [String]

    public init(projection: String, columns: [Column], key: [String]) {
        self.projection = projection
        self.columns = columns
        self.key = key
    }

    /// Name of the table in the serving database.
    public var name: String { "proj_\(projection)" }

    /// Name of the table a build fills, which no projection's table has.
    public var buildName: String { "ctl_build_\(projection)" }

    /// What earlier versions called that table. Another projection's may be called so.
    public var formerBuildName: String { "\(name)__new" }
    /// The projection whose table has that name, if there is one.
    public var formerBuildProjection: String { "\(projection)__new" }

    /// The key's columns, in the order of `key`.
    public var keyColumns: [Column] {
        key.compactMap { name in columns.first { $0.name == name } }
    }
}

/// One incremental step of a projection.
public struct ProjectionCommit: Sendable {
    public var table: ProjectionTable
    /// The checkpoint of every capture before the step, for the compare-and-swap.
    public var from: LSN
    /// The cutoff: checkpoints and `as_of_lsn` after the step.
    public var to: LSN
    public var asOfTime: Timestamp?
    /// The capture instances the projection reads.
    public var captures: [String]
    public var definitionHash: String

    public init(
        table: ProjectionTable, from: LSN, to: LSN, asOfTime: Timestamp?, captures: [String], definitionHash: String
    ) {
        self.table = table
        self.from = from
        self.to = to
        self.asOfTime = asOfTime
        self.captures = captures
        self.definitionHash = definitionHash
    }
}

/// A block of what a projection's table gains, changes and loses, or may: a row that is already so stays as it is.
public enum ProjectionChange: MeasuredBlock {
    /// Keys that have no row, columns in the order of `ProjectionTable.key`.
    case deletes(RowBatch)
    /// Whole rows, columns in the order of `ProjectionTable.columns`.
    case upserts(RowBatch)

    public var byteCount: Int {
        switch self {
        case .deletes(let rows), .upserts(let rows): rows.byteCount
        }
    }
}

/// A projection built in full.
public struct ProjectionBuild: Sendable {
    public var table: ProjectionTable
    /// The state before the build, for the compare-and-swap; `nil` when there is none.
    public var replacing: ProjectionState?
    public var asOf: LSN
    public var asOfTime: Timestamp?
    public var captures: [String]
    public var definitionHash: String

    public init(
        table: ProjectionTable, replacing: ProjectionState?, asOf: LSN, asOfTime: Timestamp?,
        captures: [String], definitionHash: String
    ) {
        self.table = table
        self.replacing = replacing
        self.asOf = asOf
        self.asOfTime = asOfTime
        self.captures = captures
        self.definitionHash = definitionHash
    }
}
