internal import CDuckDB

/// Writes data chunks to a table, the fastest way into DuckDB.
///
///     let appender = try connection.appender(table: "orders")
///     let chunk = appender.makeChunk()
///     … fill it …
///     try appender.append(chunk)
///     try appender.close()
///
/// Rows are buffered and reach the table on ``flush()`` and ``close()``. An appender that is dropped
/// without `close()`, or that has thrown, discards what it has not flushed.
public final class Appender {
    /// The types of the columns that chunks hold, in their order.
    public let columnTypes: [DuckDBType]

    private let connection: Connection
    private let table: String
    private var handle: duckdb_appender?

    init(_ connection: Connection, catalog: String?, schema: String?, table: String, columns: [String]?) throws {
        self.connection = connection
        self.table = [catalog, schema, table].compactMap { $0 }.joined(separator: ".")
        var handle: duckdb_appender?
        do {
            try Self.check(
                duckdb_appender_create_ext(try connection.openHandle(), catalog, schema, table, &handle), handle,
                self.table)
            for column in columns ?? [] {
                try Self.check(duckdb_appender_add_column(handle, column), handle, self.table)
            }
            columnTypes = try (0..<duckdb_appender_column_count(handle)).map { index in
                let logicalType = LogicalType(owning: duckdb_appender_column_type(handle, index))
                guard let type = logicalType.type else {
                    throw DuckDBError.append(
                        table: table, message: "column \(index) has the unsupported type \(logicalType.name)",
                        kind: .notImplemented)
                }
                return type
            }
        } catch {
            duckdb_appender_destroy(&handle)
            throw error
        }
        self.handle = handle
    }

    deinit {
        discard()
    }

    /// A chunk with this appender's columns, to be filled, appended, ``DataChunk/reset()`` and filled again.
    public func makeChunk() -> DataChunk {
        DataChunk(columnTypes)
    }

    /// Copies the chunk's rows into the buffer. DuckDB casts columns of another type.
    public func append(_ chunk: DataChunk) throws {
        try perform { duckdb_append_data_chunk($0, chunk.handle) }
    }

    /// Writes the buffered rows to the table.
    ///
    /// - Throws: ``DuckDBError/append(table:message:kind:)`` with kind `.constraint` when a row breaks one.
    public func flush() throws {
        try perform { duckdb_appender_flush($0) }
    }

    /// Writes the buffered rows and ends the appender. Closing twice does nothing.
    public func close() throws {
        guard handle != nil else { return }
        try perform { duckdb_appender_close($0) }
        duckdb_appender_destroy(&handle)
    }

    private func perform(_ body: (duckdb_appender) -> duckdb_state) throws {
        guard let handle else { throw DuckDBError.closed("appender to \(table)") }
        _ = try connection.openHandle()
        try connection.running("appending to \(table)") {
            do {
                try Self.check(body(handle), handle, table)
            } catch {
                // DuckDB takes nothing more after an error.
                discard()
                throw error
            }
        }
    }

    /// Ends the appender without writing what is buffered: destroying it alone would flush.
    private func discard() {
        guard handle != nil else { return }
        duckdb_appender_clear(handle)
        duckdb_appender_destroy(&handle)
    }

    private static func check(_ state: duckdb_state, _ handle: duckdb_appender?, _ table: String) throws {
        guard state != DuckDBSuccess else { return }
        var error = duckdb_appender_error_data(handle)
        defer { duckdb_destroy_error_data(&error) }
        let message = text(duckdb_error_data_message(error))
        throw DuckDBError.append(
            table: table, message: message, kind: .init(duckdb_error_data_error_type(error), message: message))
    }
}
