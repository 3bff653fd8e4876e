/// What a read of a table has staged beyond a watermark.
public struct StagedSnapshot: Sendable, Equatable {
    /// The LSN it is staged at; the watermark's own when the table tells nothing.
    public var lsn: LSN
    public var rows: Int
    /// Tells whether it is still what lies there.
    public var token: String

    public init(lsn: LSN, rows: Int, token: String) {
        self.lsn = lsn
        self.rows = rows
        self.token = token
    }
}
