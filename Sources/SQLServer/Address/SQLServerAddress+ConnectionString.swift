import ODBC
import Tidemark

extension SQLServerAddress {
    /// The string to hand to the driver manager.
    ///
    /// - Parameter drivers: what is installed.
    /// - Throws: `DSNError` for what the driver cannot do, with the way out: nothing asked for is left out silently.
    func connectionString(drivers: SQLServerDrivers) throws(DSNError) -> ConnectionString {
        let driver = try drivers.driver(for: self)
        return switch driver.family {
        case .freeTDS: try Self.freeTDS(self, driver.name)
        case .microsoft: Self.microsoft(self, driver.name)
        }
    }

    /// FreeTDS checks certificates only for servers of its configuration file, so that is where the server goes.
    private static func freeTDS(_ address: SQLServerAddress, _ driver: String) throws(DSNError) -> ConnectionString {
        guard address.encryption != .strict else {
            throw DSNError(
                "asks for encrypt=strict, which FreeTDS does not speak; \(SQLServerDrivers.microsoftHint)")
        }
        guard address.authentication == .sqlPassword else {
            throw DSNError(
                """
                asks for authentication=\(address.authentication.rawValue), which FreeTDS does not know; \
                \(SQLServerDrivers.microsoftHint)
                """)
        }
        guard !address.isMultiSubnet else {
            throw DSNError(
                "asks for multiSubnetFailover=true, which FreeTDS does not have; \(SQLServerDrivers.microsoftHint)")
        }
        guard address.options[.hostNameInCertificate] == nil else {
            throw DSNError(
                "has hostNameInCertificate, which FreeTDS does not know; \(SQLServerDrivers.microsoftHint)")
        }
        let section: String
        do {
            section = try FreeTDSConfiguration.section(for: address)
        } catch {
            throw DSNError("needs a configuration file for FreeTDS, which could not be written: \(error)")
        }
        var pairs = [("Driver", driver), ("Servername", section), ("TDS_Version", "7.4"), ("ClientCharset", "UTF-8")]
        pairs.append(("APP", applicationName))
        if address.isReadOnly { pairs.append(("ApplicationIntent", "ReadOnly")) }
        if let database = address.options[.database] { pairs.append(("Database", try freeTDSValue(database))) }
        if let user = address.user { pairs.append(("UID", try freeTDSValue(user))) }
        if let password = address.password { pairs.append(("PWD", try freeTDSValue(password))) }
        return ConnectionString(pairs.map { "\($0)=\($1)" }.joined(separator: ";"))
    }

    /// FreeTDS 1.3 ends a value in braces at the first `};`, and does not know `}}`; newer ones do.
    private static func freeTDSValue(_ value: String) throws(DSNError) -> String {
        if !value.contains(";"), value.first.map({ $0 != "{" && !$0.isWhitespace }) ?? true { return value }
        guard !value.contains("}") else {
            throw DSNError(
                """
                has a '}' in a user, password or database together with a ';', a '{' or a blank at its beginning, which \
                FreeTDS cannot take; choose another password, or \(SQLServerDrivers.microsoftHint)
                """)
        }
        return "{\(value)}"
    }

    /// https://learn.microsoft.com/sql/connect/odbc/dsn-connection-string-attribute
    private static func microsoft(_ address: SQLServerAddress, _ driver: String) -> ConnectionString {
        var pairs = [("Driver", driver)]
        // An IPv6 address too: 18.6 takes tcp:::1,1433 and looks up [::1] as a name.
        pairs.append(("Server", "tcp:\(address.host)\(address.port.map { ",\($0)" } ?? "")"))
        if let database = address.options[.database] { pairs.append(("Database", database)) }
        switch address.encryption {
        case .off: pairs.append(("Encrypt", "no"))
        case .required: pairs.append(("Encrypt", "yes"))
        case .strict: pairs.append(("Encrypt", "strict"))
        }
        pairs.append(("TrustServerCertificate", address.trustsServerCertificate ? "yes" : "no"))
        if let name = address.options[.hostNameInCertificate] { pairs.append(("HostNameInCertificate", name)) }
        if let path = address.options[.serverCertificate] { pairs.append(("ServerCertificate", path)) }
        if address.isReadOnly { pairs.append(("ApplicationIntent", "ReadOnly")) }
        if address.isMultiSubnet { pairs.append(("MultiSubnetFailover", "Yes")) }
        switch address.authentication {
        case .sqlPassword: break
        case .managedIdentity: pairs.append(("Authentication", "ActiveDirectoryMsi"))
        default: pairs.append(("Authentication", address.authentication.rawValue))
        }
        pairs.append(("APP", applicationName))
        if let user = address.user { pairs.append(("UID", user)) }
        if let password = address.password { pairs.append(("PWD", password)) }
        return ConnectionString(pairs: pairs)
    }

    /// What the server's own lists of sessions show.
    private static let applicationName = "tidemark"
}
