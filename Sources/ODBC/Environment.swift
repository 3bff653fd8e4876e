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
        var names: [String] = []
        var direction = SQLUSMALLINT(SQL_FETCH_FIRST)
        var name = [SQLWCHAR](repeating: 0, count: 512)
        var attributes = [SQLWCHAR](repeating: 0, count: 4_096)
        while succeeded(
            SQLDriversW(
                handle, direction, &name, SQLSMALLINT(name.count), nil, &attributes, SQLSMALLINT(attributes.count), nil)
        ) {
            names.append(String(decoding: name.prefix { $0 != 0 }, as: UTF16.self))
            direction = SQLUSMALLINT(SQL_FETCH_NEXT)
        }
        return names
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
