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
        let sentence: String
        switch code & 0xff {
        case SQLITE_INTERRUPT:
            return CancellationError()
        case SQLITE_CANTOPEN:
            sentence = "cannot be opened; check that its directory exists and may be written to"
        case SQLITE_READONLY, SQLITE_PERM, SQLITE_AUTH:
            sentence = "cannot be written; check the permissions of the file and of its directory"
        case SQLITE_BUSY, SQLITE_LOCKED:
            sentence = "is locked by another program; end that program's transaction"
        case SQLITE_FULL:
            sentence = "cannot grow: the disk is full"
        case SQLITE_NOTADB:
            sentence = "is not an SQLite database"
        case SQLITE_CORRUPT:
            sentence = "is damaged; restore it from a backup"
        default:
            sentence = "reports an error"
        }
        let statement = sql.map { ", in: \(DatabaseLabel.oneLine($0))" } ?? ""
        return TidemarkError.unavailable("\(database) \(sentence) (SQLite error \(code): \(message)\(statement))")
    }
}
