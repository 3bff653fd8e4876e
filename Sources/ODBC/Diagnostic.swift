internal import CODBC

/// One record of what a driver or the driver manager reported about a call.
public struct Diagnostic: Hashable, Sendable {
    /// Five characters, e.g. `40001`; the first two are its class.
    public let sqlState: String
    /// The database's own number, e.g. 1205 for SQL Server's deadlock.
    public let nativeCode: Int
    /// With the components it came through in front, e.g. `[FreeTDS][SQL Server]Invalid object name 't'.`
    public let message: String

    public init(sqlState: String, nativeCode: Int, message: String) {
        self.sqlState = sqlState
        self.nativeCode = nativeCode
        self.message = message
    }

    /// What is reported of a call that was abandoned; HYT01 is ODBC's "connection timeout expired".
    static func silence(_ limit: Duration) -> Diagnostic {
        Diagnostic(
            sqlState: "HYT01", nativeCode: 0,
            message: "the server has not answered within \(limit.components.seconds) s, and the connection was given up"
        )
    }

    /// Whether this informs rather than fails: SQLSTATE class 01, or 00.
    public var isWarning: Bool { sqlState.hasPrefix("01") || sqlState.hasPrefix("00") }
}

extension Diagnostic: CustomStringConvertible {
    public var description: String { "\(message) (SQLSTATE \(sqlState), native code \(nativeCode))" }
}

/// A handle together with its kind, as the diagnostic functions want it.
struct Handle {
    let kind: SQLSMALLINT
    let pointer: SQLHANDLE?

    static func environment(_ pointer: SQLHENV?) -> Handle {
        Handle(kind: SQLSMALLINT(SQL_HANDLE_ENV), pointer: pointer)
    }
    static func connection(_ pointer: SQLHDBC?) -> Handle {
        Handle(kind: SQLSMALLINT(SQL_HANDLE_DBC), pointer: pointer)
    }
    static func statement(_ pointer: SQLHSTMT?) -> Handle {
        Handle(kind: SQLSMALLINT(SQL_HANDLE_STMT), pointer: pointer)
    }

    /// All records of the last call on this handle, in the driver's order: the most severe comes first.
    func diagnostics() -> [Diagnostic] {
        var records: [Diagnostic] = []
        // Of UTF-16 units; grown when a message is longer. Roomy, since psqlODBC cuts messages into records of the
        // size first asked for, in the middle of a character if need be (13.02, `ER_ReturnError`).
        var capacity = 8_192
        // A driver that never says "no more" must not hold us for ever.
        while records.count < 1_000 {
            var state = [SQLWCHAR](repeating: 0, count: 6)
            var native: SQLINTEGER = 0
            var length: SQLSMALLINT = 0
            var text = [SQLWCHAR](repeating: 0, count: capacity)
            let number = SQLSMALLINT(records.count + 1)
            let result = SQLGetDiagRecW(
                kind, pointer, number, &state, &native, &text, SQLSMALLINT(capacity), &length)
            guard succeeded(result) else { break }
            if Int(length) >= capacity, capacity < Int(SQLSMALLINT.max) {
                capacity = min(Int(length) + 1, Int(SQLSMALLINT.max))
                continue
            }
            records.append(
                Diagnostic(
                    sqlState: String(decoding: state.prefix(5), as: UTF16.self), nativeCode: Int(native),
                    // Drivers disagree on whether `length` counts characters or bytes, so the NUL decides.
                    message: String(decoding: text.prefix { $0 != 0 }, as: UTF16.self)))
        }
        return records
    }
}

/// Whether a call succeeded, with or without warnings.
func succeeded(_ result: SQLRETURN) -> Bool {
    result == SQL_SUCCESS || result == SQL_SUCCESS_WITH_INFO
}
