public import ODBC
import Tidemark

/// What a DSN for SQL Server comes to: the driver to load and the string to hand to it.
public struct SQLServerTarget: Sendable {
    public let connectionString: ConnectionString
    /// Host and database, for messages.
    public let place: String
    /// The database the DSN names, if it does.
    public let database: String?
    /// The user and the password of an SQL login.
    public let login: (user: String, password: String)?

    /// - Parameters:
    ///   - address: a `sqlserver://` DSN.
    ///   - drivers: what is installed.
    /// - Throws: `DSNError` for what the driver cannot do, with the way out: nothing asked for is left out silently.
    public init(_ address: SQLServerAddress, drivers: SQLServerDrivers) throws(DSNError) {
        let driver = try drivers.driver(for: address)
        switch driver.family {
        case .freeTDS: connectionString = try Self.freeTDS(address, driver.name)
        case .microsoft: connectionString = Self.microsoft(address, driver.name)
        }
        database = address.options[.database]
        place = Self.place(address.isIPv6 ? "[\(address.host)]" : address.host, port: address.port, database)
        login =
            if address.authentication == .sqlPassword, let user = address.user, let password = address.password {
                (user, password)
            } else { nil }
    }

    /// A raw ODBC connection string, used as it is.
    public init(_ string: ODBCString) {
        connectionString = ConnectionString(string.connectionString)
        func value(_ keywords: String...) -> String? {
            string.pairs.first { keywords.contains($0.keyword.lowercased()) }?.value
        }
        database = value("database")
        place = Self.place(value("server", "servername", "address", "addr", "dsn") ?? "", port: nil, database)
        login =
            if let user = value("uid", "user"), let password = value("pwd", "password") { (user, password) } else {
                nil
            }
    }

    private static func place(_ host: String, port: Int?, _ database: String?) -> String {
        "\(host)\(port.map { ":\($0)" } ?? "")\(database.map { "/\($0)" } ?? "")"
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

/// The ODBC drivers for SQL Server that are installed.
public struct SQLServerDrivers: Sendable {
    enum Family: Sendable { case freeTDS, microsoft }

    struct Driver: Sendable {
        let name: String
        let family: Family
    }

    private let installed: [Driver]

    /// - Parameter names: as the driver manager lists them.
    public init(names: [String]) {
        installed = names.compactMap { name in Self.family(name).map { Driver(name: name, family: $0) } }
    }

    /// What the driver manager of this machine lists, and FreeTDS where Debian puts it.
    public static func ofThisMachine() throws -> SQLServerDrivers {
        SQLServerDrivers(names: try Environment().drivers() + freeTDSPaths.filter(FileProbe.exists))
    }

    private static let freeTDSPaths = ["x86_64-linux-gnu", "aarch64-linux-gnu"].map {
        "/usr/lib/\($0)/odbc/libtdsodbc.so"
    }

    static let microsoftHint =
        "install Microsoft's ODBC Driver 18 and add driver=ODBC%20Driver%2018%20for%20SQL%20Server"

    private static func family(_ name: String) -> Family? {
        let name = name.lowercased()
        if name.contains("freetds") || name.contains("tdsodbc") { return .freeTDS }
        if name.contains("odbc driver") && name.contains("sql server") || name.contains("msodbcsql") {
            return .microsoft
        }
        return nil
    }

    /// The driver the DSN names, or the one to take: FreeTDS unless only Microsoft's can do what is asked for.
    func driver(for address: SQLServerAddress) throws(DSNError) -> Driver {
        if let name = address.options[.driver] {
            guard let family = Self.family(name) else {
                throw DSNError(
                    """
                    names a driver that is neither FreeTDS nor one of Microsoft's; for another one write an ODBC \
                    connection string, Driver=…;Server=…
                    """)
            }
            return Driver(name: name, family: family)
        }
        let needsMicrosoft = address.encryption == .strict || address.authentication != .sqlPassword
        let microsoft = installed.last { $0.family == .microsoft }
        guard let found = needsMicrosoft ? microsoft : installed.first(where: { $0.family == .freeTDS }) ?? microsoft
        else {
            guard !needsMicrosoft else {
                throw DSNError(
                    """
                    asks for \(address.encryption == .strict ? "encrypt=strict" : "Entra authentication"), which only \
                    Microsoft's driver has; \(Self.microsoftHint)
                    """)
            }
            throw DSNError(
                """
                is on SQL Server, and no ODBC driver for it is installed; install FreeTDS (tdsodbc), or Microsoft's ODBC \
                Driver 18
                """)
        }
        return found
    }
}
