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
            create_date      DATETIME NOT NULL
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
}

/// The change table and triggers of one source table.
///
/// What the triggers take care of, and why they look as they do:
///
/// - They copy the row as it stands in the table, not `NEW`: another AFTER trigger (one that sets `updated_at`,
///   say) may run first and have its own change captured first, and then `NEW` is out of date. For the same
///   reason a delete is captured only when the row is not there again.
/// - The change table has no constraint: a trigger inherits the `OR IGNORE` of the statement that fired it, and
///   a constraint would then drop a change silently.
/// - `REPLACE` removes rows without firing delete triggers (unless recursive_triggers is on). A row that makes
///   way for one of the same key needs no delete: the newer image takes its place. For rows displaced through
///   another unique index there is a table of candidates, filled before the statement touches the row and
///   checked after it. Tables without such an index do not pay for that.
struct CaptureTriggers {
    struct SourceColumn {
        let name: String
        let declaration: String
        let isNullable: Bool
        /// The value a NULL may be replaced by, when the column is NOT NULL (`ON CONFLICT REPLACE`).
        let defaultValue: String?
    }

    /// A unique index through which `REPLACE` may displace a row of another key.
    struct UniqueIndex {
        let columns: [(name: String, collation: String)]
    }

    let table: String
    let columns: [SourceColumn]
    let key: [String]
    let displacing: [UniqueIndex]

    var instance: String { CDCTables.instance(of: table) }
    private var changeTable: String { CDCTables.changeTable(instance) }
    private var displaced: String { CDCTables.displacedTable(instance) }

    /// Names of the triggers the capture needs.
    var triggerNames: [String] {
        let events = ["insert", "update", "delete"] + (displacing.isEmpty ? [] : ["before_insert", "before_update"])
        return events.map { CDCTables.trigger(instance, $0) }
    }

    /// Creates the change table and the triggers, and captures the rows the table holds as inserts.
    var install: String {
        let declarations = columns.map { "\(quoted($0.name)) \($0.declaration)" }.joined(separator: ",\n    ")
        let change = """
            CREATE TABLE \(quoted(changeTable)) (
                "__$start_lsn" INTEGER,
                "__$seqval" INTEGER PRIMARY KEY,
                "__$command_id" INTEGER,
                "__$operation" INTEGER,
                \(declarations)
            );
            \(insertChange) SELECT \(changeHeader("2")), \(list) FROM \(quoted(table));
            """
        let scratch =
            displacing.isEmpty
            ? []
            : [
                "CREATE TABLE \(quoted(displaced)) (\n    \(declarations)\n);",
                createIndex(quoted("\(displaced)_key"), key.map(quoted)),
            ]
                + displacing.enumerated().map { number, index in
                    createIndex(
                        quoted("\(displaced)_\(number + 1)"),
                        index.columns.map { "\(quoted($0.name)) COLLATE \(quoted($0.collation))" })
                }
        return ([change] + scratch + triggers).joined(separator: "\n")
    }

    private var triggers: [String] {
        let checkDisplaced =
            displacing.isEmpty
            ? ""
            : """
            \(insertChange)
                SELECT \(changeHeader("1")), \(list) FROM \(quoted(displaced)) AS gone
                WHERE (\(matches("gone"))) AND \(isAbsent("gone"));
            DELETE FROM \(quoted(displaced)) WHERE \(matches(nil));

            """
        let insert = """
            CREATE TRIGGER \(name("insert")) AFTER INSERT ON \(quoted(table)) BEGIN
            \(checkDisplaced)\(insertChange)
                SELECT \(changeHeader("2")), \(list) FROM \(quoted(table)) WHERE \(isRow("NEW"));
            END;
            """
        let update = """
            CREATE TRIGGER \(name("update")) AFTER UPDATE ON \(quoted(table)) BEGIN
            \(checkDisplaced)\(insertChange)
                SELECT \(changeHeader("1")), \(list(of: "OLD")) WHERE (\(keyChanged)) AND \(isAbsent("OLD"));
            \(insertChange)
                SELECT \(changeHeader("CASE WHEN \(keyChanged) THEN 2 ELSE 4 END")), \(list)
                FROM \(quoted(table)) WHERE \(isRow("NEW"));
            END;
            """
        let forget = displacing.isEmpty ? "" : "DELETE FROM \(quoted(displaced)) WHERE \(isRow("OLD"));\n"
        let delete = """
            CREATE TRIGGER \(name("delete")) AFTER DELETE ON \(quoted(table)) BEGIN
            \(forget)\(insertChange)
                SELECT \(changeHeader("1")), \(list(of: "OLD")) WHERE \(isAbsent("OLD"));
            END;
            """
        guard !displacing.isEmpty else { return [insert, update, delete] }
        let collect = { (exceptOld: Bool) in
            """
            DELETE FROM \(quoted(displaced)) WHERE \(matches(nil));
            INSERT INTO \(quoted(displaced)) (\(list))
                SELECT \(list) FROM \(quoted(table)) AS other
                WHERE (\(matches("other")))\(exceptOld ? " AND NOT (\(isRow("OLD", in: "other")))" : "");
            """
        }
        return [
            insert, update, delete,
            "CREATE TRIGGER \(name("before_insert")) BEFORE INSERT ON \(quoted(table)) BEGIN\n\(collect(false))\nEND;",
            "CREATE TRIGGER \(name("before_update")) BEFORE UPDATE ON \(quoted(table)) BEGIN\n\(collect(true))\nEND;",
        ]
    }

    private func name(_ event: String) -> String { quoted(CDCTables.trigger(instance, event)) }

    private var list: String { quotedList(columns.map(\.name)) }

    private func list(of row: String) -> String {
        columns.map { "\(row).\(quoted($0.name))" }.joined(separator: ", ")
    }

    private var insertChange: String {
        """
        INSERT INTO \(quoted(changeTable)) ("__$start_lsn", "__$command_id", "__$operation", \(list))
        """
    }

    private func changeHeader(_ operation: String) -> String {
        "(SELECT value FROM cdc_clock WHERE id = 1), \(CDCTables.commandID), \(operation)"
    }

    /// Whether a row is the one whose key `row` (OLD, NEW or an alias) has.
    private func isRow(_ row: String, in alias: String? = nil) -> String {
        let prefix = alias.map { "\($0)." } ?? ""
        return key.map { "\(prefix)\(quoted($0)) IS \(row).\(quoted($0))" }.joined(separator: " AND ")
    }

    /// Whether no row of the table has the key of `row`, to the letter: a key that only differs in case under a
    /// case-insensitive collation is another key.
    private func isAbsent(_ row: String) -> String {
        let same = key.map { name in
            let (here, there) = ("here.\(quoted(name))", "\(row).\(quoted(name))")
            return "\(here) IS \(there) AND \(here) COLLATE BINARY IS \(there)"
        }
        return "NOT EXISTS (SELECT 1 FROM \(quoted(table)) AS here WHERE \(same.joined(separator: " AND ")))"
    }

    private var keyChanged: String {
        key.map { "OLD.\(quoted($0)) COLLATE BINARY IS NOT NEW.\(quoted($0))" }.joined(separator: " OR ")
    }

    /// Whether a row has the values of `NEW` in one of the unique indexes.
    private func matches(_ alias: String?) -> String {
        let prefix = alias.map { "\($0)." } ?? ""
        return displacing.map { index in
            let terms = index.columns.map { column in
                let fallback = columns.first { $0.name == column.name && !$0.isNullable }?.defaultValue
                let new = "NEW.\(quoted(column.name))"
                let value = fallback.map { "ifnull(\(new), \($0))" } ?? new
                return "\(prefix)\(quoted(column.name)) COLLATE \(quoted(column.collation)) = \(value)"
            }
            return "(" + terms.joined(separator: " AND ") + ")"
        }.joined(separator: " OR ")
    }

    private func createIndex(_ name: String, _ columns: [String]) -> String {
        "CREATE INDEX \(name) ON \(quoted(displaced)) (\(columns.joined(separator: ", ")));"
    }
}
