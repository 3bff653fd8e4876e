/// An ODBC connection string, `KEY=value;KEY={value};…`, that never shows its secrets.
///
///     let target = ConnectionString("Driver=FreeTDS;Server=db;UID=sa;PWD={s3;cret}")
///     print(target)  // Driver=FreeTDS;Server=db;UID=sa;PWD=***
///
/// Only ``text`` holds the password. A value in braces may contain anything, `}` being doubled:
/// https://learn.microsoft.com/sql/odbc/reference/syntax/sqldriverconnect-function
public struct ConnectionString: Hashable, Sendable {
    /// The string as a driver wants it, secrets included.
    public let text: String
    /// The string with `***` for each secret.
    public let redacted: String
    /// The secret values, without braces.
    let secrets: [String]

    public init(_ text: String) {
        self.text = text
        var shown: [String] = []
        var secrets: [String] = []
        // A `;` in a password without braces ends it for a driver, and what follows is the rest of it.
        var afterBareSecret = false
        for part in Self.parts(text) {
            if Self.isSecret(part.key) {
                shown.append("\(part.key)=***")
                if !part.value.isEmpty { secrets.append(part.value) }
                afterBareSecret = !part.isBraced
            } else if part.hasValue && (!afterBareSecret || Self.harmlessKeys.contains(Self.normalized(part.key))) {
                shown.append("\(part.key)=\(part.isBraced ? Self.braced(part.value) : part.value)")
            } else {
                shown.append("***")
                secrets.append(part.hasValue ? "\(part.key)=\(part.value)" : part.key)
            }
        }
        self.redacted = shown.joined(separator: ";")
        self.secrets = secrets
    }

    /// Makes a string of keys and values, with braces where a value needs them.
    public init(_ pairs: KeyValuePairs<String, String>) {
        self.init(pairs: pairs.map { ($0.key, $0.value) })
    }

    /// Makes a string of keys and values, with braces where a value needs them.
    public init(pairs: [(key: String, value: String)]) {
        self.init(
            pairs.map { "\($0.key)=\(Self.needsBraces($0.value) ? Self.braced($0.value) : $0.value)" }.joined(
                separator: ";"))
    }

    /// A value in braces, as it must be written when it holds one of `[]{}(),;?*=!@` or outer blanks.
    public static func braced(_ value: String) -> String {
        "{" + value.split(separator: "}", omittingEmptySubsequences: false).joined(separator: "}}") + "}"
    }

    private static func needsBraces(_ value: String) -> Bool {
        value.first == " " || value.last == " " || value.contains { "[]{}(),;?*=!@".contains($0) }
    }

    /// Takes the secrets out of a text that may quote them, such as a driver's message.
    func scrub(_ text: String) -> String {
        secrets.reduce(text) { text, secret in Self.replace(secret, in: text) }
    }

    func scrub(_ records: [Diagnostic]) -> [Diagnostic] {
        records.map { Diagnostic(sqlState: $0.sqlState, nativeCode: $0.nativeCode, message: scrub($0.message)) }
    }

    /// Secrets of a few letters are replaced as whole words only, so that a message stays readable.
    private static let shortSecret = 4

    private static func replace(_ secret: String, in text: String) -> String {
        var result = ""
        var rest = Substring(text)
        while let range = rest.firstRange(of: secret) {
            let before = rest[..<range.lowerBound].last ?? result.last
            let isWord =
                before.map(isWordCharacter) != true && rest[range.upperBound...].first.map(isWordCharacter) != true
            result += rest[..<range.lowerBound]
            result += secret.count >= shortSecret || isWord ? "***" : secret
            rest = rest[range.upperBound...]
        }
        return result + rest
    }

    private static func isWordCharacter(_ character: Character) -> Bool {
        character.isLetter || character.isNumber
    }

    // MARK: parsing

    private struct Part {
        var key: String
        var value: String
        var hasValue: Bool
        var isBraced: Bool
    }

    private static func parts(_ text: String) -> [Part] {
        var parts: [Part] = []
        var rest = Substring(text)
        while !rest.isEmpty {
            guard let stop = rest.firstIndex(where: { $0 == ";" || $0 == "=" }), rest[stop] == "=" else {
                let end = rest.firstIndex(of: ";") ?? rest.endIndex
                let key = trimmed(rest[..<end])
                if !key.isEmpty { parts.append(Part(key: key, value: "", hasValue: false, isBraced: false)) }
                rest = rest[end...].dropFirst()
                continue
            }
            let key = trimmed(rest[..<stop])
            rest = rest[stop...].dropFirst().drop { $0 == " " }
            if rest.first == "{" {
                let (value, tail) = bracedValue(rest.dropFirst())
                parts.append(Part(key: key, value: value, hasValue: true, isBraced: true))
                // What stands between the closing brace and the semicolon belongs to nothing.
                let end = tail.firstIndex(of: ";") ?? tail.endIndex
                let stray = trimmed(tail[..<end])
                if !stray.isEmpty { parts.append(Part(key: stray, value: "", hasValue: false, isBraced: false)) }
                rest = tail[end...].dropFirst()
            } else {
                let end = rest.firstIndex(of: ";") ?? rest.endIndex
                parts.append(Part(key: key, value: String(rest[..<end]), hasValue: true, isBraced: false))
                rest = rest[end...].dropFirst()
            }
        }
        return parts
    }

    /// Reads up to the closing brace, or to the end when there is none.
    private static func bracedValue(_ text: Substring) -> (value: String, rest: Substring) {
        var value = ""
        var rest = text
        while let character = rest.popFirst() {
            if character == "}" {
                guard rest.first == "}" else { return (value, rest) }
                rest.removeFirst()
            }
            value.append(character)
        }
        return (value, rest)
    }

    private static func trimmed(_ text: Substring) -> String {
        var text = text.drop { $0.isWhitespace }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }

    private static func normalized(_ key: String) -> String {
        key.lowercased().filter { $0.isLetter || $0.isNumber }
    }

    private static func isSecret(_ key: String) -> Bool {
        let key = normalized(key)
        return secretMarks.contains { key.contains($0) }
    }

    private static let secretMarks = [
        "pwd", "password", "passwd", "passphrase", "secret", "token", "privatekey", "accesskey", "apikey", "clientkey",
    ]

    /// Keys that are shown even after a password that may not have ended where it seems to.
    private static let harmlessKeys: Set<String> = [
        "driver", "dsn", "server", "servername", "host", "port", "address", "addr", "database", "uid", "user",
        "username",
        "encrypt", "trustservercertificate", "tdsversion", "clientcharset", "applicationintent", "multisubnetfailover",
        "authentication", "app", "sslmode", "timeout",
    ]
}

extension ConnectionString: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public var description: String { redacted }
    public var debugDescription: String { redacted }
    /// Keeps `dump` and test failures from showing ``text``.
    public var customMirror: Mirror { Mirror(self, children: ["redacted": redacted]) }
}

extension ConnectionString: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) { self.init(value) }
}
