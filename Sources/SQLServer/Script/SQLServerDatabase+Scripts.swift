import Foundation
import ODBC
import Tidemark

extension SQLServerDatabase {
    /// Runs a script, batch by batch, and returns what it printed.
    ///
    /// - Parameters:
    ///   - name: for errors, e.g. `sql/source/003_cdc.sql`.
    ///   - variables: what `$(NAME)` stands for. Never part of an error.
    ///   - inTransaction: whether all of it is one transaction.
    @discardableResult
    public func apply(
        script text: String, name: String, variables: [String: String] = [:], inTransaction: Bool = false
    ) async throws -> [String] {
        let script: SQLScript
        do {
            script = try SQLScript(text, variables: variables)
        } catch {
            throw TidemarkError.configuration("\(name), \(error)")
        }
        return try await run { [self] connection in
            try inTransaction
                ? connection.transaction { try apply(script, name, connection) } : apply(script, name, connection)
        }
    }

    private func apply(_ script: SQLScript, _ name: String, _ connection: Connection) throws -> [String] {
        var printed: [String] = []
        for batch in script.batches {
            for _ in 0..<batch.count {
                do {
                    try data(connection) { _ = try connection.execute(batch.sql) }
                } catch let error as ODBCError {
                    // In place of the SQL, which may hold a password by now.
                    throw ODBCError.statement(
                        sql: "the batch from line \(batch.firstLine) of \(name)", records: error.records)
                }
                printed += connection.warnings.compactMap(\.printed)
            }
        }
        return printed
    }
}

extension Diagnostic {
    /// What PRINT said; `nil` for the server's notes about the session's database and language.
    fileprivate var printed: String? {
        guard ![5_701, 5_703].contains(nativeCode), let end = message.range(of: "[SQL Server]", options: .backwards)
        else { return nil }
        return String(message[end.upperBound...])
    }
}

/// Makes what is missing of a database on SQL Server from scripts.
public struct SQLServerBootstrap: Sendable {
    private let dsn: SQLServerDSN
    private let role: String
    private let variables: [String: String]

    /// - Parameters:
    ///   - dsn: a login that may do what the scripts do.
    ///   - role: `source` or `serving`, for messages.
    ///   - variables: what `$(NAME)` stands for in the scripts; `DATABASE` is the DSN's.
    public init(_ dsn: SQLServerDSN, role: String, variables: [String: String]) throws {
        guard let database = dsn.database else {
            throw TidemarkError.configuration("\(dsn) names no database; add ?database=name, or Database=name")
        }
        self.dsn = dsn
        self.role = role
        self.variables = variables.merging(["DATABASE": database]) { mine, _ in mine }
    }

    /// Runs the script that makes the database: in `master` when it is missing, otherwise where it says what could be
    /// better.
    public func createDatabase(_ script: (name: String, text: String)) async throws -> [String] {
        let server = try SQLServerDatabase(dsn.with(database: "master"), role: role)
        let database = try SQLServerDatabase(dsn, role: role)
        let isMissing = try await Self.isMissing { [name = dsn.database ?? ""] in
            let count = try await server.run { connection in
                try connection.scalar("SELECT COUNT(*) FROM sys.databases WHERE name = ?", [.string(name)]).int64
            }
            guard count == 0 else { return false }
            // To a login without VIEW ANY DATABASE, master does not list even a database that it may open.
            return (try? await database.run { connection in _ = try connection.scalar("SELECT DB_NAME()") }) == nil
        }
        return try await (isMissing ? server : database)
            .apply(script: script.text, name: script.name, variables: variables)
    }

    /// Whether `look` finds the database missing. Where master cannot be looked into, it counts as there.
    ///
    /// A user of one database of Azure's may not open master (4060, which passes while a database moves), and the
    /// database is there. Where it is not, or the server does not answer, the database's own failure tells.
    static func isMissing(_ look: () async throws -> Bool) async throws -> Bool {
        do {
            return try await look()
        } catch TidemarkError.unavailable, TidemarkError.transient {
            return false
        }
    }

    /// Runs a script in the database.
    public func apply(_ script: (name: String, text: String)) async throws -> [String] {
        try await SQLServerDatabase(dsn, role: role)
            .apply(script: script.text, name: script.name, variables: variables)
    }

    /// Whether change data capture is off in the database, as far as the login can tell.
    public func isCaptureOff() async throws -> Bool {
        try await SQLServerDatabase(dsn, role: role).run { connection in
            try connection.scalar(
                """
                SELECT COUNT(*) FROM sys.databases
                WHERE name = DB_NAME() AND is_cdc_enabled = 0 AND OBJECT_ID(N'cdc.change_tables') IS NULL
                """
            ).int64 == 1
        }
    }

    /// Tables of the database that are none of SQL Server's own, `schema.table` with their columns in order.
    public func tables() async throws -> [String: [String]] {
        let rows = try await SQLServerDatabase(dsn, role: role).run { connection in
            try connection.query(
                """
                SELECT SCHEMA_NAME(t.schema_id), t.name, c.name
                FROM sys.tables AS t JOIN sys.columns AS c ON c.object_id = t.object_id
                WHERE t.is_ms_shipped = 0 AND SCHEMA_NAME(t.schema_id) <> N'cdc' AND t.name <> N'systranschemas'
                ORDER BY t.object_id, c.column_id
                """
            ).rows()
        }
        var tables: [String: [String]] = [:]
        for row in rows {
            tables["\(row[0].string ?? "").\(row[1].string ?? "")", default: []].append(row[2].string ?? "")
        }
        return tables
    }
}
