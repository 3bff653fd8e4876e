/// The port to the source tables as an application sees them: plain SQL in transactions.
///
/// For the load generator and the demo only; the pipeline itself never writes to source tables.
public protocol SourceWriter: Sendable {
    /// Runs each list of statements as one transaction and commits it, in order.
    ///
    /// - Throws: what the database threw, with the failing transaction rolled back and the ones after it not begun.
    func write(_ transactions: [[String]]) async throws -> [SourceCommit]

    /// The integer a query yields; `nil` for NULL or no row.
    func integer(_ sql: String) async throws -> Int64?
}

/// A transaction that was committed on the source.
public struct SourceCommit: Sendable, Equatable {
    /// Its LSN, where the source can tell at once; SQL Server knows it only after the capture job has run.
    public var lsn: LSN?
    /// When the commit returned.
    public var committedAt: Timestamp

    public init(lsn: LSN?, committedAt: Timestamp) {
        self.lsn = lsn
        self.committedAt = committedAt
    }
}
