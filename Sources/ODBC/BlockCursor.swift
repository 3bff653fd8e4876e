internal import CODBC
import Foundation

/// Reads a result in blocks of rows that the driver writes straight into columnar memory.
///
///     let cursor = try connection.query("SELECT id, amount FROM orders")
///     while try cursor.fetch() {
///         try cursor.withValues(of: Int64.self, column: 0) { ids in … }
///         try cursor.forEachDecimal(column: 1, scale: 2) { row, amount in … }
///     }
///
/// What an accessor passes is valid until the next fetch. A result with a column that no size bounds, such as
/// `nvarchar(max)`, is read row by row into blocks of the same shape.
public final class BlockCursor {
    /// How a result is read.
    public struct Options: Hashable, Sendable {
        /// Rows in a block. Fewer when they would take more than ``blockBytes``.
        public var rowsPerBlock: Int
        /// The widest text or binary column, in bytes, that is bound; wider ones are streamed row by row.
        ///
        /// The default is a little more than `varchar(8000)` takes in UTF-16. With 0 all text and binary
        /// columns are streamed, for databases whose values may be longer than declared.
        public var boundBytes: Int
        /// Bytes of memory for a block's bound columns.
        public var blockBytes: Int

        public init(rowsPerBlock: Int = 2_048, boundBytes: Int = 16_384, blockBytes: Int = 16 << 20) {
            self.rowsPerBlock = rowsPerBlock
            self.boundBytes = boundBytes
            self.blockBytes = blockBytes
        }
    }

    public let columns: [Column]
    /// Rows in the present block.
    public private(set) var count = 0
    /// Rows that a block has at most.
    public let capacity: Int

    private let statement: Statement
    private var buffers: [ColumnBuffer]
    private let isStreamed: Bool
    private let streamedBytes: Int
    private let fetched: UnsafeMutablePointer<SQLULEN>
    private let statuses: UnsafeMutablePointer<SQLUSMALLINT>
    /// Text translated for a caller.
    private let scratch = ColumnBuffer()
    private(set) var isClosed = false
    private var isAtEnd = false

    private var sql: String { statement.sql }

    init(_ statement: Statement, columns count: Int, options: Options) throws {
        let columns: [Column]
        do {
            columns = try (1...count).map { try Column(statement, number: $0, options: options) }
        } catch {
            statement.closeCursor(isFinished: false)
            throw error
        }
        self.columns = columns
        self.statement = statement
        isStreamed = columns.contains(where: \.isStreamed)
        streamedBytes = options.blockBytes
        let rowBytes = columns.reduce(0) { $0 + $1.width + MemoryLayout<SQLLEN>.size }
        let capacity = max(1, min(options.rowsPerBlock, options.blockBytes / max(1, rowBytes)))
        self.capacity = capacity
        buffers = columns.map { ColumnBuffer($0, rows: capacity) }
        fetched = .allocate(capacity: 1)
        fetched.initialize(to: 0)
        statuses = .allocate(capacity: capacity)
        statuses.initialize(repeating: 0, count: capacity)
        do {
            try bind()
        } catch {
            close()
            throw error
        }
    }

    deinit {
        close()
        fetched.deallocate()
        statuses.deallocate()
    }

    private func bind() throws {
        let handle = try statement.openHandle()
        try statement.check(codbc_set_stmt_attr(handle, SQL_ATTR_ROW_ARRAY_SIZE, SQLULEN(isStreamed ? 1 : capacity)))
        guard !isStreamed else { return }
        try statement.check(codbc_set_stmt_pointer(handle, SQL_ATTR_ROWS_FETCHED_PTR, fetched))
        try statement.check(codbc_set_stmt_pointer(handle, SQL_ATTR_ROW_STATUS_PTR, statuses))
        for (index, column) in columns.enumerated() {
            let number = SQLUSMALLINT(index + 1)
            let buffer = buffers[index]
            try statement.check(
                SQLBindCol(handle, number, column.cType, buffer.data, column.width, buffer.indicators))
            if column.cType == SQLSMALLINT(CODBC_C_NUMERIC) { try setNumeric(handle, index, buffer.data) }
        }
    }

    /// SQL_C_NUMERIC has a scale of 0 unless the descriptor says otherwise, and setting it unbinds the column:
    /// https://learn.microsoft.com/sql/odbc/reference/appendixes/retrieve-numeric-data-sql-numeric-struct-kb222831
    private func setNumeric(_ handle: SQLHSTMT, _ index: Int, _ data: UnsafeMutableRawPointer?) throws {
        var descriptor: SQLHDESC?
        try statement.check(
            SQLGetStmtAttrW(handle, SQL_ATTR_APP_ROW_DESC, &descriptor, SQLINTEGER(SQL_IS_POINTER), nil))
        let number = SQLSMALLINT(index + 1)
        let fields = [
            (SQL_DESC_TYPE, CODBC_C_NUMERIC), (SQL_DESC_PRECISION, columns[index].precision),
            (SQL_DESC_SCALE, columns[index].scale),
        ]
        for (field, value) in fields {
            try statement.check(codbc_set_desc_field(descriptor, number, SQLSMALLINT(field), value))
        }
        if let data { try statement.check(codbc_set_desc_pointer(descriptor, number, data)) }
    }

    /// Ends the result, dropping rows that were not read. Closing twice does nothing.
    public func close() {
        guard !isClosed else { return }
        isClosed = true
        count = 0
        resetHandle()
        statement.closeCursor(isFinished: isAtEnd)
    }

    private func resetHandle() {
        guard !isStreamed, !statement.connection.isClosed, let handle = try? statement.openHandle() else { return }
        _ = codbc_set_stmt_pointer(handle, SQL_ATTR_ROWS_FETCHED_PTR, nil)
        _ = codbc_set_stmt_pointer(handle, SQL_ATTR_ROW_STATUS_PTR, nil)
    }

    // MARK: fetching

    /// Fetches the next block; false after the last one.
    ///
    /// - Throws: ``ODBCError/truncated(sql:column:message:)`` when a value did not fit, and what else the driver says,
    ///   including errors that the statement runs into after its rows.
    public func fetch() throws -> Bool {
        count = 0
        guard !isClosed else { throw ODBCError.closed("cursor") }
        guard !isAtEnd else { return false }
        do {
            try statement.connection.bounded(sql) { [self] in
                if isStreamed { try fetchStreamed() } else { try fetchBound() }
                guard count == 0 else { return }
                isAtEnd = true
                // The statement's further results are dropped, but not their errors.
                while try statement.nextResult() {}
                close()
            }
        } catch {
            close()
            throw error
        }
        return count > 0
    }

    private func fetchBound() throws {
        let handle = try statement.openHandle()
        fetched.pointee = 0
        let result = try statement.call { SQLFetch(handle) }
        guard result != SQL_NO_DATA else { return }
        let rows = Int(fetched.pointee)
        if result == SQL_SUCCESS_WITH_INFO {
            let records = statement.connection.warnings
            if (0..<rows).contains(where: { statuses[$0] == SQLUSMALLINT(SQL_ROW_ERROR) })
                || records.contains(where: Self.isLoss)
            {
                try checkTruncation(rows)
                throw statement.connection.failure(sql, records)
            }
        }
        try checkTruncation(rows)
        count = rows
    }

    /// Whether a warning says that a value was cut: string or fraction truncated, or out of range.
    private static func isLoss(_ record: Diagnostic) -> Bool {
        ["01004", "01S07", "22001", "22003", "22008"].contains(record.sqlState)
    }

    /// Compares each value's length with the room it had, whether or not the driver gave a warning.
    private func checkTruncation(_ rows: Int) throws {
        for (index, column) in columns.enumerated() {
            guard let room = column.room else { continue }
            let indicators = buffers[index].indicators
            for row in 0..<rows where indicators[row] > room || indicators[row] < SQLLEN(SQL_NULL_DATA) {
                let length = indicators[row] == SQLLEN(SQL_NO_TOTAL) ? "more" : "\(indicators[row])"
                throw ODBCError.truncated(
                    sql: sql, column: column.name, message: "\(length) bytes where \(room) fit, row \(row) of the block"
                )
            }
        }
    }

    private func fetchStreamed() throws {
        let handle = try statement.openHandle()
        for buffer in buffers { buffer.reset() }
        var rows = 0
        var bytes = 0
        while rows < capacity, bytes < streamedBytes {
            guard try statement.call({ SQLFetch(handle) }) != SQL_NO_DATA else { break }
            for index in columns.indices { bytes += try getData(handle, index, row: rows) }
            rows += 1
        }
        count = rows
    }

    /// Bytes asked for at first; more when the driver says that there is more.
    private static let firstPiece = 4_096
    private static let largestPiece = 1 << 20

    private func getData(_ handle: SQLHSTMT, _ index: Int, row: Int) throws -> Int {
        let column = columns[index]
        let buffer = buffers[index]
        let number = SQLUSMALLINT(index + 1)
        var indicator: SQLLEN = 0
        guard column.isStreamed else {
            let address = buffer.data + row * column.width
            var cType = column.cType
            if cType == SQLSMALLINT(CODBC_C_NUMERIC) {
                try setNumeric(handle, index, nil)
                cType = SQLSMALLINT(SQL_ARD_TYPE)
            }
            let result = try statement.call { SQLGetData(handle, number, cType, address, column.width, &indicator) }
            if result == SQL_SUCCESS_WITH_INFO, statement.connection.warnings.contains(where: Self.isLoss) {
                throw ODBCError.truncated(
                    sql: sql, column: column.name,
                    message: statement.connection.warnings.map(\.description).joined(separator: "; "))
            }
            buffer.indicators[row] = indicator
            if let room = column.room, indicator > room {
                throw ODBCError.truncated(
                    sql: sql, column: column.name, message: "\(indicator) bytes where \(room) fit")
            }
            return column.width
        }
        // Text ends with a terminator in each piece, which the next one overwrites.
        let terminator = column.storage == .utf16 ? 2 : column.storage == .utf8 ? 1 : 0
        let start = buffer.used
        var piece = Self.firstPiece
        while true {
            buffer.reserve(piece)
            let address = buffer.arena + buffer.used
            if terminator > 0 { Self.mark(address, piece) }
            let result = try statement.call { SQLGetData(handle, number, column.cType, address, piece, &indicator) }
            if result == SQL_NO_DATA {
                // The value ended exactly with the last piece.
                break
            }
            if indicator == SQLLEN(SQL_NULL_DATA) {
                buffer.indicators[row] = SQLLEN(SQL_NULL_DATA)
                buffer.ends.append(start)
                return 0
            }
            let room = piece - terminator
            guard indicator == SQLLEN(SQL_NO_TOTAL) || indicator > room else {
                guard indicator >= 0 else { throw invalid(row, index, "the driver gave the length \(indicator)") }
                buffer.used += indicator
                break
            }
            buffer.used += terminator > 0 ? Self.textLength(address, room, terminator) : room
            let remaining = indicator == SQLLEN(SQL_NO_TOTAL) ? piece * 2 : indicator - room + terminator
            piece = min(max(remaining, Self.firstPiece), Self.largestPiece) + terminator
            piece += piece & 1
        }
        buffer.indicators[row] = buffer.used - start
        buffer.ends.append(buffer.used)
        return buffer.used - start
    }

    /// A driver may leave some room at a piece's end when a character does not fit; so its terminator is looked for,
    /// behind which this mark stays.
    private static let markLength = 8

    private static func mark(_ address: UnsafeMutableRawPointer, _ piece: Int) {
        (address + piece - markLength).initializeMemory(as: UInt8.self, repeating: 0xff, count: markLength)
    }

    /// Bytes of text in a piece that was filled.
    private static func textLength(_ address: UnsafeMutableRawPointer, _ room: Int, _ terminator: Int) -> Int {
        var length = room
        while length > room - markLength + terminator {
            let isEnd =
                terminator == 2
                ? address.loadUnaligned(fromByteOffset: length, as: UInt16.self) == 0
                : address.load(fromByteOffset: length, as: UInt8.self) == 0
            if isEnd { return length }
            length -= terminator
        }
        return room
    }

    // MARK: reading

    /// Whether the value is NULL.
    public func isNull(row: Int, column: Int) -> Bool {
        precondition(row >= 0 && row < count, "row \(row) is out of bounds")
        return buffers[column].indicators[row] == SQLLEN(SQL_NULL_DATA)
    }

    /// Passes the column's lengths in bytes, -1 for NULL.
    public func withLengths<Result>(column: Int, _ body: (UnsafeBufferPointer<Int>) throws -> Result) rethrows -> Result
    {
        try withExtendedLifetime(self) {
            try body(UnsafeBufferPointer(start: buffers[column].indicators, count: count))
        }
    }

    /// Passes the column's ``count`` elements as they are stored. What stands at a NULL is undefined.
    ///
    /// - Throws: ``ODBCError/typeMismatch(column:storage:requested:)`` unless `Element` is what ``Column/storage`` says.
    public func withValues<Element: BitwiseCopyable, Result>(
        of element: Element.Type, column: Int, _ body: (UnsafeBufferPointer<Element>) throws -> Result
    ) throws -> Result {
        let description = columns[column]
        guard description.storage.holds(element) else {
            throw ODBCError.typeMismatch(
                column: description.name, storage: description.storage, requested: "\(element)")
        }
        return try withExtendedLifetime(self) {
            let start = buffers[column].data.assumingMemoryBound(to: element)
            return try body(UnsafeBufferPointer(start: start, count: count))
        }
    }

    /// Passes each row of a text or binary column in order: its number and its bytes (UTF-8), nil for NULL.
    ///
    /// - Throws: ``ODBCError/invalidValue(sql:column:row:message:)`` for UTF-16 with a lone surrogate.
    public func forEachBytes(column: Int, _ body: (Int, UnsafeRawBufferPointer?) throws -> Void) throws {
        let description = columns[column]
        guard [.utf8, .utf16, .binary].contains(description.storage) else {
            throw ODBCError.typeMismatch(column: description.name, storage: description.storage, requested: "bytes")
        }
        for row in 0..<count {
            try withRawBytes(row, column) { bytes in
                guard let bytes, description.storage == .utf16 else { return try body(row, bytes) }
                try body(row, try translate(bytes, row, description))
            }
        }
    }

    /// Passes the bytes of a text (UTF-8) or binary value, nil for NULL.
    public func withBytes<Result>(
        row: Int, column: Int, _ body: (UnsafeRawBufferPointer?) throws -> Result
    ) throws -> Result {
        precondition(row >= 0 && row < count, "row \(row) is out of bounds")
        let description = columns[column]
        guard [.utf8, .utf16, .binary].contains(description.storage) else {
            throw ODBCError.typeMismatch(column: description.name, storage: description.storage, requested: "bytes")
        }
        return try withRawBytes(row, column) { bytes in
            guard let bytes, description.storage == .utf16 else { return try body(bytes) }
            return try body(try translate(bytes, row, description))
        }
    }

    /// Passes each row of a decimal or integer column in order: its number and its value times `10^scale`, nil
    /// for NULL.
    ///
    /// - Throws: ``ODBCError/invalidValue(sql:column:row:message:)`` for a value with more digits than that, or NaN.
    public func forEachDecimal(column: Int, scale: Int, _ body: (Int, Int128?) throws -> Void) throws {
        for row in 0..<count {
            guard !isNull(row: row, column: column) else {
                try body(row, nil)
                continue
            }
            let (value, own) = try decimal(row, column)
            guard let scaled = Decimals.rescale(value, from: own, to: scale) else {
                throw invalid(
                    row, column, "\(Decimals.text(value, scale: own)) does not fit \(scale) digits after the point")
            }
            try body(row, scaled)
        }
    }

    /// Passes each row of a time column in order: its number and its value, nil for NULL.
    public func forEachTime(column: Int, _ body: (Int, TimeParts?) throws -> Void) throws {
        for row in 0..<count {
            try body(row, isNull(row: row, column: column) ? nil : try time(row, column))
        }
    }

    /// One value, of any type. Slower than the columnar access above.
    public func value(row: Int, column: Int) throws -> Value {
        guard !isNull(row: row, column: column) else { return .null }
        switch columns[column].storage {
        case .bool: return .bool(load(row, column, as: UInt8.self) != 0)
        case .uint8: return .int(Int64(load(row, column, as: UInt8.self)))
        case .int16: return .int(Int64(load(row, column, as: Int16.self)))
        case .int32: return .int(Int64(load(row, column, as: Int32.self)))
        case .int64: return .int(load(row, column, as: Int64.self))
        case .float: return .float(load(row, column, as: Float.self))
        case .double: return .double(load(row, column, as: Double.self))
        case .numeric, .decimalText:
            let (value, scale) = try decimal(row, column)
            return .decimal(value, scale: scale)
        case .date: return .date(load(row, column, as: DateParts.self))
        case .time, .timeText: return .time(try time(row, column))
        case .timestamp: return .timestamp(load(row, column, as: TimestampParts.self))
        case .timestampOffset: return .timestampOffset(load(row, column, as: TimestampOffsetParts.self))
        case .guid: return .uuid(load(row, column, as: GUIDParts.self).uuid)
        case .guidText:
            let text = withRawBytes(row, column) { String(decoding: $0 ?? .init(start: nil, count: 0), as: UTF8.self) }
            guard let uuid = UUID(uuidString: text) else { throw invalid(row, column, "\"\(text)\" is no GUID") }
            return .uuid(uuid)
        case .utf8, .utf16:
            return .string(
                try withBytes(row: row, column: column) {
                    String(decoding: $0 ?? .init(start: nil, count: 0), as: UTF8.self)
                })
        case .binary: return .binary(try withBytes(row: row, column: column) { $0.map { [UInt8]($0) } ?? [] })
        }
    }

    /// All rows not yet fetched. For small results.
    public func rows() throws -> [[Value]] {
        var rows: [[Value]] = []
        while try fetch() {
            for row in 0..<count {
                rows.append(try columns.indices.map { try value(row: row, column: $0) })
            }
        }
        return rows
    }

    // MARK: elements

    private func load<Element: BitwiseCopyable>(_ row: Int, _ column: Int, as _: Element.Type) -> Element {
        withExtendedLifetime(self) {
            buffers[column].data.loadUnaligned(fromByteOffset: row * columns[column].width, as: Element.self)
        }
    }

    /// The bytes as the driver gave them.
    private func withRawBytes<Result>(
        _ row: Int, _ column: Int, _ body: (UnsafeRawBufferPointer?) throws -> Result
    ) rethrows -> Result {
        try withExtendedLifetime(self) {
            let buffer = buffers[column]
            let length = buffer.indicators[row]
            guard length != SQLLEN(SQL_NULL_DATA) else { return try body(nil) }
            let start =
                columns[column].isStreamed
                ? buffer.arena + (row == 0 ? 0 : buffer.ends[row - 1]) : buffer.data + row * columns[column].width
            return try body(UnsafeRawBufferPointer(start: start, count: length))
        }
    }

    private func translate(
        _ bytes: UnsafeRawBufferPointer, _ row: Int, _ column: Column
    ) throws -> UnsafeRawBufferPointer {
        let units = bytes.assumingMemoryBound(to: UInt16.self)
        scratch.reserve(units.count * UTF16Text.maxBytesPerUnit)
        let output = scratch.arena.assumingMemoryBound(to: UInt8.self)
        guard let length = UTF16Text.transcode(units, to: output) else {
            throw ODBCError.invalidValue(
                sql: sql, column: column.name, row: row,
                message: "its UTF-16 has half a surrogate pair, which is no character")
        }
        return UnsafeRawBufferPointer(start: output, count: length)
    }

    private func decimal(_ row: Int, _ column: Int) throws -> (Int128, scale: Int) {
        switch columns[column].storage {
        case .numeric:
            let parts = load(row, column, as: NumericParts.self)
            guard buffers[column].indicators[row] == MemoryLayout<NumericParts>.size, let value = parts.unscaled else {
                throw invalid(row, column, "the driver gave no decimal of up to 38 digits")
            }
            return (value, Int(parts.scale))
        case .decimalText:
            return try withRawBytes(row, column) { bytes in
                guard let bytes, let (value, scale) = Decimals.parse(bytes) else {
                    let text = String(decoding: bytes ?? .init(start: nil, count: 0), as: UTF8.self)
                    throw invalid(row, column, "\"\(text)\" is no decimal of up to 38 digits")
                }
                return (value, scale)
            }
        case .uint8: return (Int128(load(row, column, as: UInt8.self)), 0)
        case .int16: return (Int128(load(row, column, as: Int16.self)), 0)
        case .int32: return (Int128(load(row, column, as: Int32.self)), 0)
        case .int64: return (Int128(load(row, column, as: Int64.self)), 0)
        case let storage:
            throw ODBCError.typeMismatch(column: columns[column].name, storage: storage, requested: "a decimal")
        }
    }

    private func time(_ row: Int, _ column: Int) throws -> TimeParts {
        switch columns[column].storage {
        case .time: return load(row, column, as: TimeParts.self)
        case .timeText:
            return try withRawBytes(row, column) { bytes in
                guard let bytes, let time = DateText.parseTime(bytes) else {
                    let text = String(decoding: bytes ?? .init(start: nil, count: 0), as: UTF8.self)
                    throw invalid(row, column, "\"\(text)\" is no time of day")
                }
                return time
            }
        case let storage:
            throw ODBCError.typeMismatch(column: columns[column].name, storage: storage, requested: "a time")
        }
    }

    private func invalid(_ row: Int, _ column: Int, _ message: String) -> ODBCError {
        .invalidValue(sql: sql, column: columns[column].name, row: row, message: message)
    }
}

extension Column {
    /// Bytes that a bound value's length may have; nil where the length is fixed or in pieces.
    fileprivate var room: Int? {
        guard !isStreamed else { return nil }
        switch storage {
        case .utf16: return width - 2
        case .utf8, .decimalText, .timeText, .guidText: return width - 1
        case .binary: return width
        default: return nil
        }
    }
}

extension ColumnStorage {
    fileprivate func holds<Element>(_ element: Element.Type) -> Bool {
        switch self {
        case .bool, .uint8: element == UInt8.self
        case .int16: element == Int16.self
        case .int32: element == Int32.self
        case .int64: element == Int64.self
        case .float: element == Float.self
        case .double: element == Double.self
        case .numeric: element == NumericParts.self
        case .date: element == DateParts.self
        case .time: element == TimeParts.self
        case .timestamp: element == TimestampParts.self
        case .timestampOffset: element == TimestampOffsetParts.self
        case .guid: element == GUIDParts.self
        case .decimalText, .timeText, .guidText, .utf8, .utf16, .binary: false
        }
    }
}
