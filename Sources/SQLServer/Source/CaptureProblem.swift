import Tidemark

/// What is wrong with the set-up of change data capture, and how to mend it.
///
/// https://learn.microsoft.com/sql/relational-databases/track-changes/administer-and-monitor-change-data-capture-sql-server
enum CaptureProblem: Hashable, Sendable {
    /// CDC is off on the database.
    case databaseOff(String)
    /// CDC is on, but the login may not see its catalog.
    case noCatalog(String)
    /// CDC is on, but no table is captured.
    case noTables(String)
    /// There is no capture instance of that name.
    case unknown(String)
    /// The login does not see the source table.
    case noSource(String)
    /// The login is not in the role that gates the capture.
    case gated(String, role: String)
    /// The login may not read the changes, though no role it lacks is to blame.
    case denied(String, source: String?)
    /// The capture job has not run since the capture was enabled.
    case notBegun(String)

    /// The problem of a capture, when the catalog shows one.
    init?(_ entry: CaptureEntry) {
        guard entry.source != nil else {
            self = .noSource(entry.instance)
            return
        }
        // The function answers zero for whoever may not read the changes, and NULL until the capture job has looked at
        // the log since the capture was enabled:
        // https://learn.microsoft.com/sql/relational-databases/system-functions/sys-fn-cdc-get-min-lsn-transact-sql
        guard entry.startLSN != nil, entry.minLSN == .zero else { return nil }
        self =
            entry.role.map { .gated(entry.instance, role: $0) }
            ?? .denied(entry.instance, source: entry.source?.description)
    }

    var error: TidemarkError { .unavailable(sentence) }

    private var sentence: String {
        switch self {
        case .databaseOff(let database):
            """
            change data capture is off in \(database): run tidemark bootstrap, or EXEC sys.sp_cdc_enable_db there and \
            sys.sp_cdc_enable_table for each table
            """
        case .noCatalog(let database):
            """
            change data capture is on in \(database), but its catalog is hidden from this login: GRANT SELECT ON \
            SCHEMA::cdc to it
            """
        case .noTables(let database):
            """
            change data capture is on in \(database), but no table is captured: run tidemark bootstrap, or EXEC \
            sys.sp_cdc_enable_table for each table
            """
        case .unknown(let instance):
            """
            there is no capture instance \(instance) any more: enable change data capture on its table again with \
            sys.sp_cdc_enable_table, and start over with an empty serving database, as changes are missing in between
            """
        case .noSource(let instance):
            "the source table of capture \(instance) is hidden from this login: GRANT SELECT on it"
        case .gated(let instance, let role):
            """
            this login may not read the changes of capture \(instance): make it a member of the role that gates it, \
            ALTER ROLE \(quoted(role)) ADD MEMBER …, and GRANT SELECT on the captured columns of its table
            """
        case .denied(let instance, let source):
            """
            this login may not read the changes of capture \(instance): GRANT SELECT on \(source ?? "its table"), and \
            GRANT SELECT ON SCHEMA::cdc
            """
        case .notBegun(let instance):
            """
            capture \(instance) has not begun: the capture job has not run since it was enabled. Start SQL Server Agent \
            and the job cdc.…_capture
            """
        }
    }
}
