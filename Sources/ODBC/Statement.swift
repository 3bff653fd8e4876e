internal import CODBC

/// A statement that was prepared once and can be run with different parameters.
///
///     let insert = try connection.prepare("INSERT INTO orders VALUES (?, ?)")
///     try insert.execute([7, .decimal(1250, scale: 2)])
public final class Statement {
    public let sql: String
    let connection: Connection
    private var handle: SQLHSTMT?
    /// One that is not prepared is sent with each run; databases plan it for once only.
    private let isPrepared: Bool
    /// Attributes that are set on the handle as it stands.
    private var rowsBound = 1
    /// The cursor that reads this statement's result.
    private weak var cursor: BlockCursor?

    init(_ connection: Connection, _ sql: String, isPrepared: Bool) throws {
        self.connection = connection
        self.sql = sql
        self.isPrepared = isPrepared
        try open()
    }

    deinit {
        free()
    }

    private func open() throws {
        let owner = try connection.openHandle()
        var allocated: SQLHANDLE?
        let result = SQLAllocHandle(SQLSMALLINT(SQL_HANDLE_STMT), owner, &allocated)
        guard succeeded(result), let allocated else {
            throw connection.failure(sql, Handle.connection(owner).diagnostics())
        }
        handle = allocated
        rowsBound = 1
        bound = []
        if let timeout = connection.queryTimeout {
            // Drivers that have no timeout refuse it; the statement is then run without.
            _ = codbc_set_stmt_attr(allocated, SQL_ATTR_QUERY_TIMEOUT, SQLULEN(Connection.seconds(timeout)))
        }
        guard isPrepared else { return }
        do {
            _ = try connection.bounded(sql) { [self] in
                try withSQL { text, length in try call { SQLPrepareW(allocated, text, length) } }
            }
        } catch {
            free()
            throw error
        }
    }

    private func free() {
        // Disconnecting has freed the driver's statements, and the address may be another's by now.
        if let handle, !connection.isClosed {
            if isPrepared {
                // The server is told as well.
                _ = try? connection.bounded(sql) { SQLFreeHandle(SQLSMALLINT(SQL_HANDLE_STMT), handle) }
            } else {
                SQLFreeHandle(SQLSMALLINT(SQL_HANDLE_STMT), handle)
            }
        }
        handle = nil
    }

    private func withSQL<Result>(_ body: (UnsafeMutablePointer<SQLWCHAR>, SQLINTEGER) throws -> Result) rethrows
        -> Result
    {
        var units = Array(sql.utf16)
        let length = SQLINTEGER(units.count)
        units.append(0)
        return try units.withUnsafeMutableBufferPointer { try body($0.baseAddress!, length) }
    }

    func openHandle() throws -> SQLHSTMT {
        _ = try connection.openHandle()
        guard let handle else { throw ODBCError.closed("statement") }
        return handle
    }

    // MARK: running

    /// Runs the statement with these values for its `?`.
    ///
    /// - Returns: the rows inserted, updated or deleted.
    @discardableResult
    public func execute(_ parameters: [Value] = []) throws -> Int {
        try execute(try ParameterArray(parameters, sql: sql), isSingle: true)
    }

    /// Runs the statement for each row of parameters, sent together.
    ///
    /// Rows are sent in slices of bounded memory. Outside a transaction each is stored on its own, so that a
    /// failure leaves what came before.
    ///
    /// - Returns: the rows inserted, updated or deleted, as far as the driver counts them.
    /// - Throws: ``ODBCError/rows(sql:rows:records:)`` when the driver says which rows were refused.
    @discardableResult
    public func execute(_ parameters: ParameterArray) throws -> Int {
        try execute(parameters, isSingle: false)
    }

    private func execute(_ parameters: ParameterArray, isSingle: Bool) throws -> Int {
        if let odd = parameters.columns.firstIndex(where: { $0.count != parameters.count }) {
            throw ODBCError.parameter(
                sql: sql, parameter: odd + 1,
                message: "it has \(parameters.columns[odd].count) values, the first one \(parameters.count)")
        }
        if isSingle { return try run(parameters, rows: 0..<1, counting: true) }
        var total = 0
        var start = 0
        while start < parameters.count {
            let end = Self.slice(parameters, from: start)
            total += try run(parameters, rows: start..<end, counting: true)
            start = end
        }
        return total
    }

    /// Runs the statement and returns its first result set, which stays valid until the next run.
    ///
    /// - Throws: ``ODBCError/noResult(sql:)`` when it returns none.
    public func query(_ parameters: [Value] = [], options: BlockCursor.Options = .init()) throws -> BlockCursor {
        try connection.bounded(sql) { [self] in try open(parameters, options) }
    }

    private func open(_ parameters: [Value], _ options: BlockCursor.Options) throws -> BlockCursor {
        _ = try run(try ParameterArray(parameters, sql: sql), rows: 0..<1, counting: false)
        // Statements before the query, such as an INSERT in a batch, leave row counts.
        while try columnCount() == 0 {
            guard try nextResult() else {
                closeCursor(isFinished: true)
                throw ODBCError.noResult(sql: sql)
            }
        }
        let cursor = try BlockCursor(self, columns: columnCount(), options: options)
        self.cursor = cursor
        return cursor
    }

    /// Bytes of parameters laid out for the driver at once.
    private static let sliceBytes = 16 << 20

    /// The end of the slice of rows that starts at `start`: as many as fit, at least one.
    private static func slice(_ parameters: ParameterArray, from start: Int) -> Int {
        var widths = parameters.columns.map { _ in 0 }
        var end = start
        while end < parameters.count {
            var width = 0
            for (index, column) in parameters.columns.enumerated() {
                widths[index] = max(widths[index], BoundParameter.width(column, row: end))
                width += widths[index]
            }
            if end > start, width * (end + 1 - start) > sliceBytes { break }
            end += 1
        }
        return end
    }

    private func run(_ parameters: ParameterArray, rows: Range<Int>, counting: Bool) throws -> Int {
        try connection.bounded(sql) { [self] in try runHere(parameters, rows: rows, counting: counting) }
    }

    private func runHere(_ parameters: ParameterArray, rows: Range<Int>, counting: Bool) throws -> Int {
        if let cursor, !cursor.isClosed { cursor.close() }
        var handle = try openHandle()
        if needsReopening {
            free()
            try open()
            handle = try openHandle()
            needsReopening = false
        }
        let bound = try parameters.columns.enumerated().map { index, column in
            try BoundParameter(column, rows: rows, position: index + 1, sql: sql, traits: connection.traits)
        }
        // Not before each run: Microsoft's driver prepares a statement anew after it.
        if self.bound.count != bound.count { SQLFreeStmt(handle, SQLUSMALLINT(SQL_RESET_PARAMS)) }
        for (index, parameter) in bound.enumerated() {
            // What is sent in pieces is found again by its position.
            let address = parameter.pieces == nil ? parameter.data : UnsafeMutableRawPointer(bitPattern: index + 1)
            try check(
                SQLBindParameter(
                    handle, SQLUSMALLINT(index + 1), SQLSMALLINT(SQL_PARAM_INPUT), parameter.cType, parameter.sqlType,
                    parameter.columnSize, parameter.digits, address, parameter.stride, parameter.indicators))
        }
        self.bound = bound
        let count = rows.count
        let statuses = UnsafeMutablePointer<SQLUSMALLINT>.allocate(capacity: count)
        statuses.initialize(repeating: SQLUSMALLINT(SQL_PARAM_UNUSED), count: count)
        let processed = UnsafeMutablePointer<SQLULEN>.allocate(capacity: 1)
        processed.initialize(to: 0)
        defer {
            statuses.deallocate()
            processed.deallocate()
        }
        let isArray = count > 1
        if count != rowsBound {
            try check(codbc_set_stmt_attr(handle, SQL_ATTR_PARAMSET_SIZE, SQLULEN(count)))
            rowsBound = count
        }
        if isArray {
            try check(codbc_set_stmt_pointer(handle, SQL_ATTR_PARAM_STATUS_PTR, statuses))
            try check(codbc_set_stmt_pointer(handle, SQL_ATTR_PARAMS_PROCESSED_PTR, processed))
        }
        defer {
            // The driver must not keep addresses that are about to go.
            if let handle = self.handle, !connection.isClosed {
                if isArray {
                    _ = codbc_set_stmt_pointer(handle, SQL_ATTR_PARAM_STATUS_PTR, nil)
                    _ = codbc_set_stmt_pointer(handle, SQL_ATTR_PARAMS_PROCESSED_PTR, nil)
                    SQLFreeStmt(handle, SQLUSMALLINT(SQL_RESET_PARAMS))
                    self.bound = []
                }
            }
        }
        do {
            try call {
                var result = isPrepared ? SQLExecute(handle) : withSQL { SQLExecDirectW(handle, $0, $1) }
                if result == SQL_NEED_DATA { result = sendPieces(handle, bound) }
                return result
            }
            guard counting else { return 0 }
            var changed = max(0, try rowCount(handle))
            // Later results hold later rows' counts, and errors that would be lost with them.
            while try nextResult() { changed += max(0, try rowCount(handle)) }
            if isArray { try checkStatuses(statuses, processed.pointee, rows, records: connection.warnings) }
            closeCursor(isFinished: true)
            return changed
        } catch let error as ODBCError {
            closeCursor(isFinished: false)
            if isArray, case .statement(_, let records) = error {
                let failed = (0..<count).filter { statuses[$0] == SQLUSMALLINT(SQL_PARAM_ERROR) }
                if !failed.isEmpty {
                    throw ODBCError.rows(sql: sql, rows: failed.map { $0 + rows.lowerBound }, records: records)
                }
            }
            throw error
        }
    }

    /// Some drivers report refused rows by their status only, with success for the call.
    private func checkStatuses(
        _ statuses: UnsafeMutablePointer<SQLUSMALLINT>, _ processed: SQLULEN, _ rows: Range<Int>, records: [Diagnostic]
    ) throws {
        let failed = (0..<rows.count).filter { statuses[$0] == SQLUSMALLINT(SQL_PARAM_ERROR) }
        guard failed.isEmpty else {
            throw ODBCError.rows(sql: sql, rows: failed.map { $0 + rows.lowerBound }, records: records)
        }
        guard Int(processed) == 0 || Int(processed) == rows.count else {
            throw ODBCError.rows(
                sql: sql, rows: Array(rows.lowerBound + Int(processed)..<rows.upperBound), records: records)
        }
    }

    /// The parameters of the last run, whose addresses the driver has; it may run a query again to describe it.
    private var bound: [BoundParameter] = []
    /// The driver cannot run this handle again.
    private var needsReopening = false

    private func sendPieces(_ handle: SQLHSTMT, _ bound: [BoundParameter]) -> SQLRETURN {
        while true {
            var token: SQLPOINTER?
            let result = SQLParamData(handle, &token)
            guard result == SQL_NEED_DATA else { return result }
            let index = Int(bitPattern: token) - 1
            guard bound.indices.contains(index), let pieces = bound[index].pieces else { return SQLRETURN(SQL_ERROR) }
            let isText = bound[index].cType == SQLSMALLINT(CODBC_C_WCHAR)
            let sent = pieces.withUnsafeBytes { bytes in
                var start = 0
                while start < bytes.count {
                    var length = min(BoundParameter.pieceSize, bytes.count - start)
                    if isText {
                        // A surrogate pair is kept together: drivers translate piece by piece.
                        let units = UnsafeRawBufferPointer(rebasing: bytes[start...]).bindMemory(to: UInt16.self)
                        length = 2 * UTF16Text.pieceLength(units, limit: BoundParameter.pieceSize / 2)
                    }
                    let piece = UnsafeMutableRawPointer(mutating: bytes.baseAddress! + start)
                    let result = SQLPutData(handle, piece, length)
                    guard succeeded(result) else { return result }
                    start += length
                }
                return SQLRETURN(SQL_SUCCESS)
            }
            guard succeeded(sent) else { return sent }
        }
    }

    // MARK: for the cursor

    /// Calls the driver so that it can be cancelled, and returns what it said unless that is an error.
    @discardableResult
    func call(_ body: () throws -> SQLRETURN) throws -> SQLRETURN {
        let handle = try openHandle()
        connection.beginCall()
        guard connection.cancelHandle.begin(handle) else { throw ODBCError.cancelled(sql: sql) }
        let result: SQLRETURN
        do { result = try body() } catch {
            _ = connection.cancelHandle.end()
            throw error
        }
        let isCancelled = connection.cancelHandle.end()
        // Nobody waits for it any more, and the connection is about to end.
        guard !connection.isAbandoned else { throw ODBCError.givenUp }
        if isCancelled, result == SQL_SUCCESS || result == SQL_NO_DATA { throw ODBCError.cancelled(sql: sql) }
        return try check(result, isCancelled: isCancelled)
    }

    @discardableResult
    func check(_ result: SQLRETURN, isCancelled: Bool = false) throws -> SQLRETURN {
        switch Int32(result) {
        case SQL_SUCCESS, SQL_NO_DATA:
            connection.warnings = []
        case SQL_SUCCESS_WITH_INFO where !isCancelled:
            connection.warnings = Handle.statement(handle).diagnostics()
        default:
            throw connection.failure(sql, Handle.statement(handle).diagnostics(), isCancelled: isCancelled)
        }
        return result
    }

    private func rowCount(_ handle: SQLHSTMT) throws -> Int {
        var count: SQLLEN = 0
        guard succeeded(SQLRowCount(handle, &count)) else { return 0 }
        return count
    }

    private func columnCount() throws -> Int {
        var count: SQLSMALLINT = 0
        let warnings = connection.warnings
        try check(SQLNumResultCols(openHandle(), &count))
        connection.warnings = warnings
        return Int(count)
    }

    /// Moves on to the next result; false after the last one. Errors of later statements come up here.
    func nextResult() throws -> Bool {
        let warnings = connection.warnings
        let handle = try openHandle()
        let result = try call { SQLMoreResults(handle) }
        connection.warnings = warnings + connection.warnings
        return result != SQL_NO_DATA
    }

    /// Ends the result set, dropping rows that were not read.
    func closeCursor(isFinished: Bool) {
        guard let handle, !connection.isClosed else { return }
        // Rows not read yet are read off the network, or the server is asked to stop sending them.
        let isOver: Void? = try? connection.bounded(sql) { _ = SQLFreeStmt(handle, SQLUSMALLINT(SQL_CLOSE)) }
        guard isOver != nil else { return }
        SQLFreeStmt(handle, SQLUSMALLINT(SQL_UNBIND))
        if !isFinished && isPrepared && connection.traits.preparesAgainAfterPartialFetch { needsReopening = true }
    }
}
