import Foundation
import Tidemark

/// `sqlserver://user:password@host:port?database=…&encrypt=…`, parts with special characters percent-encoded.
public struct SQLServerAddress: Hashable, Sendable {
    public static let scheme = "sqlserver://"

    /// A name or an address, an IPv6 one without its brackets; `server\instance` for a named instance.
    public private(set) var host: String
    /// `nil` leaves it to the driver: 1433.
    public private(set) var port: Int?
    public private(set) var user: String?
    public private(set) var password: String?
    /// What follows the `?`.
    public private(set) var options: [Option: String]
    public let encryption: Encryption
    /// Whether any certificate will do.
    public let trustsServerCertificate: Bool
    /// Whether a readable secondary replica may answer.
    public let isReadOnly: Bool
    public let isMultiSubnet: Bool
    public let authentication: Authentication

    public enum Option: String, CaseIterable, Sendable {
        case database, encrypt, trustServerCertificate, hostNameInCertificate, serverCertificate, applicationIntent
        case multiSubnetFailover, authentication, driver
    }

    public enum Encryption: Sendable {
        case off
        /// TLS after a plain first packet, as SQL Server has always had it.
        case required
        /// TLS from the first byte on: TDS 8.
        case strict
    }

    /// How to log in, in the words of Microsoft's driver.
    ///
    /// https://learn.microsoft.com/sql/connect/odbc/using-azure-active-directory
    public enum Authentication: String, CaseIterable, Sendable {
        case sqlPassword = "SqlPassword"
        case password = "ActiveDirectoryPassword"
        case managedIdentity = "ActiveDirectoryManagedIdentity"
        case servicePrincipal = "ActiveDirectoryServicePrincipal"
        case integrated = "ActiveDirectoryIntegrated"
    }

    public init(_ text: String) throws(DSNError) {
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
        password = loginParts.flatMap { $0.count > 1 ? $0[1] : nil }.flatMap { $0.removingPercentEncoding }
        if let loginParts, loginParts.count > 1, password == nil {
            throw DSNError("has a '%' in its password that is no percent-encoding; write %25 for a '%'")
        }

        let (hostText, isBracketed, portText) = try Self.hostAndPort(authority)
        port = try portText.map { text throws(DSNError) in
            guard let number = Int(text), (1...65535).contains(number) else {
                throw DSNError("has a port that is not a number from 1 to 65535")
            }
            return number
        }
        host = try Self.decoded(hostText, "host")
        guard !host.isEmpty else {
            throw DSNError("has no host; write sqlserver://user:password@host:port?database=name")
        }
        guard isBracketed == host.contains(":") else { throw Self.unbracketed }

        var options: [Option: String] = [:]
        for pair in halves.count > 1 ? halves[1].split(separator: "&") : [] {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty else {
                throw DSNError("has an option that is not name=value after the '?'")
            }
            let name = try Self.decoded(parts[0], "option").lowercased()
            guard let option = Option.allCases.first(where: { $0.rawValue.lowercased() == name }) else {
                let known = Option.allCases.map(\.rawValue)
                throw DSNError(
                    "has an option that is not known\(Suggestion.hint(for: name, in: known)); there are \(known.joined(separator: ", "))"
                )
            }
            let value = try Self.decoded(parts[1], "option")
            guard options.updateValue(value, forKey: option) == nil else {
                throw DSNError("has the option \(option.rawValue) twice; keep one")
            }
        }
        self.options = options
        encryption = try Self.choice(options, .encrypt, Self.encryptions) ?? .required
        trustsServerCertificate = try Self.choice(options, .trustServerCertificate, Self.booleans) ?? false
        isReadOnly = try Self.choice(options, .applicationIntent, ["readonly": true, "readwrite": false]) ?? false
        isMultiSubnet = try Self.choice(options, .multiSubnetFailover, Self.booleans) ?? false
        authentication =
            try Self.choice(
                options, .authentication,
                Dictionary(uniqueKeysWithValues: Authentication.allCases.map { ($0.rawValue.lowercased(), $0) }))
            ?? .sqlPassword
        guard !host.contains("\\") || port == nil else {
            throw DSNError("names an instance and a port; keep one of them, since the port is that of one instance")
        }
        guard authentication != .sqlPassword || user != nil else {
            throw DSNError(
                "has no user; write sqlserver://user:password@host, or authentication=… for another way to log in")
        }
    }

    /// What stands before and after the colon that parts host and port: the one behind the brackets of an IPv6 address,
    /// or the only one.
    private static func hostAndPort(
        _ text: Substring
    ) throws(DSNError) -> (host: Substring, isBracketed: Bool, port: Substring?) {
        guard text.contains(where: { "[]".contains($0) }) else {
            let parts = text.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count <= 2 else { throw unbracketed }
            return (parts[0], false, parts.count == 2 ? parts[1] : nil)
        }
        let inside = text.dropFirst().prefix { !"[]".contains($0) }
        let rest = text[inside.endIndex...]
        // A zone may follow the address: fe80::1%25eth0.
        let address = inside.prefix { $0 != "%" }
        guard text.first == "[", rest.first == "]", rest.count == 1 || rest.dropFirst().first == ":",
            address.count(where: { $0 == ":" }) > 1, address.allSatisfy({ $0.isHexDigit || $0 == ":" || $0 == "." })
        else {
            throw DSNError("has brackets that are not around an IPv6 address alone; write [::1] or [::1]:1433")
        }
        return (inside, true, rest.count == 1 ? nil : rest.dropFirst(2))
    }

    private static let unbracketed = DSNError(
        "has a ':' in its host; write an IPv6 address in brackets, [::1] or [::1]:1433")

    private static func choice<Value>(
        _ options: [Option: String], _ option: Option, _ values: [String: Value]
    ) throws(DSNError) -> Value? {
        guard let text = options[option] else { return nil }
        guard let value = values[text.lowercased()] else {
            throw DSNError(
                "has a value of \(option.rawValue) that is none of \(values.keys.sorted().joined(separator: ", "))")
        }
        return value
    }

    private static let booleans = ["true": true, "yes": true, "false": false, "no": false]
    private static let encryptions: [String: Encryption] = [
        "true": .required, "yes": .required, "mandatory": .required, "false": .off, "no": .off, "optional": .off,
        "strict": .strict,
    ]

    private static func decoded(_ text: Substring, _ part: String) throws(DSNError) -> String {
        guard let decoded = text.removingPercentEncoding else {
            throw DSNError("has a '%' in its \(part) that is no percent-encoding; write %25 for a '%'")
        }
        return decoded
    }
}

extension SQLServerAddress: CustomStringConvertible {
    func with(database: String) -> SQLServerAddress {
        var address = self
        address.options[.database] = database
        return address
    }

    func with(host: String, port: Int) -> SQLServerAddress {
        var address = self
        (address.host, address.port) = (host, port)
        return address
    }

    func with(user: String, password: String) -> SQLServerAddress {
        var address = self
        (address.user, address.password) = (user, password)
        return address
    }

    var isIPv6: Bool { host.contains(":") }

    public var description: String {
        let login = user.map { "\($0)\(password == nil ? "" : ":\(redacted)")@" } ?? ""
        let query = options.sorted { $0.key.rawValue < $1.key.rawValue }.map { "\($0.key.rawValue)=\($0.value)" }
            .joined(separator: "&")
        return
            "\(Self.scheme)\(login)\(isIPv6 ? "[\(host)]" : host)\(port.map { ":\($0)" } ?? "")\(query.isEmpty ? "" : "?\(query)")"
    }
}
