import DuckDB

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
    func stream(_ sql: String, _ columns: [Column], _ body: (RowBatch) -> Bool) throws {
        let result = try query(sql, streaming: true)
        while let chunk = try result.nextChunk() {
            guard body(try chunk.rowBatch(columns)) else { return }
        }
    }

    /// Makes a temporary table and fills it with what `reader` hands out.
    func createTable(_ table: String, columns: [Column], filledFrom reader: any BlockReader<RowBatch>) throws {
        let definitions = columns.map { "\(SQLText.identifier($0.name)) \($0.type)" }
        try execute("CREATE TEMP TABLE \(SQLText.temporary(table)) (\(definitions.joined(separator: ", ")))")
        let appender = try appender(catalog: "temp", table: table)
        let chunk = appender.makeChunk()
        while let block = try reader.next() {
            for start in stride(from: 0, to: block.count, by: DataChunk.capacity) {
                let rows = start..<min(start + DataChunk.capacity, block.count)
                chunk.reset()
                chunk.count = rows.count
                for (index, vector) in block.columns.enumerated() { try chunk.copy(vector, rows: rows, to: index) }
                try appender.append(chunk)
            }
        }
        try appender.close()
    }
}
