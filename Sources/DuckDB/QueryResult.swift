internal import CDuckDB

/// The rows a statement returned, read chunk by chunk.
///
///     let result = try connection.query("SELECT order_id, amount FROM orders")
///     while let chunk = try result.nextChunk() {
///         try chunk.withValues(of: Int64.self, column: 0) { ids in … }
///     }
public final class QueryResult {
    /// A column's name and type.
    public struct Column: Hashable, Sendable {
        public var name: String
        public var type: DuckDBType
    }

    public let sql: String
    public let columns: [Column]
    /// The rows inserted, updated or deleted; 0 for a query.
    public let rowsChanged: Int

    private let connection: Connection
    private var handle: duckdb_result
    /// Asking a streamed result for more after its end is an error to DuckDB.
    private var isAtEnd = false

    /// - Throws: ``DuckDBError/unsupportedType(type:column:sql:)``; the statement has run by then.
    init(owning handle: duckdb_result, sql: String, connection: Connection) throws {
        var handle = handle
        do {
            columns = try (0..<duckdb_column_count(&handle)).map { index in
                let name = text(duckdb_column_name(&handle, index))
                let logicalType = LogicalType(owning: duckdb_column_logical_type(&handle, index))
                guard let type = logicalType.type else {
                    throw DuckDBError.unsupportedType(type: logicalType.name, column: name, sql: sql)
                }
                return Column(name: name, type: type)
            }
        } catch {
            duckdb_destroy_result(&handle)
            throw error
        }
        rowsChanged = Int(duckdb_rows_changed(&handle))
        self.sql = sql
        self.connection = connection
        self.handle = handle
    }

    deinit {
        duckdb_destroy_result(&handle)
    }

    /// The next rows, at most ``DataChunk/capacity``, or nil after the last.
    ///
    /// A chunk owns its memory: it outlives its result and can be sent elsewhere.
    public func nextChunk() throws -> sending DataChunk? {
        // Nothing else refers to a chunk that DuckDB has handed out.
        nonisolated(unsafe) let chunk = try connection.running(sql) { try fetch() }
            .map { DataChunk(owning: $0, types: columns.map(\.type)) }
        return chunk
    }

    private func fetch() throws -> duckdb_data_chunk? {
        guard !isAtEnd else { return nil }
        while let chunk = duckdb_fetch_chunk(handle) {
            if duckdb_data_chunk_get_size(chunk) > 0 { return chunk }
            var empty: duckdb_data_chunk? = chunk
            duckdb_destroy_data_chunk(&empty)
        }
        // The end of a streamed result and a failure on the way look alike otherwise.
        if duckdb_result_error(&handle) != nil { throw statementError(sql, result: &handle) }
        isAtEnd = true
        return nil
    }

    /// All remaining rows as values; for small results and tests.
    public func rows() throws -> [[Value]] {
        var rows: [[Value]] = []
        while let chunk = try nextChunk() {
            for row in 0..<chunk.count {
                rows.append(try (0..<columns.count).map { try chunk.value(row: row, column: $0) })
            }
        }
        return rows
    }
}
