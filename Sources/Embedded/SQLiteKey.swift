import GRDBSQLite

/// The key of the last row that was read, exactly as SQLite has it.
///
/// `@unchecked`: touched by one cursor only, on its connection's queue.
final class SQLiteKey: @unchecked Sendable {
    /// Where the key's columns are in the statement.
    private let positions: [Int32]
    private var values: [OpaquePointer?] = []

    init(positions: [Int32]) { self.positions = positions }

    deinit { values.forEach(sqlite3_value_free) }

    var isSet: Bool { !values.isEmpty }

    /// Remembers the key of the row `statement` stands on.
    func take(from statement: SQLiteStatement) {
        values.forEach(sqlite3_value_free)
        values = positions.map { sqlite3_value_dup(sqlite3_column_value(statement.pointer, $0)) }
    }

    /// Binds the key to the first parameters; nothing when there is none.
    func bind(to statement: SQLiteStatement) throws {
        for (index, value) in values.enumerated() {
            try statement.check(sqlite3_bind_value(statement.pointer, Int32(index + 1), value))
        }
    }
}
