import ODBC
import Synchronization
import Tidemark

extension SQLServerSource {
    /// Looks whether SQL Server's jobs do their part, as far as the login may see, and says so when that changes.
    ///
    /// What the login may not see is taken for healthy. Nothing is changed on the source.
    public func maintain() async throws -> String? {
        let health = try await database.run { connection in try Self.health(connection) }
        let sentence = health.sentence
        return state.withLock { state in
            guard state.health != sentence else { return nil }
            defer { state.health = sentence }
            return sentence ?? "change data capture works on the source again"
        }
    }

    private static func health(_ connection: Connection) throws -> CaptureHealth {
        var health = CaptureHealth()
        // Each is its own question, so that one that is refused leaves the others.
        if let row = try answer(connection, agentSQL) { health.agentStatus = row[0].string }
        if let row = try answer(connection, jobSQL) { health.hasCaptureJob = row[0].int64 != 0 }
        if let row = try answer(connection, errorSQL), let number = row[0].int64 {
            health.lastError = "\(row[1].string ?? "") (error \(number))"
        }
        if let row = try answer(connection, ageSQL) { health.secondsSinceLastCommit = row[0].int64.map { Int($0) } }
        return health
    }

    /// The first row; `nil` when there is none, or the login may not ask, or the server does not know such things.
    private static func answer(_ connection: Connection, _ sql: String) throws -> [Value]? {
        do {
            return try connection.query(sql).rows().first
        } catch let error as ODBCError where error.errorClass != .transient && error.errorClass != .cancelled {
            return nil
        }
    }

    /// https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/sys-dm-server-services-transact-sql
    private static let agentSQL = """
        SELECT CAST(status_desc AS nvarchar(60)) FROM sys.dm_server_services
        WHERE servicename LIKE N'SQL Server Agent%'
        """

    private static let jobSQL = """
        SELECT COUNT(*) FROM msdb.dbo.cdc_jobs WHERE database_id = DB_ID() AND job_type = N'capture'
        """

    /// What the latest log scan stumbled over.
    ///
    /// https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/change-data-capture-sys-dm-cdc-errors
    private static let errorSQL = """
        SELECT TOP (1) e.error_number, CAST(e.error_message AS nvarchar(1024)) FROM sys.dm_cdc_errors AS e
        WHERE e.session_id = (SELECT MAX(session_id) FROM sys.dm_cdc_log_scan_sessions)
        ORDER BY e.entry_time DESC
        """

    private static let ageSQL = """
        SELECT TOP (1) DATEDIFF(second, \(utc("tran_end_time")), SYSUTCDATETIME()) AS age FROM cdc.lsn_time_mapping
        ORDER BY start_lsn DESC
        """
}

/// What is known of the jobs that fill the change tables; `nil` is unknown.
struct CaptureHealth: Hashable, Sendable {
    /// `status_desc` of the service, e.g. `Running`.
    var agentStatus: String?
    var hasCaptureJob: Bool?
    /// What the last log scan stumbled over.
    var lastError: String?
    /// The age of the newest entry in `cdc.lsn_time_mapping`.
    var secondsSinceLastCommit: Int?

    /// The capture job makes an entry every five minutes even when nothing is captured; twice that is too long.
    static let silence = 600

    /// What is wrong, with the remedy; `nil` when nothing is known to be.
    var sentence: String? {
        let reasons = [
            agentStatus.flatMap { $0 == "Running" ? nil : "SQL Server Agent is \($0.lowercased()): start it" },
            hasCaptureJob == false
                ? "the source database has no capture job: EXEC sys.sp_cdc_add_job @job_type = N'capture'" : nil,
            lastError.map { "its last log scan failed: \($0)" },
        ].compactMap { $0 }
        let isSilent = secondsSinceLastCommit.map { $0 > Self.silence } ?? false
        guard !reasons.isEmpty || isSilent else { return nil }
        let silence = isSilent ? " has entered nothing for \((secondsSinceLastCommit ?? 0) / 60) minutes" : ""
        let reason =
            reasons.isEmpty
            ? "see whether SQL Server Agent and the job cdc.…_capture run" : reasons.joined(separator: "; ")
        return "change data capture on the source\(silence.isEmpty ? " is not in order" : silence): \(reason)"
    }
}
