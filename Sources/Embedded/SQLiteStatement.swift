import GRDB
import GRDBSQLite
import Tidemark

/// A prepared statement for the paths that move changes and rows, straight on SQLite's C interface.
///
/// Used on the queue of its connection only.
final class SQLiteStatement {
    let pointer: OpaquePointer
    let sql: String
    let database: DatabaseLabel
    /// Whether the last row has been passed.
    private(set) var isAtEnd = false

    init(_ db: Database, _ sql: String, in database: DatabaseLabel) throws {
        var statement: OpaquePointer?
        let code = sqlite3_prepare_v3(
            db.sqliteConnection, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        guard code == SQLITE_OK, let statement else {
            throw SQLiteFailure.last(on: db.sqliteConnection, sql: sql, in: database)
        }
        pointer = statement
        self.sql = sql
        self.database = database
    }

    deinit { sqlite3_finalize(pointer) }

    /// Moves to the next row; false after the last, however often it is asked.
    @inline(__always)
    func step() throws -> Bool {
        // SQLite itself would start over.
        guard !isAtEnd else { return false }
        switch sqlite3_step(pointer) {
        case SQLITE_ROW:
            return true
        case SQLITE_DONE:
            isAtEnd = true
            return false
        default:
            throw failure()
        }
    }

    @inline(__always)
    func reset() {
        sqlite3_reset(pointer)
        isAtEnd = false
    }

    func failure() -> any Error {
        SQLiteFailure.last(on: sqlite3_db_handle(pointer), sql: sql, in: database)
    }

    /// Whether the last failure was a second row for a primary key.
    var failedOnPrimaryKey: Bool {
        // SQLITE_CONSTRAINT_PRIMARYKEY, a macro Swift does not import.
        sqlite3_extended_errcode(sqlite3_db_handle(pointer)) == SQLITE_CONSTRAINT | 6 << 8
    }

    func check(_ code: Int32) throws {
        guard code == SQLITE_OK else { throw failure() }
    }

    func bind(_ value: Int64, at index: Int32) throws {
        try check(sqlite3_bind_int64(pointer, index, value))
    }

    /// Binds the binary form of an LSN, copied.
    func bind(_ lsn: LSN, at index: Int32) throws {
        try check(lsn.withBytes { sqlite3_bind_blob(pointer, index, $0.baseAddress, Int32($0.count), transient) })
    }

    /// Binds text, copied.
    func bind(_ text: String, at index: Int32) throws {
        var text = text
        try check(
            text.withUTF8 { bytes in
                // An empty string may have no address, which SQLite would take for NULL.
                bytes.withMemoryRebound(to: CChar.self) { chars in
                    sqlite3_bind_text(
                        pointer, index, chars.baseAddress ?? emptyText.assumingMemoryBound(to: CChar.self),
                        Int32(chars.count), transient)
                }
            })
    }

    /// The LSN in a column; `nil` unless it is a blob of 10 bytes.
    @inline(__always)
    func lsn(at index: Int32) -> LSN? {
        guard sqlite3_column_type(pointer, index) == SQLITE_BLOB, let bytes = sqlite3_column_blob(pointer, index)
        else { return nil }
        return LSN(
            bytes: UnsafeRawBufferPointer(start: bytes, count: Int(sqlite3_column_bytes(pointer, index))))
    }
}

/// The pipeline's column, not the query builder's.
typealias Column = Tidemark.Column

/// Tells SQLite to copy what is bound (`SQLITE_TRANSIENT`). A `nil` destructor is `SQLITE_STATIC`: the bytes
/// stay in place until the statement is reset or bound again.
let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)

/// An address to bind for values of no bytes; never read.
nonisolated(unsafe) let emptyText = UnsafeRawPointer(UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 1))
