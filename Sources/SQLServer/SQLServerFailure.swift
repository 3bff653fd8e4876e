import ODBC
import Tidemark

/// Makes errors of SQL Server readable: one sentence with the remedy, and the server's own words.
///
/// Numbers: https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
enum SQLServerFailure {
    /// `error` as the package's own kind of error, when it came from the driver; otherwise unchanged.
    static func readable(_ error: any Error, in database: DatabaseLabel) -> any Error {
        guard let error = error as? ODBCError else { return error }
        let detail = detail(error)
        switch error.errorClass {
        case .cancelled:
            return CancellationError()
        case .transient:
            return TidemarkError.transient("\(database) \(transient(error)) (\(detail))")
        case .permission:
            return TidemarkError.unavailable("\(database) \(permission(error)) (\(detail))")
        case .constraint, .syntax, .permanent:
            return TidemarkError.unavailable("\(database) \(lasting(error)) (\(detail))")
        }
    }

    private static func transient(_ error: ODBCError) -> String {
        if error.has(1205) { return "chose this transaction as the victim of a deadlock" }
        if error.has(1222) || error.hasState("HYT00") && !error.isConnect {
            return "did not answer in time; see whether another session blocks it"
        }
        if let reason = unopened(error) { return reason }
        // All FreeTDS says of a certificate it does not trust is that it could not connect.
        if error.isConnect, error.says("unable to connect to data source"), !error.has(20_009) {
            return """
                cannot be reached: its name is not known, or its certificate is not of an authority this machine trusts \
                (serverCertificate=PATH names another, trustServerCertificate=true takes any)
                """
        }
        return error.isConnect ? "cannot be reached; check that it runs and that host and port are right" : "was lost"
    }

    /// Azure SQL reports it while a database is moved, every server for a login without a user.
    private static func unopened(_ error: ODBCError) -> String? {
        guard error.has(4060) || error.isConnect && error.says("cannot open database") else { return nil }
        return "cannot be opened by this login; create a user for it there, if it does not pass"
    }

    private static func permission(_ error: ODBCError) -> String {
        if error.has(18456) || error.has(18452) || error.hasState("28000") {
            return "refuses the login; check user and password, and that the login may open the database"
        }
        if error.has(916) || error.has(4060) { return "may not be opened by this login; create a user for it there" }
        return "refuses this to the login; grant what docs/sql-server.md lists"
    }

    private static func lasting(_ error: ODBCError) -> String {
        if let reason = unopened(error) { return reason }
        switch true {
        case error.says("certificate"):
            return """
                shows a certificate that is not trusted; install its authority, or say trustServerCertificate=true if \
                the network is safe
                """
        case error.has(208): return "lacks a table or function; run tidemark bootstrap"
        case error.has(1105), error.has(9002), error.has(1101): return "cannot grow: its data or log file is full"
        case error.has(3906), error.has(3908): return "is read-only; point the DSN at the primary replica"
        case error.isConnect && (error.hasState("01000") || error.hasState("IM002")):
            return "has no ODBC driver: install FreeTDS (tdsodbc), or name another one with driver=…"
        default: return "reports an error"
        }
    }

    private static func detail(_ error: ODBCError) -> String {
        let records = error.records.filter { !$0.isWarning }
        guard !records.isEmpty else { return DatabaseLabel.oneLine(error.description) }
        let said = records.prefix(3).map {
            "\(DatabaseLabel.oneLine($0.message)), error \($0.nativeCode), SQLSTATE \($0.sqlState)"
        }
        let statement = error.sql.map { "; in: \(DatabaseLabel.oneLine($0))" } ?? ""
        return said.joined(separator: "; ") + statement
    }
}

extension ODBCError {
    /// Whether the server reported this number.
    func has(_ code: Int) -> Bool { records.contains { $0.nativeCode == code } }

    func hasState(_ state: String) -> Bool { records.contains { $0.sqlState == state } }

    func says(_ words: String) -> Bool {
        records.contains { $0.message.lowercased().contains(words) }
    }

    var isConnect: Bool { if case .connect = self { true } else { false } }
}
