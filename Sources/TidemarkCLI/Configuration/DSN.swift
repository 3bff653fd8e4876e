import SQLServer
import Tidemark

/// Where a database is, as `SOURCE_DSN` and `SERVING_DSN` say it.
///
/// Its description never holds a secret, so that it can be logged; neither do the errors of its parser.
enum DSN: Hashable, Sendable {
    /// `sqlite:PATH`, the path relative to the working directory or absolute.
    case sqlite(path: String)
    /// `sqlserver://user:password@host:port?database=…`, or a connection string for the ODBC driver manager.
    case sqlServer(SQLServerDSN)

    /// The forms a DSN may have, for the end of a sentence.
    static let hint =
        "write sqlite:PATH, such as sqlite:data/source.db, or sqlserver://user:password@host:1433?database=name"

    /// Reads a DSN.
    ///
    /// - Throws: `DSNError`, which says what is wrong without repeating the text.
    init(_ text: String) throws(DSNError) {
        if text.hasPrefix("sqlite:") {
            self = .sqlite(path: try Self.sqlitePath(text.dropFirst("sqlite:".count)))
        } else if let dsn = try SQLServerDSN(text) {
            self = .sqlServer(dsn)
        } else {
            throw DSNError("is none of sqlite:PATH, sqlserver://… and an ODBC connection string; \(Self.hint)")
        }
    }

    private static func sqlitePath(_ path: Substring) throws(DSNError) -> String {
        guard !path.isEmpty else { throw DSNError("has no path after 'sqlite:'; \(hint)") }
        guard path != ":memory:" else {
            throw DSNError("is a database in memory, which no other program could read; \(hint)")
        }
        guard !path.hasPrefix("//") else {
            throw DSNError("has a '//' after 'sqlite:'; \(hint), or sqlite:/var/lib/tidemark/source.db")
        }
        return String(path)
    }
}

extension DSN: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    var description: String {
        switch self {
        case .sqlite(let path): "sqlite:\(path)"
        case .sqlServer(let dsn): dsn.description
        }
    }

    var debugDescription: String { description }

    /// `dump` and string interpolation of a whole `Settings` show the description too.
    var customMirror: Mirror { Mirror(self, children: []) }
}
