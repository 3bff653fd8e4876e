public import Logging
import ODBC
import Synchronization
public import Tidemark

/// A source database on SQL Server, read through change data capture.
///
///     let source = SQLServerSource(database, options: .init(logger: logger))
///     let bounds = try await source.bounds()
///
/// SQL Server's capture job reads the log every few seconds and fills the change tables; what it has not read yet does
/// not exist here. The pipeline writes nothing to the source.
///
/// On a database in which nothing is captured the job still enters a transaction without changes into
/// `cdc.lsn_time_mapping` every five minutes, so the log goes on: a first read of a table waits at most that long until
/// it is known that the log has passed it.
public final class SQLServerSource: ChangeSource {
    /// How the source is read.
    public struct Options: Sendable {
        /// `capture_instance.column` names that are left out, in any case.
        public var excludedColumns: Set<String>
        /// Which tables are told of.
        public var filter: CaptureFilter
        /// Told of captures that are read in a lesser way, such as without `__$command_id`.
        public var logger: Logger

        public init(excludedColumns: Set<String> = [], filter: CaptureFilter = .all, logger: Logger) {
            self.excludedColumns = excludedColumns
            self.filter = filter
            self.logger = logger
        }
    }

    /// How far the clock that dates a commit may be off the one that dates a mark. `datetime` rounds to 300ths of a
    /// second, and a clock may be set back a little.
    static let clockMargin: Duration = .seconds(1)

    let database: SQLServerDatabase
    let options: Options
    let state = Mutex(State())

    struct State: Sendable {
        /// The catalog by capture instance, as last read.
        var entries: [String: CaptureEntry] = [:]
        /// Warnings given, each once.
        var warned: Set<String> = []
        /// The min LSN of captures at which they told of every row.
        var completeAt: [String: LSN] = [:]
    }

    public init(_ database: SQLServerDatabase, options: Options) {
        self.database = database
        self.options = options
    }

    // MARK: Bounds

    /// One round trip, whatever the number of captures.
    ///
    /// A capture that the login may not read has a min LSN of zero; reading it says why. One just enabled has none for
    /// about as long as the capture job pauses.
    public func bounds(verifying position: SourcePosition?) async throws -> SourceBounds {
        try await database.run { connection in
            try Self.explaining(connection) { try Self.bounds(connection, verifying: position) }
        }
    }

    static func bounds(_ connection: Connection, verifying position: SourcePosition? = nil) throws -> SourceBounds {
        var bounds = SourceBounds(maxLSN: .zero, maxCommitTime: nil, captures: [:])
        for row in try connection.query(boundsSQL, [.binary((position?.lsn ?? .zero).bytes)]).rows() {
            bounds.maxLSN = try row[0].lsn() ?? .zero
            bounds.maxCommitTime = row[1].time
            if let position {
                bounds.finding = PositionFinding(
                    of: position, found: row[4].time, oldest: try row[5].lsn(), maxLSN: bounds.maxLSN,
                    isSameTime: isSameTime)
            }
            guard let instance = row[2].string else { continue }
            bounds.captures[instance] = CaptureBounds(minLSN: try row[3].lsn())
        }
        return bounds
    }

    // In variables, so that no function is called for each row.
    static let boundsSQL = """
        SET NOCOUNT ON;
        DECLARE @position binary(10) = ?, @max binary(10) = sys.fn_cdc_get_max_lsn();
        DECLARE @time datetime, @found datetime, @oldest binary(10);
        SELECT @time = tran_end_time FROM cdc.lsn_time_mapping WHERE start_lsn = @max;
        SELECT @found = tran_end_time FROM cdc.lsn_time_mapping WHERE start_lsn = @position;
        SELECT @oldest = MIN(start_lsn) FROM cdc.lsn_time_mapping;
        SELECT CAST(@max AS varbinary(10)) AS max_lsn, \(utc("@time")) AS max_time, t.capture_instance,
            CAST(sys.fn_cdc_get_min_lsn(t.capture_instance) AS varbinary(10)) AS min_lsn,
            \(utc("@found")) AS found_time, CAST(@oldest AS varbinary(10)) AS oldest_lsn
        FROM (SELECT 1 AS one) AS log LEFT JOIN cdc.change_tables AS t ON 1 = 1;
        """

    /// A commit time, kept in the server's local time, as UTC.
    ///
    /// The server's present distance to UTC is all there is to go by. In the hour after clocks are put back, commits
    /// from before would lie in the future; there the distance was an hour more. Older times may be an hour off for
    /// the part of the year with the other distance.
    static func utc(_ column: String) -> String {
        let time = "DATEADD(minute, -DATEPART(tz, SYSDATETIMEOFFSET()), \(column))"
        return """
            CAST(CASE WHEN \(time) > DATEADD(second, 1, SYSUTCDATETIME()) THEN DATEADD(hour, -1, \(time)) \
            ELSE \(time) END AS datetime2(3))
            """
    }

    /// Whether two commit times are one: they may differ by what the server's distance to UTC has changed by, as when
    /// clocks were put forward or back. Those distances are multiples of a quarter of an hour.
    static func isSameTime(_ a: Timestamp, _ b: Timestamp) -> Bool {
        let quarter: Int64 = 900_000_000
        let widest: Int64 = 26 * 3_600_000_000
        let distance = abs(a.microseconds - b.microseconds)
        return distance % quarter == 0 && distance <= widest
    }

    public func commitTime(of lsn: LSN) async throws -> Timestamp? {
        try await database.run { connection in
            try Self.explaining(connection) {
                let sql = """
                    SET NOCOUNT ON;
                    DECLARE @lsn binary(10) = ?;
                    SELECT TOP (1) \(Self.utc("tran_end_time")) AS commit_time FROM cdc.lsn_time_mapping
                    WHERE start_lsn <= @lsn ORDER BY start_lsn DESC;
                    """
                return try connection.query(sql, [.binary(lsn.bytes)]).rows().first?[0].time
            }
        }
    }

    /// The server's time; a transaction that ended before it has an earlier commit time.
    public func mark() async throws -> SourceMark {
        try await database.run { connection in
            try Self.explaining(connection) { try Self.mark(connection) }
        }
    }

    static func mark(_ connection: Connection) throws -> SourceMark {
        let row = try connection.query(
            """
            SELECT CAST(sys.fn_cdc_get_max_lsn() AS varbinary(10)) AS max_lsn,
                CAST(SYSUTCDATETIME() AS datetime2(6)) AS now
            """
        ).rows()[0]
        guard let now = row[1].time else { throw TidemarkError.unavailable("the source tells no time") }
        return SourceMark(lsn: try row[0].lsn() ?? .zero, time: now)
    }

    /// Whether a transaction committed after the mark is in the log: commits are in it in their order.
    ///
    /// `sys.dm_cdc_log_scan_sessions` could tell sooner on an idle database, but not surely. A session ends after
    /// `@maxtrans * @maxscans` transactions, wherever the log ends, and sessions that find nothing are folded into one
    /// row whose times are not documented:
    /// https://learn.microsoft.com/sql/relational-databases/system-dynamic-management-views/change-data-capture-sys-dm-cdc-log-scan-sessions
    public func hasPassed(_ mark: SourceMark, bounds: SourceBounds) async throws -> Bool {
        Self.hasPassed(mark, bounds)
    }

    static func hasPassed(_ mark: SourceMark, _ bounds: SourceBounds) -> Bool {
        guard let time = bounds.maxCommitTime else { return false }
        return bounds.maxLSN > mark.lsn && time.seconds(since: mark.time) > clockMargin / .seconds(1)
    }

    // MARK: Failures

    /// Runs `body`, and says what is wrong with the set-up when that is why it fails.
    ///
    /// - Parameter instance: the capture instance `body` reads, if it reads one.
    static func explaining<Success>(
        _ connection: Connection, instance: String? = nil, _ body: () throws -> Success
    ) throws -> Success {
        do {
            return try body()
        } catch let error as ODBCError {
            switch error.errorClass {
            case .transient, .cancelled, .constraint:
                throw error
            case .permission, .syntax, .permanent:
                guard !error.isConnect, let problem = try? Self.problem(connection, instance: instance) else {
                    throw error
                }
                throw problem.error
            }
        }
    }

    /// Looks for what is wrong with the set-up; `nil` when nothing is.
    private static func problem(_ connection: Connection, instance: String?) throws -> CaptureProblem? {
        if let problem = try databaseProblem(connection) { return problem }
        guard let instance else { return nil }
        guard let entry = try entries(connection, instance: instance).first else { return .unknown(instance) }
        return CaptureProblem(entry)
    }

    static func databaseProblem(_ connection: Connection) throws -> CaptureProblem? {
        let row = try connection.query(
            """
            SELECT DB_NAME() AS name, CAST(is_cdc_enabled AS int) AS is_enabled,
                OBJECT_ID(N'cdc.change_tables') AS change_tables
            FROM sys.databases WHERE name = DB_NAME()
            """
        ).rows().first
        guard let row, row[2].isNull else { return nil }
        let name = row[0].string ?? "the source database"
        return row[1].int64 == 1 ? .noCatalog(name) : .databaseOff(name)
    }

    /// Gives a warning once.
    func warn(_ sentence: String, capture: String? = nil) {
        guard state.withLock({ $0.warned.insert(sentence).inserted }) else { return }
        options.logger.warning("\(sentence)", metadata: capture.map { ["capture": "\($0)"] })
    }
}

extension Value {
    /// An LSN; `nil` for NULL.
    func lsn() throws -> LSN? {
        switch self {
        case .null, .typedNull: return nil
        case .binary(let bytes):
            if let lsn = LSN(bytes: bytes) { return lsn }
            throw TidemarkError.schema("the source gives an LSN of \(bytes.count) bytes, where 10 are due")
        default:
            throw TidemarkError.schema("the source gives \(self) for an LSN")
        }
    }

    /// A time without a zone, to the microsecond; `nil` for NULL.
    var time: Timestamp? {
        guard case .timestamp(let parts) = self else { return nil }
        return Timestamp(parts)
    }
}
