import GRDB
import GRDBSQLite
import Tidemark

/// Makes errors of SQLite readable: one sentence with the remedy, SQLite's own message and the SQL.
enum SQLiteFailure {
    /// The error the connection last had.
    static func last(on connection: OpaquePointer?, sql: String, in database: DatabaseLabel) -> any Error {
        let message = connection.flatMap { sqlite3_errmsg($0) }.map { String(cString: $0) } ?? "out of memory"
        let code = connection.map { sqlite3_extended_errcode($0) } ?? SQLITE_NOMEM
        return make(code: code, message: message, sql: sql, in: database)
    }

    /// `error` as the package's own kind of error, when it came from SQLite; otherwise unchanged.
    static func readable(_ error: any Error, in database: DatabaseLabel) -> any Error {
        guard let error = error as? DatabaseError else { return error }
        return make(
            code: error.extendedResultCode.rawValue, message: error.message ?? "no message", sql: error.sql,
            in: database)
    }

    private static func make(
        code: Int32, message: String, sql: String?, in database: DatabaseLabel
    ) -> any Error {
        let problem: String
        switch code & 0xff {
        case SQLITE_INTERRUPT:
            return CancellationError()
        case SQLITE_CANTOPEN:
            problem = "cannot be opened; check that its directory exists and may be written to"
        case SQLITE_READONLY, SQLITE_PERM, SQLITE_AUTH:
            problem = "cannot be written; check the permissions of the file and of its directory"
        case SQLITE_BUSY, SQLITE_LOCKED:
            return TidemarkError.transient(
                sentence(
                    "is locked by another program; end that program's transaction", code, message, sql, in: database))
        case SQLITE_FULL:
            problem = "cannot grow: the disk is full"
        case SQLITE_NOTADB:
            problem = "is not an SQLite database"
        case SQLITE_CORRUPT:
            problem = "is damaged; restore it from a backup"
        default:
            problem = "reports an error"
        }
        return TidemarkError.unavailable(sentence(problem, code, message, sql, in: database))
    }

    private static func sentence(
        _ problem: String, _ code: Int32, _ message: String, _ sql: String?, in database: DatabaseLabel
    ) -> String {
        let statement = sql.map { ", in: \(DatabaseLabel.oneLine($0))" } ?? ""
        return "\(database) \(problem) (SQLite error \(code): \(message)\(statement))"
    }
}
