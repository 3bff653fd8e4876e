import ODBC
public import Tidemark

/// Writes a source database on SQL Server as an application does: with plain SQL, in transactions.
public final class SQLServerWriter: SourceWriter {
    private let database: SQLServerDatabase

    public init(_ database: SQLServerDatabase) { self.database = database }

    /// The LSN of a commit is not known: SQL Server tells it after the capture job has read the log.
    public func write(_ transactions: [[String]]) async throws -> [SourceCommit] {
        try await database.run { [database] connection in
            try transactions.map { statements in
                // One batch is one round trip; XACT_ABORT, which every connection has on, rolls it back on an error.
                try connection.transaction {
                    _ = try database.data(connection) {
                        try connection.execute("SET NOCOUNT ON;\n" + statements.joined(separator: ";\n"))
                    }
                }
                return SourceCommit(lsn: nil, committedAt: .now())
            }
        }
    }

    public func integer(_ sql: String) async throws -> Int64? {
        try await database.run { [database] connection in
            try database.data(connection) { try connection.query(sql).rows().first?[0].int64 }
        }
    }
}
