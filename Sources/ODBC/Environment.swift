internal import CODBC
import Foundation

/// Where connections begin: the driver manager with its installed drivers.
///
///     let environment = try Environment()
///     let connection = try environment.connect("Driver=SQLite3;Database=source.db")
public final class Environment: Sendable {
    // The driver manager guards its environment itself.
    nonisolated(unsafe) let handle: SQLHENV

    /// - Throws: ``ODBCError/connect(target:records:)`` when the driver manager is out of memory.
    public init() throws {
        var handle: SQLHANDLE?
        guard succeeded(SQLAllocHandle(SQLSMALLINT(SQL_HANDLE_ENV), nil, &handle)), let handle else {
            throw ODBCError.connect(target: "the ODBC driver manager", records: [])
        }
        self.handle = handle
        let result = codbc_set_env_attr(handle, SQL_ATTR_ODBC_VERSION, SQLULEN(SQL_OV_ODBC3))
        guard succeeded(result) else {
            let records = Handle.environment(handle).diagnostics()
            SQLFreeHandle(SQLSMALLINT(SQL_HANDLE_ENV), handle)
            throw ODBCError.connect(target: "the ODBC driver manager", records: records)
        }
    }

    deinit {
        SQLFreeHandle(SQLSMALLINT(SQL_HANDLE_ENV), handle)
    }

    /// The names under which drivers are installed, as `Driver=` in a connection string takes them.
    public func drivers() -> [String] {
        list { SQLDriversW(handle, $0, $1, $2, nil, $3, $4, nil) }.map(\.name)
    }

    /// The shared libraries behind the names of ``drivers()``, as `odbcinst.ini` has them.
    public func driverLibraries() -> [String: String] {
        let entries = list { SQLDriversW(handle, $0, $1, $2, nil, $3, $4, nil) }.compactMap { entry in
            entry.details.first { $0.lowercased().hasPrefix("driver=") }.map {
                (entry.name, String($0.dropFirst("driver=".count)))
            }
        }
        return Dictionary(entries) { first, _ in first }
    }

    /// The drivers of the data sources, by what `DSN=` in a connection string calls these: names, as `Driver=` takes
    /// them, or libraries.
    public func dataSourceDrivers() -> [String: String] {
        let entries = list { SQLDataSourcesW(handle, $0, $1, $2, nil, $3, $4, nil) }.compactMap { entry in
            entry.details.first.map { (entry.name, $0) }
        }
        return Dictionary(entries) { first, _ in first }
    }

    /// What one of the driver manager's lists holds: names, and the strings it tells of each.
    private func list(
        _ next: (
            _ direction: SQLUSMALLINT, _ name: UnsafeMutablePointer<SQLWCHAR>, _ nameSize: SQLSMALLINT,
            _ details: UnsafeMutablePointer<SQLWCHAR>, _ detailsSize: SQLSMALLINT
        ) -> SQLRETURN
    ) -> [(name: String, details: [String])] {
        var entries: [(name: String, details: [String])] = []
        var direction = SQLUSMALLINT(SQL_FETCH_FIRST)
        var name = [SQLWCHAR](repeating: 0, count: 512)
        while true {
            // Zeroed each time: of several strings only the last one's second NUL tells the end.
            var details = [SQLWCHAR](repeating: 0, count: 4_096)
            let result = next(direction, &name, SQLSMALLINT(name.count), &details, SQLSMALLINT(details.count - 2))
            guard succeeded(result) else { return entries }
            let strings = details.split(separator: 0, omittingEmptySubsequences: false).prefix { !$0.isEmpty }
            entries.append(
                (
                    String(decoding: name.prefix { $0 != 0 }, as: UTF16.self),
                    strings.map { String(decoding: $0, as: UTF16.self) }
                ))
            direction = SQLUSMALLINT(SQL_FETCH_NEXT)
        }
    }

    /// Opens a connection and blocks until it stands or fails.
    ///
    /// - Parameters:
    ///   - loginTimeout: how long the driver may take to connect; its own default when nil.
    ///   - queryTimeout: how long each statement may take; without limit when nil.
    /// - Throws: ``ODBCError/connect(target:records:)``, without the password.
    public func connect(
        _ target: ConnectionString, loginTimeout: Duration? = .seconds(15), queryTimeout: Duration? = nil
    ) throws -> Connection {
        try Connection(self, target, loginTimeout: loginTimeout, queryTimeout: queryTimeout)
    }
}
