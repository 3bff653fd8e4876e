/// `ctl_projection_checkpoints` and `ctl_projection_metadata` of one projection.
public struct ProjectionState: Sendable, Equatable {
    public typealias Status = Health

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
