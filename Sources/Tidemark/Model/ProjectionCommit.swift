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
