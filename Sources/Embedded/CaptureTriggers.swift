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
/// - The check after the statement, or the newer image, may never come: a row that displaces others can itself be
///   deleted on the way, by a foreign key that cascades from one of them. So `sweep` checks what is left before a
///   position is closed, and on a table from which foreign keys cascade an update of the key has candidates too.
/// - While one statement displaces rows, what cascades from them runs others on the same table: a candidate stays one
///   until it is gone and captured, or the position is closed.
/// - SQLite runs the newest AFTER trigger first, and `RAISE(IGNORE)`, `RAISE(FAIL)` or a failing `OR FAIL` in one keeps
///   those after it from running. So these triggers are to be the table's newest.
/// - A table rebuilt by a migration has lost its triggers, or has them again by their text. The seal tells which: a
///   trigger on the change table that never fires and is made last. SQLite numbers what is made in order, and keeps the
///   order of triggers in VACUUM and in a dump; triggers behind the seal were made by somebody else.
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

    let instance: String
    /// The table's name as the schema spells it.
    let table: String
    /// The captured columns.
    let columns: [SourceColumn]
    /// Others that a unique index has.
    let uncaptured: [SourceColumn]
    let key: [String]
    let displacing: [UniqueIndex]
    /// Whether to delete a row of the table has consequences for others, by a foreign key's ON DELETE.
    let cascades: Bool

    private var hasCandidates: Bool { !displacing.isEmpty || cascades }
    private var changeTable: String { CDCTables.changeTable(instance) }
    private var displaced: String { CDCTables.displacedTable(instance) }

    /// Creates the change table, and captures the rows the table holds as inserts.
    var createChangeTable: String {
        """
        CREATE TABLE \(quoted(changeTable)) (
            "__$start_lsn" INTEGER,
            "__$seqval" INTEGER PRIMARY KEY,
            "__$command_id" INTEGER,
            "__$operation" INTEGER,
            \(declarations(columns))
        );
        \(insertChange) SELECT \(changeHeader("2")), \(list) FROM \(quoted(table));
        """
    }

    /// Creates the triggers and what they need, the seal last.
    var install: String {
        let scratch =
            !hasCandidates
            ? []
            : [
                "CREATE TABLE \(quoted(displaced)) (\n    \(declarations(columns + uncaptured))\n);",
                createIndex(quoted("\(displaced)_key"), key.map(quoted)),
            ]
                + displacing.enumerated().map { number, index in
                    createIndex(
                        quoted("\(displaced)_\(number + 1)"),
                        index.columns.map { "\(quoted($0.name)) COLLATE \(quoted($0.collation))" })
                }
        let seal = """
            CREATE TRIGGER \(name(CDCTables.seal)) BEFORE UPDATE ON \(quoted(changeTable)) WHEN 0 BEGIN SELECT 1; END
            """
        return (scratch + (triggers.map(\.sql) + [seal]).map { "\($0);" }).joined(separator: "\n")
    }

    /// Drops what `install` has made, whatever of it is there.
    static func removal(of instance: String) -> String {
        let triggers = (CDCTables.events + [CDCTables.seal]).map {
            "DROP TRIGGER IF EXISTS \(quoted(CDCTables.trigger(instance, $0)));"
        }
        return (triggers + ["DROP TABLE IF EXISTS \(quoted(CDCTables.displacedTable(instance)));"])
            .joined(separator: "\n")
    }

    /// Captures rows that were displaced without a check, and forgets all candidates. To be run while no statement is
    /// under way; `nil` when there is nothing to check.
    var sweep: String? {
        guard hasCandidates else { return nil }
        return """
            \(insertChange)
                SELECT \(changeHeader("1")), \(list) FROM \(quoted(displaced)) AS gone WHERE \(isAbsent("gone"));
            DELETE FROM \(quoted(displaced));
            """
    }

    /// The triggers the capture needs, without its seal: the event of each, and its text as SQLite keeps it.
    var triggers: [(event: String, sql: String)] {
        let checkDisplaced =
            displacing.isEmpty
            ? ""
            : """
            \(insertChange)
                SELECT \(changeHeader("1")), \(list) FROM \(quoted(displaced)) AS gone
                WHERE (\(matches("gone"))) AND \(isAbsent("gone"));
            DELETE FROM \(quoted(displaced)) WHERE (\(matches(nil))) AND \(isAbsent(quoted(displaced)));

            """
        // A candidate whose key changes stays one under the new key.
        let scratch = quotedList((columns + uncaptured).map(\.name))
        let follow =
            !hasCandidates
            ? ""
            : """
            INSERT INTO \(quoted(displaced)) (\(scratch))
                SELECT \(scratch) FROM \(quoted(table)) AS moved WHERE (\(keyChanged)) AND \(isRow("NEW", in: "moved"))
                    AND EXISTS (SELECT 1 FROM \(quoted(displaced)) AS gone WHERE \(isRow("OLD", in: "gone")));
            DELETE FROM \(quoted(displaced)) WHERE (\(keyChanged)) AND \(isRow("OLD"));

            """
        let insert = """
            CREATE TRIGGER \(name("insert")) AFTER INSERT ON \(quoted(table)) BEGIN
            \(checkDisplaced)\(insertChange)
                SELECT \(changeHeader("2")), \(list) FROM \(quoted(table)) WHERE \(isRow("NEW"));
            END
            """
        let update = """
            CREATE TRIGGER \(name("update")) AFTER UPDATE ON \(quoted(table)) BEGIN
            \(checkDisplaced)\(follow)\(insertChange)
                SELECT \(changeHeader("1")), \(list(of: "OLD")) WHERE (\(keyChanged)) AND \(isAbsent("OLD"));
            \(insertChange)
                SELECT \(changeHeader("CASE WHEN \(keyChanged) THEN 2 ELSE 4 END")), \(list)
                FROM \(quoted(table)) WHERE \(isRow("NEW"));
            END
            """
        let forget = !hasCandidates ? "" : "DELETE FROM \(quoted(displaced)) WHERE \(isRow("OLD"));\n"
        let delete = """
            CREATE TRIGGER \(name("delete")) AFTER DELETE ON \(quoted(table)) BEGIN
            \(forget)\(insertChange)
                SELECT \(changeHeader("1")), \(list(of: "OLD")) WHERE \(isAbsent("OLD"));
            END
            """
        let after = [("insert", insert), ("update", update), ("delete", delete)]
        guard hasCandidates else { return after }
        let before = { (event: String, condition: String, candidates: String) in
            """
            CREATE TRIGGER \(name("before_\(event)")) BEFORE \(event.uppercased()) ON \(quoted(table))\(condition) BEGIN
            DELETE FROM \(quoted(displaced)) WHERE (\(quotedList(key))) IN (
                SELECT \(key.map { "other.\(quoted($0))" }.joined(separator: ", ")) \(candidates));
            INSERT INTO \(quoted(displaced)) (\(scratch)) SELECT \(scratch) \(candidates);
            END
            """
        }
        let from = "FROM \(quoted(table)) AS other WHERE"
        let sameKey = key.map { "other.\(quoted($0)) = NEW.\(quoted($0))" }.joined(separator: " AND ")
        let byIndex = displacing.isEmpty ? nil : matches("other")
        let byKey = cascades ? "(\(sameKey))" : nil
        let candidates = [byIndex, byKey].compactMap(\.self).joined(separator: " OR ")
        let beforeUpdate = before(
            "update", byIndex == nil ? " WHEN \(keyChanged)" : "",
            "\(from) (\(candidates)) AND NOT (\(isRow("OLD", in: "other")))")
        guard let byIndex else { return after + [("before_update", beforeUpdate)] }
        return after + [
            ("before_insert", before("insert", "", "\(from) (\(byIndex))")), ("before_update", beforeUpdate),
        ]
    }

    private func declarations(_ columns: [SourceColumn]) -> String {
        columns.map { "\(quoted($0.name)) \($0.declaration)" }.joined(separator: ",\n    ")
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
                let fallback = (columns + uncaptured).first { $0.name == column.name && !$0.isNullable }?.defaultValue
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
