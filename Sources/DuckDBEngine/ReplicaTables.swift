import Tidemark

/// How a replica's base takes the changes of its log in.
enum FoldMethod: Equatable {
    /// Row by row. DuckDB keeps what an UPDATE writes in memory until it is committed, where `memory_limit` ends it.
    case updating
    /// By being made anew, which DuckDB can do on disk: in the order of the key, or as the rows come where they are so wide
    /// that sorting them takes more memory than there may be.
    case rewriting(isSorted: Bool)

    static let leastMemory = FoldMethod.rewriting(isSorted: false)

    /// A log of more changes, or of more bytes, than this is folded by making the base anew. Only a large transaction, or a
    /// backlog, makes one: 96 MiB are within any memory limit, and more takes longer than to write the base.
    private static let mostRows = 500_000
    private static let mostBytes = 96 << 20
    /// Bytes of a row that is too wide to be sorted.
    private static let wideBytes = 2_048

    /// The method for a log of so many rows and bytes.
    init(rows: Int, bytes: Int) {
        guard rows > Self.mostRows || bytes > Self.mostBytes else {
            self = .updating
            return
        }
        self = .rewriting(isSorted: bytes / max(1, rows) < Self.wideBytes)
    }
}

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
        let columns = capture.columns.map { "\($0.name) \($0.type.duckDBName)" }.joined(separator: ", ")
        return "2: \(columns); key \(capture.key.joined(separator: ", "))"
    }

    private var baseColumns: String {
        let columns = capture.columns.map { "\(SQLText.identifier($0.name)) \($0.type.duckDBName)" }.joined(
            separator: ", ")
        return "\(columns), __lsn BLOB NOT NULL"
    }

    /// Makes both tables empty, and the position zero.
    var create: String {
        let columns = capture.columns.map { "\(SQLText.identifier($0.name)) \($0.type.duckDBName)" }.joined(
            separator: ", ")
        let instance = SQLText.literal(capture.instance)
        return """
            DROP TABLE IF EXISTS \(base.qualified);
            DROP TABLE IF EXISTS \(log.qualified);
            CREATE TABLE \(base.qualified) (\(baseColumns));
            CREATE TABLE \(log.qualified) (
                \(order) BIGINT NOT NULL, __lsn BLOB NOT NULL, \(operation) UTINYINT NOT NULL, \(columns)
            );
            DELETE FROM replica.positions WHERE capture_instance = \(instance);
            INSERT INTO replica.positions VALUES
                (\(instance), \(SQLText.literal(layout)), \(LSN.zero.sqlLiteral), \(LSN.zero.sqlLiteral));
            """
    }

    /// The latest change of each key in the log up to `lsn`.
    ///
    /// - Parameter columns: the captured columns to show, beside operation and LSN; all by default.
    func latest(through lsn: LSN, columns: [String]? = nil) -> String {
        let shown =
            columns.map { SQLText.list([operation, ReservedName.lsn] + $0.filter { $0 != ReservedName.lsn }) } ?? "*"
        return """
            SELECT \(shown) FROM \(log.qualified) WHERE \(order) IN (
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
    /// - Parameters:
    ///   - isWhole: whether nothing of the log is left behind.
    ///   - method: how the base takes them in.
    func fold(to lsn: LSN, isWhole: Bool, by method: FoldMethod) -> String {
        let steps =
            switch method {
            case .updating: updateInPlace
            case .rewriting(let isSorted): rewrite(isSorted: isSorted)
            }
        return """
            CREATE OR REPLACE TEMP TABLE \(foldLatest) AS \(latest(through: lsn));
            \(steps)
            DELETE FROM \(log.qualified)\(isWhole ? "" : " WHERE __lsn <= \(lsn.sqlLiteral)");
            UPDATE replica.positions SET base_lsn = \(lsn.sqlLiteral)
                WHERE capture_instance = \(SQLText.literal(capture.instance));
            DROP TABLE \(foldLatest);
            """
    }

    private var foldLatest: String { SQLText.temporary("fold_latest") }

    private func rewrite(isSorted: Bool) -> String {
        let next = Table(name: "next_\(capture.table)")
        let names = capture.columns.map(\.name) + [ReservedName.lsn]
        return """
            DROP TABLE IF EXISTS \(next.qualified);
            CREATE TABLE \(next.qualified) (\(baseColumns));
            INSERT INTO \(next.qualified) SELECT * FROM (\(state(overlay: foldLatest, columns: names)))\
            \(isSorted ? " ORDER BY \(SQLText.list(capture.key))" : "");
            DROP TABLE \(base.qualified);
            ALTER TABLE \(next.qualified) RENAME TO \(SQLText.identifier(base.name));
            """
    }

    /// Rows that stay are updated in place and new ones go in by key, so that the base keeps the order by which scans
    /// skip row groups.
    private var updateInPlace: String {
        let names = capture.columns.map(\.name) + [ReservedName.lsn]
        let sameKey = capture.key.map { "b.\(SQLText.identifier($0)) = l.\(SQLText.identifier($0))" }
            .joined(separator: " AND ")
        let values = names.filter { !capture.key.contains($0) }
            .map { "\(SQLText.identifier($0)) = l.\(SQLText.identifier($0))" }.joined(separator: ", ")
        let delete = ChangeOperation.delete.rawValue
        return """
            UPDATE \(base.qualified) AS b SET \(values) FROM \(foldLatest) AS l WHERE \(sameKey) AND l.\(operation) <> \(delete);
            DELETE FROM \(base.qualified) AS b USING \(foldLatest) AS l WHERE \(sameKey) AND l.\(operation) = \(delete);
            INSERT INTO \(base.qualified)
                SELECT \(SQLText.list(names, of: "l")) FROM \(foldLatest) AS l ANTI JOIN \(base.qualified) AS b ON \(sameKey)
                WHERE l.\(operation) <> \(delete) ORDER BY \(SQLText.list(capture.key, of: "l"));
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
