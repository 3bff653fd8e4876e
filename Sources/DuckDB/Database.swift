internal import CDuckDB

/// An open DuckDB database, on disk or in memory.
///
///     let database = try Database(path: "replica.duckdb", options: ["memory_limit": "1GB"])
///     let connection = try database.connect()
///
/// Its time zone is UTC, whatever the process's is. It closes when the last reference to it, a connection's included, is gone. Opening replays the
/// write-ahead log and can take long; call it off Swift's cooperative threads (``ThreadExecutor/run(_:)``).
public final class Database: Sendable {
    /// The version of the linked library, e.g. `v2.0.0`.
    public static var version: String { text(duckdb_library_version()) }

    /// The file's path, or `:memory:`.
    public let path: String

    // DuckDB's instance does its own locking, and the handle never changes before deinit.
    nonisolated(unsafe) private let handle: duckdb_database?

    /// Opens the file at `path`, made when it is missing, or a database in memory when `path` is nil.
    ///
    /// - Parameter options: DuckDB's configuration by name, e.g. `threads`, `memory_limit`, `temp_directory`.
    /// - Throws: ``DuckDBError/open(path:message:kind:)``, e.g. when another process has the file open, or when the
    ///   library has no time zones.
    public init(path: String? = nil, options: [String: String] = [:]) throws {
        let path = path ?? ":memory:"
        var config: duckdb_config?
        guard duckdb_create_config(&config) == DuckDBSuccess else {
            throw DuckDBError.open(path: path, message: "out of memory", kind: .outOfMemory)
        }
        defer { duckdb_destroy_config(&config) }
        for (name, value) in options where duckdb_set_config(config, name, value) != DuckDBSuccess {
            throw DuckDBError.open(
                path: path, message: "option \(name) is unknown or does not take this value", kind: .invalidInput)
        }

        var database: duckdb_database?
        var message: UnsafeMutablePointer<CChar>?
        guard duckdb_open_ext(path, &database, config, &message) == DuckDBSuccess else {
            let message = consumeText(message)
            throw DuckDBError.open(path: path, message: message, kind: .init(message: message))
        }
        self.path = path
        self.handle = database
        try useUTC()
    }

    /// Has every connection count days and hours in UTC and by the Gregorian calendar. DuckDB would take the zone from
    /// the process (`TZ`), and a query would give other rows on another machine.
    ///
    /// - Throws: ``DuckDBError/open(path:message:kind:)`` with a library that has no time zones.
    private func useUTC() throws {
        do {
            // The zone is no option of an opening: DuckDB knows it only once its ICU extension is loaded.
            try connect().execute("SET GLOBAL TimeZone = 'UTC'; SET GLOBAL Calendar = 'gregorian'")
        } catch let error as DuckDBError {
            throw DuckDBError.open(
                path: path,
                message: """
                    the time zone cannot be set to UTC, which takes a DuckDB library with the ICU extension in it \
                    (\(error))
                    """, kind: error.kind)
        }
    }

    deinit {
        var handle = handle
        duckdb_close(&handle)
    }

    /// Opens a connection, which runs one statement at a time.
    public func connect() throws -> Connection {
        var connection: duckdb_connection?
        guard duckdb_connect(handle, &connection) == DuckDBSuccess, let connection else {
            throw DuckDBError.open(path: path, message: "no connection could be made", kind: .connection)
        }
        return Connection(connection, database: self)
    }
}
