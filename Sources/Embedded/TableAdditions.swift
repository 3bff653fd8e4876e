import GRDB
import Tidemark

/// What users have put on a projection's table: indexes and triggers. They go with the table, and are made again on the
/// one that takes its place. Views only name the table, and stay.
struct TableAdditions {
    private struct Addition {
        let kind: String
        let name: String
        let sql: String
    }

    private let additions: [Addition]

    /// Reads those of a table; none when there is no such table.
    init(of table: String, _ db: Database) throws {
        // Without SQL are the indexes that SQLite makes for keys. Indexes first, and each in the order it was made.
        additions = try Row.fetchAll(
            db,
            sql: """
                SELECT type, name, sql FROM sqlite_schema
                WHERE tbl_name = ? COLLATE NOCASE AND type IN ('index', 'trigger') AND sql IS NOT NULL
                ORDER BY type, rowid
                """,
            arguments: [table]
        ).map { Addition(kind: $0[0], name: $0[1], sql: $0[2]) }
    }

    /// Makes them on the table that now has the name, inside the caller's transaction.
    ///
    /// - Returns: a sentence for each that the table has no place for, such as an index on a column that is gone.
    func make(on table: ProjectionTable, _ db: Database) throws -> [String] {
        var lost: [String] = []
        for addition in additions {
            do {
                try db.inSavepoint {
                    try db.execute(sql: addition.sql)
                    if addition.kind == "trigger" { try Self.requireWritable(table, db) }
                    return .commit
                }
            } catch let error as DatabaseError where error.resultCode == .SQLITE_ERROR || error.isConstraint {
                lost.append(
                    """
                    \(addition.kind) \(addition.name) on \(table.name) could not be kept when the table was built anew: \
                    \(error.message ?? "no message"). It was: \(DatabaseLabel.oneLine(addition.sql))
                    """)
            }
        }
        return lost
    }

    /// SQLite looks into a trigger only when a statement is prepared that fires it.
    private static func requireWritable(_ table: ProjectionTable, _ db: Database) throws {
        for sql in [ServingTables.upsert(table), ServingTables.delete(table)] { _ = try db.makeStatement(sql: sql) }
    }
}

extension DatabaseError {
    /// Rows that a unique index does not allow.
    fileprivate var isConstraint: Bool { resultCode == .SQLITE_CONSTRAINT }
}
