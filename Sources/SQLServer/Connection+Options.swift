import ODBC

/// What the database a connection is in is set to.
///
/// By name: on Azure SQL Database `DB_ID()` may be another number than `sys.databases` has.
/// https://learn.microsoft.com/sql/t-sql/functions/db-id-transact-sql
extension Connection {
    /// Whether transactions may see the database as of one moment.
    func allowsSnapshot() throws -> Bool {
        try option("CAST(snapshot_isolation_state AS int)")?.int64 == 1
    }

    /// Whether statements read what was committed when they began, without locks; `nil` when it is not told.
    func readsCommittedSnapshots() throws -> Bool? {
        try option("CAST(is_read_committed_snapshot_on AS int)")?.int64.map { $0 == 1 }
    }

    private func option(_ expression: String) throws -> Value? {
        try query("SELECT \(expression) FROM sys.databases WHERE name = DB_NAME()").rows().first?[0]
    }
}
