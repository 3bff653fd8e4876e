/// The replica's tables of one capture, and the SQL over them.
struct ReplicaTables {
    struct Table {
        let name: String
        var qualified: String { "replica.\(SQLText.identifier(name))" }
    }

    let capture: Capture

    private var order: String { ReservedName.order }
    private var operation: String { ReservedName.operation }

    init(_ capture: Capture) { self.capture = capture }

    /// State at the base LSN: the captured columns and `__lsn`.
    var base: Table { Table(name: "base_\(capture.table)") }
    /// Changes after it: place in the log, LSN and operation, then the captured columns.
    var log: Table { Table(name: "log_\(capture.table)") }

    /// What the tables' shape follows from; another layout makes them start empty.
    var layout: String {
        let columns = capture.columns.map { "\($0.name) \($0.type)" }.joined(separator: ", ")
        return "2: \(columns); key \(capture.key.joined(separator: ", "))"
    }

    /// Makes both tables empty, and the position zero.
    var create: String {
        let columns = capture.columns.map { "\(SQLText.identifier($0.name)) \($0.type)" }.joined(separator: ", ")
        let instance = SQLText.literal(capture.instance)
        return """
            DROP TABLE IF EXISTS \(base.qualified);
            DROP TABLE IF EXISTS \(log.qualified);
            CREATE TABLE \(base.qualified) (\(columns), __lsn BLOB NOT NULL);
            CREATE TABLE \(log.qualified) (
                \(order) BIGINT NOT NULL, __lsn BLOB NOT NULL, \(operation) UTINYINT NOT NULL, \(columns)
            );
            DELETE FROM replica.positions WHERE capture_instance = \(instance);
            INSERT INTO replica.positions VALUES
                (\(instance), \(SQLText.literal(layout)), \(LSN.zero.sqlLiteral), \(LSN.zero.sqlLiteral));
            """
    }

    /// The latest change of each key in the log up to `lsn`.
    func latest(through lsn: LSN) -> String {
        """
        SELECT * FROM \(log.qualified) WHERE \(order) IN (
            SELECT max(\(order)) FROM \(log.qualified) WHERE __lsn <= \(lsn.sqlLiteral) GROUP BY \(SQLText.list(capture.key))
        )
        """
    }

    /// Whether a row of `replica.positions` is of a capture whose state can be shown from one LSN to another.
    static func shows(from: LSN, to: LSN) -> String {
        "(base_lsn <= \(from.sqlLiteral) AND loaded_lsn >= \(to.sqlLiteral))"
    }

    /// Leaves the captured table's state at `lsn` in a temporary table, and the latest changes in another beside it.
    ///
    /// - Parameter name: the table's name, without its catalog.
    func keepState(asOf lsn: LSN, as name: String) -> String {
        let table = SQLText.temporary(name)
        let overlay = SQLText.temporary("\(name)_latest")
        return """
            CREATE TEMP TABLE \(overlay) AS \(latest(through: lsn));
            CREATE TEMP TABLE \(table) AS \(state(overlay: overlay, columns: capture.columns.map(\.name)));
            """
    }

    /// Moves the changes up to `lsn` from the log into the base.
    ///
    /// Rows that stay are updated in place and new ones go in by key, so that the base keeps the order by
    /// which scans skip row groups.
    ///
    /// - Parameter isWhole: whether nothing of the log is left behind.
    func fold(to lsn: LSN, isWhole: Bool) -> String {
        let names = capture.columns.map(\.name) + [ReservedName.lsn]
        let latest = SQLText.temporary("fold_latest")
        let sameKey = capture.key.map { "b.\(SQLText.identifier($0)) = l.\(SQLText.identifier($0))" }
            .joined(separator: " AND ")
        let values = names.filter { !capture.key.contains($0) }
            .map { "\(SQLText.identifier($0)) = l.\(SQLText.identifier($0))" }.joined(separator: ", ")
        let delete = ChangeOperation.delete.rawValue
        return """
            CREATE OR REPLACE TEMP TABLE \(latest) AS \(self.latest(through: lsn));
            UPDATE \(base.qualified) AS b SET \(values) FROM \(latest) AS l
                WHERE \(sameKey) AND l.\(operation) <> \(delete);
            DELETE FROM \(base.qualified) AS b USING \(latest) AS l WHERE \(sameKey) AND l.\(operation) = \(delete);
            INSERT INTO \(base.qualified)
                SELECT \(SQLText.list(names, of: "l")) FROM \(latest) AS l ANTI JOIN \(base.qualified) AS b ON \(sameKey)
                WHERE l.\(operation) <> \(delete) ORDER BY \(SQLText.list(capture.key, of: "l"));
            DELETE FROM \(log.qualified)\(isWhole ? "" : " WHERE __lsn <= \(lsn.sqlLiteral)");
            UPDATE replica.positions SET base_lsn = \(lsn.sqlLiteral)
                WHERE capture_instance = \(SQLText.literal(capture.instance));
            DROP TABLE \(latest);
            """
    }

    /// A query for the captured table's state: the base without the keys changed since, plus their latest images.
    ///
    /// - Parameters:
    ///   - overlay: a table of the latest changes up to some LSN; `nil` when there are none.
    ///   - columns: the columns to show.
    func state(overlay: String?, columns: [String]) -> String {
        guard let overlay else { return "SELECT \(SQLText.list(columns)) FROM \(base.qualified)" }
        let sameKey = capture.key.map { "b.\(SQLText.identifier($0)) = o.\(SQLText.identifier($0))" }
        return """
            SELECT \(SQLText.list(columns, of: "b")) FROM \(base.qualified) AS b
            ANTI JOIN \(overlay) AS o ON \(sameKey.joined(separator: " AND "))
            UNION ALL
            SELECT \(SQLText.list(columns)) FROM \(overlay) WHERE \(operation) <> \(ChangeOperation.delete.rawValue)
            """
    }
}
