import ODBC
public import Tidemark

extension SQLServerSource {
    /// Looks whether SQL Server's jobs do their part, as far as the login may see.
    ///
    /// What the login may not see is taken for healthy. Nothing is changed on the source.
    public func trouble() async throws -> SourceTrouble? {
        try await database.run { connection in try Self.health(connection) }.trouble
    }

    private static func health(_ connection: Connection) throws -> CaptureHealth {
        var health = CaptureHealth()
        // Each is its own question, so that one that is refused leaves the others.
        if let row = try answer(connection, agentSQL) { health.agentStatus = row[0].string }
        if let row = try answer(connection, jobSQL) { health.hasCaptureJob = row[0].int64 != 0 }
        if let row = try answer(connection, errorSQL), let number = row[0].int64 {
            health.lastError = "\(row[1].string ?? "") (error \(number))"
        }
        if let row = try answer(connection, notBegunSQL), let age = row[1].int64 {
            health.notBegun = (row[0].string ?? "", Int(age))
        }
        if let row = try answer(connection, ageSQL) {
            health.secondsSinceLastCommit = row[0].int64.map { Int($0) }
            health.secondsSinceEnabled = row[1].int64.map { Int($0) }
        }
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
    static let agentSQL = """
        SELECT CAST(status_desc AS nvarchar(60)) FROM sys.dm_server_services
        WHERE servicename LIKE N'SQL Server Agent%'
        """

    static let jobSQL = """
        SELECT COUNT(*) FROM msdb.dbo.cdc_jobs WHERE database_id = DB_ID() AND job_type = N'capture'
        """

    /// What the latest log scan stumbled over.
    ///
    /// https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/change-data-capture-sys-dm-cdc-errors
    static let errorSQL = """
        SELECT TOP (1) e.error_number, CAST(e.error_message AS nvarchar(1024)) FROM sys.dm_cdc_errors AS e
        WHERE e.session_id = (SELECT MAX(session_id) FROM sys.dm_cdc_log_scan_sessions)
        ORDER BY e.entry_time DESC
        """

    /// The capture that waits longest for the capture job to begin it; `create_date` is local time, as `GETDATE` is.
    static let notBegunSQL = """
        SELECT TOP (1) capture_instance, CAST(DATEDIFF(second, create_date, GETDATE()) AS int) AS age
        FROM cdc.change_tables
        WHERE start_lsn IS NULL
            OR (sys.fn_cdc_get_min_lsn(capture_instance) IS NULL AND EXISTS (SELECT 1 FROM cdc.lsn_time_mapping))
        ORDER BY create_date
        """

    static let ageSQL = """
        SELECT
            (SELECT TOP (1) DATEDIFF(second, \(utc("tran_end_time")), SYSUTCDATETIME()) FROM cdc.lsn_time_mapping
            ORDER BY start_lsn DESC) AS age,
            (SELECT TOP (1) DATEDIFF(second, create_date, GETDATE()) FROM cdc.change_tables
            ORDER BY create_date DESC) AS enabled
        """
}

/// What is known of the jobs that fill the change tables; `nil` is unknown.
struct CaptureHealth: Sendable {
    /// `status_desc` of the service, e.g. `Running`.
    var agentStatus: String?
    var hasCaptureJob: Bool?
    /// What the last log scan stumbled over.
    var lastError: String?
    /// A capture that the job has not begun, and the seconds since it was enabled.
    var notBegun: (instance: String, seconds: Int)?
    /// The age of the newest entry in `cdc.lsn_time_mapping`; `nil` also when it is empty.
    var secondsSinceLastCommit: Int?
    /// Seconds since the newest capture was enabled.
    var secondsSinceEnabled: Int?

    /// The capture job makes an entry every five minutes even when nothing is captured; twice that is too long.
    static let silence = 600
    /// The capture job begins a new capture at its next look at the log, which is seconds away.
    static let beginning = 60

    /// What is wrong, with the remedy; `nil` when nothing is known to be.
    var trouble: SourceTrouble? {
        let causes = [
            agentStatus.flatMap { $0 == "Running" ? nil : "SQL Server Agent is \($0.lowercased()): start it" },
            hasCaptureJob == false
                ? "the source database has no capture job: EXEC sys.sp_cdc_add_job @job_type = N'capture'" : nil,
            lastError.map { "its last log scan failed: \($0)" },
        ].compactMap { $0 }
        let silence =
            secondsSinceLastCommit.flatMap { $0 > Self.silence ? "has entered nothing for \($0 / 60) minutes" : nil }
            ?? secondsSinceEnabled.flatMap {
                secondsSinceLastCommit == nil && $0 > Self.beginning
                    ? "has entered nothing, or all of it was purged" : nil
            }
        let waiting = notBegun.flatMap { $0.seconds > Self.beginning ? $0 : nil }
        guard !causes.isEmpty || silence != nil || waiting != nil else { return nil }
        let symptom =
            waiting.map { "has not begun \($0.instance), enabled \($0.seconds / 60) minutes ago" }
            ?? silence ?? "is not in order"
        let remedy = "see whether SQL Server Agent and the job cdc.…_capture run, and start them"
        let reason = causes.isEmpty ? remedy : causes.joined(separator: "; ")
        return SourceTrouble(
            .unavailable("change data capture on the source \(symptom): \(reason)"),
            isCertain: !causes.isEmpty || waiting != nil)
    }
}
