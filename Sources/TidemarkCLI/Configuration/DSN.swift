import Tidemark

/// Where a database is, as `SOURCE_DSN` and `SERVING_DSN` say it.
///
/// Its description never holds a secret, so that it can be logged; neither do the errors of its parser.
enum DSN: Hashable, Sendable {
    /// `sqlite:PATH`, the path relative to the working directory or absolute.
    case sqlite(path: String)
    /// `sqlserver://user:password@host:port?database=…&encrypt=…`
    case sqlServer(SQLServerAddress)
    /// A connection string for the ODBC driver manager, such as `Driver={…};Server=…;UID=…;PWD=…`.
    case odbc(ODBCString)

    /// The forms a DSN may have, for the end of a sentence.
    static let hint = "write sqlite:PATH, such as sqlite:data/source.db"

    /// Reads a DSN.
    ///
    /// - Throws: `DSNError`, which says what is wrong without repeating the text.
    init(_ text: String) throws(DSNError) {
        if text.hasPrefix("sqlite:") {
            self = .sqlite(path: try Self.sqlitePath(text.dropFirst("sqlite:".count)))
        } else if text.hasPrefix(SQLServerAddress.scheme) {
            self = .sqlServer(try SQLServerAddress(text))
        } else if text.contains("="), !text.contains("://") {
            self = .odbc(try ODBCString(text))
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
        case .sqlServer(let address): address.description
        case .odbc(let string): string.description
        }
    }

    var debugDescription: String { description }

    /// `dump` and string interpolation of a whole `Settings` show the description too.
    var customMirror: Mirror { Mirror(self, children: []) }
}

/// What is wrong with a DSN, as the end of a sentence that begins with the setting's name.
struct DSNError: Error, Hashable, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// What stands where a secret was.
private let redacted = "***"

/// `sqlserver://user:password@host:port?database=…&encrypt=…`, parts with special characters percent-encoded.
struct SQLServerAddress: Hashable, Sendable {
    static let scheme = "sqlserver://"

    let host: String
    /// `nil` leaves it to the driver: 1433.
    let port: Int?
    let user: String?
    let password: String?
    /// What follows the `?`, by lower-case name.
    let options: [String: String]

    init(_ text: String) throws(DSNError) {
        let rest = text.dropFirst(Self.scheme.count)
        let halves = rest.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        var authority = halves[0]
        if authority.hasSuffix("/") { authority.removeLast() }
        guard !authority.contains("/"), !authority.contains("#") else {
            throw DSNError(
                """
                has a '/' or '#' before the '?'; write sqlserver://user:password@host:port?database=name, with %2F and \
                %23 for these characters in a password
                """)
        }

        var login: Substring?
        if let at = authority.lastIndex(of: "@") {
            login = authority[..<at]
            authority = authority[authority.index(after: at)...]
        }
        guard login?.contains("@") != true else {
            throw DSNError("has two '@'; write %40 for an '@' in a user or password")
        }
        let loginParts = login?.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        user = try loginParts.map { parts throws(DSNError) in try Self.decoded(parts[0], "user") }
        password = loginParts.flatMap { $0.count > 1 ? $0[1] : nil }.flatMap { Self.percentDecoded($0) }
        if let loginParts, loginParts.count > 1, password == nil {
            throw DSNError("has a '%' in its password that is no percent-encoding; write %25 for a '%'")
        }

        // The last colon outside of brackets parts host and port: [::1]:1433.
        if let colon = authority.lastIndex(of: ":"), !authority[colon...].contains("]") {
            let digits = authority[authority.index(after: colon)...]
            guard let number = Int(digits), (1...65535).contains(number) else {
                throw DSNError("has a port that is not a number from 1 to 65535")
            }
            port = number
            authority = authority[..<colon]
        } else {
            port = nil
        }
        guard !authority.isEmpty else {
            throw DSNError("has no host; write sqlserver://user:password@host:port?database=name")
        }
        host = try Self.decoded(authority, "host")

        var options: [String: String] = [:]
        for pair in halves.count > 1 ? halves[1].split(separator: "&") : [] {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty else {
                throw DSNError("has an option that is not name=value after the '?'")
            }
            let name = try Self.decoded(parts[0], "option").lowercased()
            guard options.updateValue(try Self.decoded(parts[1], "option"), forKey: name) == nil else {
                throw DSNError("has an option twice; keep one")
            }
        }
        self.options = options
    }

    private static func decoded(_ text: Substring, _ part: String) throws(DSNError) -> String {
        guard let decoded = percentDecoded(text) else {
            throw DSNError("has a '%' in its \(part) that is no percent-encoding; write %25 for a '%'")
        }
        return decoded
    }

    /// `nil` when a `%` is not followed by two hexadecimal digits, or the bytes are not UTF-8.
    private static func percentDecoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            let digits = rest.prefix(2)
            guard digits.count == 2, digits.allSatisfy({ Character(UnicodeScalar($0)).isHexDigit }),
                let value = UInt8(String(Substring(digits)), radix: 16)
            else { return nil }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}

extension SQLServerAddress: CustomStringConvertible {
    /// Options whose values are no secrets; all others are shown as `***`.
    private static let publicOptions: Set<String> = [
        "database", "encrypt", "trustservercertificate", "applicationintent", "multisubnetfailover",
    ]

    var description: String {
        let login = user.map { "\($0)\(password == nil ? "" : ":\(redacted)")@" } ?? ""
        let query = options.sorted { $0.key < $1.key }
            .map { "\($0.key)=\(Self.publicOptions.contains($0.key) ? $0.value : redacted)" }
            .joined(separator: "&")
        return "\(Self.scheme)\(login)\(host)\(port.map { ":\($0)" } ?? "")\(query.isEmpty ? "" : "?\(query)")"
    }
}

/// A raw ODBC connection string, checked as far as the driver manager's own syntax goes.
///
/// The syntax, braces included: learn.microsoft.com/sql/odbc/reference/syntax/sqldriverconnect-function
struct ODBCString: Hashable, Sendable {
    /// As written: for the driver manager only.
    let connectionString: String
    /// Keywords and values, in the order written, braces taken off.
    let pairs: [Pair]

    struct Pair: Hashable, Sendable {
        let keyword: String
        let value: String
    }

    init(_ text: String) throws(DSNError) {
        connectionString = text
        var pairs: [Pair] = []
        var rest = text[...]
        while true {
            rest = rest.drop { $0 == ";" || $0.isWhitespace }
            guard !rest.isEmpty else { break }
            guard let equals = rest.firstIndex(of: "="), !rest[..<equals].contains(";") else {
                throw DSNError("is not a list of keyword=value parted by ';'")
            }
            let keyword = String(rest[..<equals].drop(while: \.isWhitespace))
            guard !keyword.isEmpty else { throw DSNError("has a value without a keyword before its '='") }
            rest = rest[rest.index(after: equals)...]
            pairs.append(Pair(keyword: keyword, value: try Self.takeValue(from: &rest)))
        }
        guard pairs.contains(where: { ["driver", "dsn", "filedsn"].contains($0.keyword.lowercased()) }) else {
            throw DSNError("is none of sqlite:PATH, sqlserver://… and an ODBC connection string with a Driver or DSN")
        }
        self.pairs = pairs
    }

    /// Takes a value off the front of `rest`: up to `;`, or in braces, in which `}}` stands for `}`.
    private static func takeValue(from rest: inout Substring) throws(DSNError) -> String {
        guard rest.first == "{" else {
            let value = rest.prefix { $0 != ";" }
            rest = rest[value.endIndex...]
            return String(value)
        }
        var value = ""
        rest.removeFirst()
        while let character = rest.popFirst() {
            guard character == "}" else {
                value.append(character)
                continue
            }
            guard rest.first == "}" else {
                guard rest.isEmpty || rest.first == ";" else {
                    throw DSNError("goes on after a '}'; write '}}' for a '}' inside of braces")
                }
                return value
            }
            value.append(rest.removeFirst())
        }
        throw DSNError("has a '{' without its '}'")
    }
}

extension ODBCString: CustomStringConvertible {
    /// Keywords whose values are no secrets; all others are shown as `***`.
    private static let publicKeywords: Set<String> = [
        "driver", "dsn", "server", "port", "database", "encrypt", "trustservercertificate",
    ]

    var description: String {
        pairs.map { "\($0.keyword)=\(Self.publicKeywords.contains($0.keyword.lowercased()) ? $0.value : redacted)" }
            .joined(separator: ";")
    }
}
