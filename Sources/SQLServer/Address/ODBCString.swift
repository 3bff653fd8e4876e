import ODBC

/// A raw ODBC connection string, checked as far as the driver manager's own syntax goes.
///
/// The syntax, braces included: learn.microsoft.com/sql/odbc/reference/syntax/sqldriverconnect-function
public struct ODBCString: Hashable, Sendable {
    /// As written: for the driver manager only.
    public let connectionString: String
    /// Keywords and values, in the order written, braces taken off.
    public let pairs: [Pair]

    public struct Pair: Hashable, Sendable {
        public let keyword: String
        public let value: String
    }

    public init(_ text: String) throws(DSNError) {
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

    /// The value of the first of these keywords, in lower case, that is there.
    func value(_ keywords: String...) -> String? {
        pairs.first { keywords.contains($0.keyword.lowercased()) }?.value
    }

    /// The same string with another database.
    func with(database: String) -> ODBCString {
        let others = pairs.filter { $0.keyword.lowercased() != "database" }.map { ($0.keyword, $0.value) }
        let all = others + [("Database", database)]
        return ODBCString(
            connectionString: ConnectionString(pairs: all).text,
            pairs: all.map { Pair(keyword: $0.0, value: $0.1) })
    }

    private init(connectionString: String, pairs: [Pair]) {
        self.connectionString = connectionString
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

    public var description: String {
        pairs.map { "\($0.keyword)=\(Self.publicKeywords.contains($0.keyword.lowercased()) ? $0.value : redacted)" }
            .joined(separator: ";")
    }
}
