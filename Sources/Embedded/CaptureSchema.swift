import GRDB
import Tidemark

/// What the schema has of a capture: its table, its triggers, and what others have put on the table.
struct CaptureSchema {
    /// A trigger as SQLite keeps it.
    private struct Trigger {
        let name: String
        let table: String
        let sql: String
        /// Its place in `sqlite_schema`: what is made later has a higher one.
        let place: Int64
    }

    private let instance: String
    /// The table as it was called when the capture was enabled.
    private let table: String
    /// As the schema spells it; `nil` when there is none.
    private let presentTable: String?
    /// By event.
    private let own: [String: Trigger]
    /// Those of others on the table.
    private let others: [Trigger]
    private let captured: [(name: String, declaration: String, keyOrdinal: Int?)]
    private let hasChangeTable: Bool
    /// The table's columns that are not captured.
    private let otherColumns: [String]

    init(_ instance: String, table: String, _ db: Database) throws {
        self.instance = instance
        self.table = table
        let presentTable = try String.fetchOne(
            db,
            sql: """
                SELECT name FROM pragma_table_list
                WHERE schema = 'main' AND type = 'table' AND name = ? COLLATE NOCASE
                """,
            arguments: [table])
        self.presentTable = presentTable
        hasChangeTable = try EmbeddedSource.hasTable(CDCTables.changeTable(instance), db)
        let triggers = try Row.fetchAll(
            db, sql: "SELECT name, tbl_name, sql, rowid FROM sqlite_schema WHERE type = 'trigger' ORDER BY rowid"
        ).map { Trigger(name: $0[0], table: $0[1], sql: $0[2], place: $0[3]) }
        let events = Dictionary(
            uniqueKeysWithValues: (CDCTables.events + [CDCTables.seal]).map { (CDCTables.trigger(instance, $0), $0) })
        own = Dictionary(
            triggers.compactMap { trigger in events[trigger.name].map { ($0, trigger) } }, uniquingKeysWith: { $1 })
        others = triggers.filter {
            events[$0.name] == nil && $0.table.lowercased() == (presentTable ?? table).lowercased()
        }
        captured = try Row.fetchAll(
            db,
            sql: """
                SELECT column_name, column_type, key_ordinal FROM cdc_captured_columns
                WHERE capture_instance = ? ORDER BY column_ordinal
                """,
            arguments: [instance]
        ).map { ($0[0], $0[1], $0[2]) }
        let captured = captured.map(\.name)
        otherColumns = try String.fetchAll(
            db, sql: "SELECT name FROM pragma_table_xinfo(?) WHERE hidden <> 1", arguments: [presentTable ?? table]
        ).filter { !captured.contains($0) }
    }

    var hasTriggers: Bool { !own.isEmpty }

    // MARK: What is needed

    /// What captures the table as it is now, in the columns it was captured in.
    ///
    /// - Throws: `TidemarkError.schema` when that is not possible.
    func needed(_ db: Database) throws -> CaptureTriggers {
        guard let presentTable else {
            throw fault(
                "table \(table) of capture \(instance) is gone: it was dropped or renamed. Bring it back under that name",
                orElse: "leave it out with CDC_EXCLUDE=\(table)")
        }
        guard hasChangeTable else {
            throw TidemarkError.schema(
                """
                the change table \(CDCTables.changeTable(instance)) is gone, and with it what was captured of table \
                \(table). To begin it again, \(afresh)
                """)
        }
        let triggers = try EmbeddedSource.describe(
            presentTable, as: instance, db, capturing: captured.map(\.name))
        let present = Dictionary(
            triggers.columns.map { ($0.name, $0.declaration) }, uniquingKeysWith: { first, _ in first })
        for column in captured {
            guard let declaration = present[column.name] else {
                throw fault(
                    "table \(table) has no column \(column.name) any more, which is captured. Bring the column back",
                    orElse: "to capture the table as it is now, \(afresh)")
            }
            guard SQLiteType.keepsAlike(declaration, column.declaration) else {
                throw fault(
                    """
                    column \(table).\(column.name) is declared \(declaration) now, and captured as \(column.declaration). \
                    Declare it as before
                    """, orElse: "to capture the table as it is now, \(afresh)")
            }
        }
        let key = captured.filter { $0.keyOrdinal != nil }.sorted { $0.keyOrdinal! < $1.keyOrdinal! }.map(\.name)
        guard triggers.key == key else {
            throw fault(
                """
                the primary key of table \(table) is (\(triggers.key.joined(separator: ", "))) now, and changes are captured \
                by (\(key.joined(separator: ", "))). Give it that key again
                """, orElse: "to capture the table as it is now, \(afresh)")
        }
        return triggers
    }

    private func fault(_ problem: String, orElse alternative: String) -> TidemarkError {
        .schema("\(problem), and it is read anew by itself; or \(alternative)")
    }

    private var afresh: String {
        """
        \(hasChangeTable ? "drop the table \(CDCTables.changeTable(instance)), " : "")delete \(instance) from cdc_change_tables and \
        cdc_captured_columns, run tidemark bootstrap, and start over with an empty serving database
        """
    }

    // MARK: What is there

    /// Why changes may have gone uncaptured, the capture being the subject; `nil` when none may.
    func difference(from needed: CaptureTriggers) -> String? {
        let needed = Dictionary(uniqueKeysWithValues: needed.triggers)
        let missing = ["insert", "update", "delete"].filter { event in
            own[event].map { $0.table.lowercased() != presentTable?.lowercased() } ?? true
        }
        guard missing.isEmpty else {
            return """
                has lost its \(missing.joined(separator: ", ")) trigger\(missing.count == 1 ? "" : "s"): table \(table) was \
                dropped or renamed and made anew, as migrations do, or somebody dropped them\(leftOut)
                """
        }
        if let changed = CDCTables.events.first(where: { own[$0]?.sql != needed[$0] }) {
            return """
                had another \(changed) trigger than table \(table) needs: a unique index of the table or a foreign key to it came \
                or went, or somebody changed it
                """
        }
        guard let seal = own[CDCTables.seal], own.values.allSatisfy({ $0.place <= seal.place }) else {
            return """
                had triggers that were dropped and made again by somebody else, as when table \(table) is rebuilt by a program \
                that puts its triggers back\(leftOut)
                """
        }
        if let other = suppressing.first(where: isLater) {
            return """
                had the trigger \(other.name) of table \(table) run before its own, which its RAISE(IGNORE) or RAISE(FAIL) kept \
                from running
                """
        }
        return nil
    }

    /// Whether triggers of somebody else run before the capture's: nothing is lost by that, unless they fail in a
    /// statement with `OR FAIL`.
    var isOvertaken: Bool { others.contains { TriggerText($0.sql).isAfter && isLater($0) } }

    /// Whether a trigger was made after the capture's, and so runs before them.
    private func isLater(_ trigger: Trigger) -> Bool {
        trigger.place > CDCTables.events.compactMap { own[$0]?.place }.min() ?? 0
    }

    /// What the owner of the table should know of its triggers.
    var warnings: [String] {
        suppressing.map {
            """
            trigger \($0.name) on table \(table) runs RAISE(IGNORE) or RAISE(FAIL) after a change, which keeps the triggers \
            behind it from running. Those of change data capture come before it as long as SQLite runs the newest first, \
            which its documentation does not promise; make it a BEFORE trigger
            """
        }
    }

    private var suppressing: [Trigger] { others.filter { TriggerText($0.sql).maySuppressOthers } }

    /// Names columns that came later, which nothing shows otherwise.
    private var leftOut: String {
        switch otherColumns.count {
        case 0: ""
        case 1: "; the table's column \(otherColumns[0]) is not captured"
        default: "; the table's columns \(otherColumns.joined(separator: ", ")) are not captured"
        }
    }
}
