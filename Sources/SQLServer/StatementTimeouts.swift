package import ODBC

/// How long a statement may take before the server counts as silent.
///
/// A server, or a proxy before it, can keep a connection open and answer nothing any more. Nothing in TCP tells that from
/// a long query, so every statement has a bound. One that overruns it fails in a way that passes: its connection is
/// given up, and the next attempt has a new one.
public struct StatementTimeouts: Sendable {
    /// For what touches a few rows: the log's bounds, control tables, COMMIT. Half as long again as such a statement may
    /// wait for a lock (`SQLServerDatabase.sessionSettings`), so that a lock is reported as one.
    public var small: Duration = .seconds(45)
    /// For what reads or writes the changes of a window, a snapshot or a projection: each call of the driver, such as for
    /// the next block of a result. As long as Debezium waits for a query (`database.query.timeout.ms`):
    /// https://debezium.io/documentation/reference/stable/connectors/sqlserver.html
    public var data: Duration = .seconds(600)

    public init() {}
}

extension SQLServerDatabase {
    /// Runs `body`, whose statements may take as long as reading or writing data does.
    package func data<Success>(_ connection: Connection, _ body: () throws -> Success) rethrows -> Success {
        let usual = connection.queryTimeout
        connection.queryTimeout = timeouts.data
        defer { connection.queryTimeout = usual }
        return try body()
    }
}
