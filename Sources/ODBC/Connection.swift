internal import CODBC
import Foundation

/// One connection to a database: runs one statement at a time and blocks until it is done.
///
/// Not `Sendable`: a ``Session`` gives a connection its own thread and makes it usable from async code.
public final class Connection {
    /// The connection string, which shows no secrets.
    public let target: ConnectionString
    /// What is at the other end.
    public let driver: DriverInfo
    /// Stops a running statement from another thread.
    public let cancelHandle: CancelHandle
    /// What the last call had to say without failing, such as SQL Server's PRINT.
    public internal(set) var warnings: [Diagnostic] = []
    /// How long each statement prepared or run from now on may take; without limit when nil.
    ///
    /// ODBC counts whole seconds; a fraction is rounded up. A statement that takes longer throws with the class
    /// ``ErrorClass/transient``. SQLite's driver ignores it.
    ///
    /// A call of the driver that is not back some seconds later, as when the server has gone silent and does not even
    /// confirm that it has stopped, is abandoned: it throws with the class ``ErrorClass/transient`` too, the connection
    /// is dead, and its thread stays behind until the driver gives up, which on Linux is soon.
    public var queryTimeout: Duration?

    let traits: DriverTraits
    private let environment: Environment
    /// Where the driver is called; `nil` for one that has no network to wait for.
    private let thread: DriverThread?
    private var handle: SQLHDBC?
    private var isInTransaction = false
    /// An error said that the connection is gone.
    private var isLost = false

    init(_ environment: Environment, _ target: ConnectionString, loginTimeout: Duration?, queryTimeout: Duration?)
        throws
    {
        self.environment = environment
        self.target = target
        self.queryTimeout = queryTimeout
        var allocated: SQLHANDLE?
        guard succeeded(SQLAllocHandle(SQLSMALLINT(SQL_HANDLE_DBC), environment.handle, &allocated)),
            let handle = allocated
        else {
            throw ODBCError.connect(
                target: target.redacted, records: Handle.environment(environment.handle).diagnostics())
        }
        if let loginTimeout {
            _ = codbc_set_connect_attr(handle, SQL_ATTR_LOGIN_TIMEOUT, SQLULEN(Self.seconds(loginTimeout)))
        }
        // Ended by a NUL, as a length would be limited to 32767 units; access tokens are long.
        var text = Array(target.text.utf16) + [0]
        let result = SQLDriverConnectW(
            handle, nil, &text, SQLSMALLINT(SQL_NTS), nil, 0, nil, SQLUSMALLINT(SQL_DRIVER_NOPROMPT))
        let records =
            result == SQL_SUCCESS ? [] : target.scrub(Handle.connection(handle).diagnostics())
        guard succeeded(result) else {
            SQLFreeHandle(SQLSMALLINT(SQL_HANDLE_DBC), handle)
            throw ODBCError.connect(target: target.redacted, records: records)
        }
        self.handle = handle
        driver = DriverInfo(handle)
        traits = DriverTraits(driverName: driver.driverName)
        let thread = traits.waitsForNetwork ? DriverThread() : nil
        self.thread = thread
        cancelHandle = CancelHandle(reachesDriver: traits.cancelsAcrossThreads) { thread?.hurry() }
        warnings = records
    }

    deinit {
        close()
    }

    /// Disconnects, rolling back an open transaction. Closing twice does nothing; later calls throw.
    public func close() {
        guard let handle else { return }
        self.handle = nil
        // An abandoned call ends the connection itself, should it ever come back.
        guard let thread, !thread.isAbandoned else {
            if thread == nil { Self.end(handle, in: environment, isInTransaction) }
            return
        }
        let (environment, isInTransaction) = (environment, isInTransaction)
        let end = { Self.end(handle, in: environment, isInTransaction) }
        // Nobody needs to know how it went.
        try? thread.run(within: DriverThread.grace, afterwards: {}, end)
        thread.stop()
    }

    /// Disconnects. The environment has to live until then.
    private static func end(_ handle: SQLHDBC, in environment: Environment, _ isInTransaction: Bool) {
        // Without it, a driver refuses to disconnect within a transaction (SQLSTATE 25000).
        if isInTransaction { SQLEndTran(SQLSMALLINT(SQL_HANDLE_DBC), handle, SQLSMALLINT(SQL_ROLLBACK)) }
        SQLDisconnect(handle)
        SQLFreeHandle(SQLSMALLINT(SQL_HANDLE_DBC), handle)
        withExtendedLifetime(environment) {}
    }

    /// Closed, or given up with a call that does not come back. The driver must not be called any more.
    var isClosed: Bool { handle == nil || isAbandoned }

    var isAbandoned: Bool { thread?.isAbandoned == true }

    func openHandle() throws -> SQLHDBC {
        guard let handle else { throw ODBCError.closed("connection") }
        // Not always the call's own error: what ends a result has none, and is not waited for in vain either.
        guard !isAbandoned else { throw ODBCError.givenUp }
        return handle
    }

    /// Runs `body`, which calls the driver, and gives up the connection with a call that is not back in time.
    ///
    /// What `body` needs must live in it or be held by it: it may go on after this has thrown.
    func bounded<Result>(_ sql: String, _ body: @escaping () throws -> Result) throws -> Result {
        guard let thread else { return try body() }
        let handle = try openHandle()
        let (environment, isInTransaction) = (environment, isInTransaction)
        do {
            return try thread.run(
                within: queryTimeout.map { $0 + DriverThread.grace },
                afterwards: { Self.end(handle, in: environment, isInTransaction) }, body)
        } catch let abandoned as DriverThread.Abandoned {
            cancelHandle.abandon()
            guard !abandoned.isCancelled else { throw ODBCError.cancelled(sql: sql) }
            throw ODBCError.statement(sql: sql, records: [.silence(abandoned.limit)])
        }
    }

    /// Gives the driver's call that begins now the whole time of ``queryTimeout``.
    func beginCall() { thread?.beginCall() }

    /// Whether the connection is closed, or the driver or an earlier error said that it is lost.
    ///
    /// False is no promise: nobody asks the network. A lost connection stays so; connect anew.
    public var isDead: Bool {
        guard let handle, !isLost, !isAbandoned else { return true }
        var value = SQLUINTEGER(SQL_CD_FALSE)
        let result = SQLGetConnectAttrW(
            handle, SQL_ATTR_CONNECTION_DEAD, &value, SQLINTEGER(MemoryLayout<SQLUINTEGER>.size), nil)
        return succeeded(result) && value == SQLUINTEGER(SQL_CD_TRUE)
    }

    // MARK: statements

    /// Runs a statement, or several where the database takes them in one text, and drops what they return.
    ///
    /// - Parameter parameters: values for the `?` in the SQL.
    /// - Returns: the rows inserted, updated or deleted, of all statements together.
    @discardableResult
    public func execute(_ sql: String, _ parameters: [Value] = []) throws -> Int {
        try Statement(self, sql, isPrepared: false).execute(parameters)
    }

    /// Runs a statement once for each row of parameters, sent together.
    @discardableResult
    public func execute(_ sql: String, _ parameters: ParameterArray) throws -> Int {
        try prepare(sql).execute(parameters)
    }

    /// Runs a statement and returns its first result set.
    public func query(
        _ sql: String, _ parameters: [Value] = [], options: BlockCursor.Options = .init()
    ) throws -> BlockCursor {
        try Statement(self, sql, isPrepared: false).query(parameters, options: options)
    }

    /// The first column of the first row.
    ///
    /// - Throws: ``ODBCError/noResult(sql:)`` when there is no row.
    public func scalar(_ sql: String, _ parameters: [Value] = []) throws -> Value {
        let cursor = try query(sql, parameters, options: .init(rowsPerBlock: 1))
        defer { cursor.close() }
        guard try cursor.fetch() else { throw ODBCError.noResult(sql: sql) }
        return try cursor.value(row: 0, column: 0)
    }

    /// Prepares one statement, to be run any number of times.
    public func prepare(_ sql: String) throws -> Statement {
        try Statement(self, sql, isPrepared: true)
    }

    // MARK: transactions

    /// Runs `body` in a transaction: commits when it returns, rolls back when it throws.
    ///
    /// The error thrown is always the first one; a rollback that fails as well does not hide it. A request to
    /// cancel takes effect before or after the commit, never within. When the commit itself throws with the class
    /// ``ErrorClass/transient``, nobody knows whether it took place.
    @discardableResult
    public func transaction<Result>(_ body: () throws -> Result) throws -> Result {
        let handle = try openHandle()
        guard !isInTransaction else { throw ODBCError.nestedTransaction }
        try check("BEGIN") { codbc_set_connect_attr(handle, SQL_ATTR_AUTOCOMMIT, SQLULEN(SQL_AUTOCOMMIT_OFF)) }
        isInTransaction = true
        do {
            let result = try body()
            guard !cancelHandle.isScopeCancelled else { throw ODBCError.cancelled(sql: "COMMIT") }
            _ = try openHandle()
            try check("COMMIT") { SQLEndTran(SQLSMALLINT(SQL_HANDLE_DBC), handle, SQLSMALLINT(SQL_COMMIT)) }
            isInTransaction = false
            try check("COMMIT") {
                codbc_set_connect_attr(handle, SQL_ATTR_AUTOCOMMIT, SQLULEN(SQL_AUTOCOMMIT_ON))
            }
            return result
        } catch {
            rollback()
            throw error
        }
    }

    /// Rolls back on the way out of a failure.
    ///
    /// What goes wrong here is not thrown, since the failure being reported is the cause. But a connection
    /// that cannot leave its transaction is of no more use.
    private func rollback() {
        guard let handle, !isAbandoned else { return }
        let wasInTransaction = isInTransaction
        isInTransaction = false
        let isOver = try? bounded("ROLLBACK") {
            let rollback =
                wasInTransaction
                ? SQLEndTran(SQLSMALLINT(SQL_HANDLE_DBC), handle, SQLSMALLINT(SQL_ROLLBACK)) : SQLRETURN(SQL_SUCCESS)
            let end = codbc_set_connect_attr(handle, SQL_ATTR_AUTOCOMMIT, SQLULEN(SQL_AUTOCOMMIT_ON))
            return succeeded(rollback) && succeeded(end)
        }
        if isOver != true { isLost = true }
    }

    private func check(_ sql: String, _ call: @escaping () -> SQLRETURN) throws {
        let handle = handle
        let (result, records) = try bounded(sql) {
            let result = call()
            return (result, result == SQL_SUCCESS ? [] : Handle.connection(handle).diagnostics())
        }
        guard result != SQL_SUCCESS else { return }
        guard succeeded(result) else { throw failure(sql, records) }
        warnings = records
    }

    // MARK: for statements

    /// The error for a failed call, which also tells whether the connection is gone.
    func failure(_ sql: String, _ records: [Diagnostic], isCancelled: Bool = false) -> ODBCError {
        // 57P0x is PostgreSQL's "terminating connection".
        if records.contains(where: {
            $0.sqlState.hasPrefix("08") || ["57P01", "57P02", "57P03"].contains($0.sqlState) || $0.tellsFreeTDSLoss
        }) {
            isLost = true
        }
        if isCancelled && !isLost { return .cancelled(sql: sql) }
        return .statement(sql: sql, records: target.scrub(records))
    }

    /// A duration in ODBC's whole seconds, rounded up; 0 would mean for ever.
    static func seconds(_ duration: Duration) -> Int {
        let (seconds, fraction) = duration.components
        return max(1, Int(seconds) + (fraction > 0 ? 1 : 0))
    }
}

/// What is at the other end of a connection, in the driver's words.
public struct DriverInfo: Hashable, Sendable {
    /// The driver's file, e.g. `libtdsodbc.so`.
    public let driverName: String
    public let driverVersion: String
    /// E.g. `Microsoft SQL Server`.
    public let dbmsName: String
    /// E.g. `16.00.4135`.
    public let dbmsVersion: String
    /// The server's own name for itself, where it has one.
    public let serverName: String
    /// The database connected to.
    public let databaseName: String

    init(_ handle: SQLHDBC) {
        driverName = Self.text(handle, SQL_DRIVER_NAME)
        driverVersion = Self.text(handle, SQL_DRIVER_VER)
        dbmsName = Self.text(handle, SQL_DBMS_NAME)
        dbmsVersion = Self.text(handle, SQL_DBMS_VER)
        serverName = Self.text(handle, SQL_SERVER_NAME)
        databaseName = Self.text(handle, SQL_DATABASE_NAME)
    }

    private static func text(_ handle: SQLHDBC, _ item: Int32) -> String {
        var units = [SQLWCHAR](repeating: 0, count: 1_024)
        let bytes = SQLSMALLINT((units.count - 1) * MemoryLayout<SQLWCHAR>.size)
        guard succeeded(SQLGetInfoW(handle, SQLUSMALLINT(item), &units, bytes, nil)) else { return "" }
        return String(decoding: units.prefix { $0 != 0 }, as: UTF16.self)
    }
}
