public import ODBC
import Tidemark

/// Where a database on SQL Server is.
public enum SQLServerDSN: Hashable, Sendable {
    /// `sqlserver://user:password@host:port?database=…&encrypt=…`
    case address(SQLServerAddress)
    /// A connection string for the ODBC driver manager, such as `Driver={…};Server=…;UID=…;PWD=…`.
    case odbc(ODBCString)

    /// Reads either form; `nil` when the text is none of them.
    ///
    /// - Throws: `DSNError`, which says what is wrong without repeating the text.
    public init?(_ text: String) throws(DSNError) {
        if text.hasPrefix(SQLServerAddress.scheme) {
            self = .address(try SQLServerAddress(text))
        } else if text.contains("="), !text.contains("://") {
            self = .odbc(try ODBCString(text))
        } else {
            return nil
        }
    }

    /// The database the DSN names, if it does.
    public var database: String? {
        switch self {
        case .address(let address): address.options[.database]
        case .odbc(let string): string.value("database")
        }
    }

    /// The user and the password of an SQL login, where the DSN holds both.
    public var login: (user: String, password: String)? {
        switch self {
        case .address(let address):
            guard address.authentication == .sqlPassword, let user = address.user, let password = address.password
            else { return nil }
            return (user, password)
        case .odbc(let string):
            guard let user = string.value("uid", "user"), let password = string.value("pwd", "password") else {
                return nil
            }
            return (user, password)
        }
    }

    /// The same server, with another database of it.
    public func with(database: String) -> SQLServerDSN {
        switch self {
        case .address(let address): .address(address.with(database: database))
        case .odbc(let string): .odbc(string.with(database: database))
        }
    }

    /// Host and database, for messages.
    var place: String {
        let host =
            switch self {
            case .address(let address):
                (address.isIPv6 ? "[\(address.host)]" : address.host) + (address.port.map { ":\($0)" } ?? "")
            case .odbc(let string): string.value("server", "servername", "address", "addr", "dsn") ?? ""
            }
        return host + (database.map { "/\($0)" } ?? "")
    }

    /// The string to hand to the driver manager.
    ///
    /// - Parameter drivers: what is installed.
    /// - Throws: `DSNError` for what the driver cannot do, with the way out: nothing asked for is left out silently.
    public func connectionString(drivers: SQLServerDrivers) throws(DSNError) -> ConnectionString {
        switch self {
        case .address(let address):
            return try address.connectionString(drivers: drivers)
        case .odbc(let string):
            if drivers.family(of: string) == .freeTDS { try FreeTDSOmission.refuse(in: string) }
            return ConnectionString(string.connectionString)
        }
    }
}

extension SQLServerDSN: CustomStringConvertible {
    public var description: String {
        switch self {
        case .address(let address): address.description
        case .odbc(let string): string.description
        }
    }
}

extension SQLServerDatabase {
    /// - Parameter role: `source` or `serving`, for messages.
    /// - Throws: `TidemarkError.configuration` for what no installed driver can do.
    public convenience init(_ dsn: SQLServerDSN, role: String) throws {
        let target: ConnectionString
        do {
            target = try dsn.connectionString(drivers: .ofThisMachine())
        } catch let error as DSNError {
            throw TidemarkError.configuration("the DSN of the \(role) database, \(dsn), \(error)")
        }
        try self.init(target, role: role, place: dsn.place)
    }
}
