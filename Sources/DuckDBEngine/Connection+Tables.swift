import DuckDB
import Tidemark

extension Connection {
    /// Runs `body` in a transaction that is rolled back in any case, which drops the temporary tables it made.
    func rollingBack<Result>(_ body: () throws -> Result) throws -> Result {
        try execute("BEGIN TRANSACTION")
        let result: Result
        do {
            result = try body()
        } catch {
            // The first error is the one to report; DuckDB may have rolled back already.
            _ = try? execute("ROLLBACK")
            throw error
        }
        try execute("ROLLBACK")
        return result
    }

    /// Hands out the rows of a query, whose result has these columns, in blocks until `body` returns `false`.
    ///
    /// - Parameter isSmall: whether the result is known to be a few thousand rows at most; it is made at once then, which
    ///   takes DuckDB less time to plan.
    /// - Returns: whether all of them were handed out.
    @discardableResult
    func stream(
        _ sql: String, _ columns: [Column], isSmall: Bool = false, _ body: (RowBatch) -> Bool
    ) throws -> Bool {
        let result = try query(sql, streaming: !isSmall)
        while let chunk = try result.nextChunk() {
            guard try chunk.forEachBatch(columns, limits: .standard, body) else { return false }
        }
        return true
    }

    /// Makes a temporary table and fills it with what `reader` hands out.
    func createTable(_ table: String, columns: [Column], filledFrom reader: any BlockReader<RowBatch>) throws {
        let definitions = columns.map { "\(SQLText.identifier($0.name)) \($0.type.duckDBName)" }
        try execute("CREATE TEMP TABLE \(SQLText.temporary(table)) (\(definitions.joined(separator: ", ")))")
        let appender = try appender(catalog: "temp", table: table)
        let chunk = appender.makeChunk()
        var unflushed = 0
        while let block = try reader.next() {
            for start in stride(from: 0, to: block.count, by: DataChunk.capacity) {
                let rows = start..<min(start + DataChunk.capacity, block.count)
                chunk.reset()
                chunk.count = rows.count
                for (index, vector) in block.columns.enumerated() { try chunk.copy(vector, rows: rows, to: index) }
                try appender.append(chunk)
            }
            try appender.flush(after: block, unflushed: &unflushed)
        }
        try appender.close()
    }
}

extension Appender {
    /// 16 MiB: what an appender buffers. DuckDB's own bound counts rows, 204,800 of them, and the buffer is memory that
    /// `memory_limit` does not see.
    private static let bufferBytes = 16 << 20

    /// Writes what is buffered once it has come to a certain size.
    ///
    /// - Parameter unflushed: bytes buffered before `block` was appended, and after.
    func flush(after block: some MeasuredBlock, unflushed: inout Int) throws {
        unflushed += block.byteCount
        guard unflushed >= Self.bufferBytes else { return }
        try flush()
        unflushed = 0
    }
}
