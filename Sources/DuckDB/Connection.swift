internal import CDuckDB

/// One connection to a database: runs one statement at a time and blocks until it is done.
///
/// Not `Sendable`: a ``Session`` gives a connection its own thread and makes it usable from async code.
public final class Connection {
    /// Stops a running statement from another thread.
    public let interruptHandle: InterruptHandle

    private var handle: duckdb_connection?
    /// Keeps the database open as long as the connection is.
    private var database: Database?

    init(_ handle: duckdb_connection, database: Database) {
        self.database = database
        self.handle = handle
        self.interruptHandle = InterruptHandle(handle)
    }

    deinit {
        close()
    }

    /// Disconnects, rolling back an open transaction. Closing twice does nothing.
    public func close() {
        interruptHandle.close()
        duckdb_disconnect(&handle)
        database = nil
    }

    func openHandle() throws -> duckdb_connection {
        guard let handle else { throw DuckDBError.closed("connection") }
        return handle
    }

    /// Runs one or more statements, separated by semicolons, and drops what they return.
    ///
    /// - Returns: the rows inserted, updated or deleted by the last statement.
    /// - Throws: ``DuckDBError/statement(sql:message:kind:)``. The statements before the failing one have run.
    @discardableResult
    public func execute(_ sql: String) throws -> Int {
        var result = try run(sql)
        defer { duckdb_destroy_result(&result) }
        return Int(duckdb_rows_changed(&result))
    }

    /// Runs one statement with positional parameters (`?` or `$1`) and returns its rows.
    ///
    /// - Parameter streaming: rows are made as they are fetched instead of all at once. Until such a
    ///   result is read to its end or dropped, any other statement on this connection cuts it off (DuckDB 1) or
    ///   is refused (DuckDB 2).
    public func query(_ sql: String, _ parameters: [Value] = [], streaming: Bool = false) throws -> QueryResult {
        guard parameters.isEmpty, !streaming else { return try prepare(sql).query(parameters, streaming: streaming) }
        return try QueryResult(owning: try run(sql), sql: sql, connection: self)
    }

    /// Runs one statement with named parameters (`$name`) and returns its rows.
    public func query(_ sql: String, named parameters: [String: Value], streaming: Bool = false) throws -> QueryResult {
        try prepare(sql).query(named: parameters, streaming: streaming)
    }

    /// The first column of the first row.
    ///
    /// - Throws: ``DuckDBError/noRow(sql:)`` when there is no row.
    public func scalar(_ sql: String, _ parameters: [Value] = []) throws -> Value {
        guard let value = try query(sql, parameters).rows().first?.first else { throw DuckDBError.noRow(sql: sql) }
        return value
    }

    /// Prepares one statement, to be run any number of times.
    public func prepare(_ sql: String) throws -> PreparedStatement {
        var prepared: duckdb_prepared_statement?
        let state = duckdb_prepare(try openHandle(), sql, &prepared)
        let statement = PreparedStatement(owning: prepared, sql: sql, connection: self)
        guard state == DuckDBSuccess else { throw statementError(sql, statement.prepareMessage) }
        return statement
    }

    /// Runs `body` in a transaction: commits when it returns, rolls back when it throws.
    ///
    /// The error thrown is always the first one; a rollback that fails as well does not hide it. An
    /// interrupt takes effect before or after COMMIT, never within. DuckDB has no nested transactions.
    @discardableResult
    public func transaction<Result>(_ body: () throws -> Result) throws -> Result {
        try execute("BEGIN TRANSACTION")
        do {
            let result = try body()
            guard !interruptHandle.isScopeCancelled else { throw interrupted("COMMIT") }
            try interruptHandle.shielded { _ = try execute("COMMIT") }
            return result
        } catch {
            rollback()
            throw error
        }
    }

    /// Rolls back on the way out of a failure.
    ///
    /// What it may throw is left out on purpose: the failure being reported is the cause, and DuckDB
    /// has already rolled back when a commit failed or the connection was closed.
    private func rollback() {
        interruptHandle.shielded {
            do { try execute("ROLLBACK") } catch { return }
        }
    }

    /// Opens a bulk writer to a table.
    ///
    /// - Parameters:
    ///   - catalog: the attached database; the current one when nil.
    ///   - schema: the current one when nil.
    ///   - columns: the columns that chunks hold, in their order; the others get their default. All when nil.
    public func appender(
        catalog: String? = nil, schema: String? = nil, table: String, columns: [String]? = nil
    ) throws -> Appender {
        try Appender(self, catalog: catalog, schema: schema, table: table, columns: columns)
    }

    // MARK: running

    /// Runs statements as they are. The caller destroys the result of the last one.
    ///
    /// Not prepared first: in a transaction that has changed the catalog, as by a temporary table, DuckDB plans a
    /// prepared statement once more when it runs.
    private func run(_ sql: String) throws -> duckdb_result {
        let handle = try openHandle()
        guard interruptHandle.begin() else { throw interrupted(sql) }
        defer { interruptHandle.end() }
        var result = duckdb_result()
        guard duckdb_query(handle, sql, &result) == DuckDBSuccess else {
            defer { duckdb_destroy_result(&result) }
            throw statementError(sql, result: &result)
        }
        return result
    }

    /// Runs a statement with the parameters bound to it. The caller destroys the result.
    func run(_ statement: duckdb_prepared_statement?, sql: String, streaming: Bool) throws -> duckdb_result {
        _ = try openHandle()
        guard interruptHandle.begin() else { throw interrupted(sql) }
        defer { interruptHandle.end() }

        var pending: duckdb_pending_result?
        defer { duckdb_destroy_pending(&pending) }
        let state =
            streaming
            ? duckdb_pending_prepared_streaming(statement, &pending) : duckdb_pending_prepared(statement, &pending)
        guard state == DuckDBSuccess else { throw statementError(sql, text(duckdb_pending_error(pending))) }
        // From here on DuckDB's own interrupt is heard; a request made before is seen here.
        guard !interruptHandle.isRequested else { throw interrupted(sql) }

        var result = duckdb_result()
        guard duckdb_execute_pending(pending, &result) == DuckDBSuccess else {
            defer { duckdb_destroy_result(&result) }
            throw statementError(sql, result: &result)
        }
        return result
    }

    /// Runs a piece of work DuckDB does for a result or an appender, so that it can be interrupted.
    func running<Result>(_ sql: String, _ body: () throws -> Result) throws -> Result {
        _ = try openHandle()
        guard interruptHandle.begin() else { throw interrupted(sql) }
        defer { interruptHandle.end() }
        return try body()
    }

    private func interrupted(_ sql: String) -> DuckDBError {
        .statement(sql: sql, message: "INTERRUPT Error: Interrupted!", kind: .interrupt)
    }
}

func statementError(_ sql: String, _ message: String) -> DuckDBError {
    .statement(sql: sql, message: message, kind: .init(message: message))
}

func statementError(_ sql: String, result: inout duckdb_result) -> DuckDBError {
    let message = text(duckdb_result_error(&result))
    return .statement(
        sql: sql, message: message, kind: .init(duckdb_result_error_type(&result), message: message))
}
