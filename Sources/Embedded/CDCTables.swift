/// The tables and triggers of change data capture on SQLite, and the SQL that uses them.
///
/// Names follow SQL Server's `cdc` schema, with a prefix in its stead.
enum CDCTables {
    /// The clock: every change carries its value, and closing a position advances it.
    static let clock = "cdc_clock"
    /// Where cleanup's retention is kept, as in SQL Server's `msdb.dbo.cdc_jobs`.
    static let jobs = "cdc_jobs"

    /// SQL Server's default: three days.
    static let defaultRetentionMinutes = 4320

    /// Changes that cleanup keeps past their retention because a pipeline has not read them: some gigabytes of a shop's
    /// orders.
    static let maxUnreadChanges: Int64 = 20_000_000

    /// Every change has this command id: `__$seqval` is the exact order of changes here.
    static let commandID = 1

    static func instance(of table: String) -> String { "dbo_\(table)" }
    static func changeTable(_ instance: String) -> String { "cdc_\(instance)_CT" }
    static func displacedTable(_ instance: String) -> String { "cdc_\(instance)_displaced" }
    static func trigger(_ instance: String, _ event: String) -> String { "cdc_\(instance)_\(event)" }

    /// What triggers a capture may have, by event.
    static let events = ["insert", "update", "delete", "before_insert", "before_update"]
    /// The trigger that tells whether those have been there without a break: see `CaptureTriggers`.
    static let seal = "seal"

    /// For tables made by an earlier version.
    static let addUnreadLimit =
        "ALTER TABLE cdc_jobs ADD COLUMN max_unread_changes INTEGER NOT NULL DEFAULT \(maxUnreadChanges)"

    /// Tables all captures share; safe to repeat.
    static let bootstrap = """
        CREATE TABLE IF NOT EXISTS cdc_clock (
            id    INTEGER PRIMARY KEY CHECK (id = 1),
            value INTEGER NOT NULL
        );
        INSERT OR IGNORE INTO cdc_clock (id, value) VALUES (1, 1);
        -- Which database this is: a copy keeps the id, another database has another one.
        CREATE TABLE IF NOT EXISTS cdc_source (
            id        INTEGER PRIMARY KEY CHECK (id = 1),
            source_id TEXT NOT NULL
        );
        INSERT OR IGNORE INTO cdc_source (id, source_id) VALUES (1, lower(hex(randomblob(16))));
        -- Pipelines that read the changes, and how far each has come: cleanup keeps what they have not read.
        CREATE TABLE IF NOT EXISTS cdc_readers (
            reader_id        TEXT NOT NULL,
            capture_instance TEXT NOT NULL,
            last_lsn         INTEGER NOT NULL,
            seen_at          DATETIME NOT NULL,
            PRIMARY KEY (reader_id, capture_instance)
        );
        CREATE TABLE IF NOT EXISTS cdc_lsn_time_mapping (
            start_lsn     INTEGER PRIMARY KEY,
            tran_end_time DATETIME NOT NULL
        );
        CREATE TABLE IF NOT EXISTS cdc_change_tables (
            capture_instance TEXT NOT NULL PRIMARY KEY,
            source_table     TEXT NOT NULL,
            start_lsn        INTEGER NOT NULL,
            is_complete      BOOLEAN NOT NULL,
            create_date      DATETIME NOT NULL,
            restart_lsn      INTEGER,
            restart_reason   TEXT
        );
        CREATE TABLE IF NOT EXISTS cdc_captured_columns (
            capture_instance TEXT NOT NULL,
            column_ordinal   INTEGER NOT NULL,
            column_name      TEXT NOT NULL,
            column_type      TEXT NOT NULL,
            is_nullable      BOOLEAN NOT NULL,
            key_ordinal      INTEGER,
            PRIMARY KEY (capture_instance, column_ordinal)
        );
        CREATE TABLE IF NOT EXISTS cdc_jobs (
            job_type           TEXT NOT NULL PRIMARY KEY,
            retention          INTEGER NOT NULL,
            max_unread_changes INTEGER NOT NULL DEFAULT \(maxUnreadChanges)
        );
        INSERT OR IGNORE INTO cdc_jobs (job_type, retention) VALUES ('cleanup', \(defaultRetentionMinutes));
        """

    /// Columns of `cdc_change_tables` that older files lack: where a capture was made anew, and why.
    static let restartColumns = [("restart_lsn", "INTEGER"), ("restart_reason", "TEXT")]
}
