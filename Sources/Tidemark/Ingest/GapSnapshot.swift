import DuckDB

/// How a capture goes on after changes were purged unread: by what its table says and the staged changes do not.
struct GapSnapshot: Sendable {
    let capture: Capture
    /// Shows the staged state.
    let replica: Replica

    /// Hands `stage` the changes at `lsn` that turn the state staged up to `watermark` into `rows`, in log order.
    func differences<Success: Sendable>(
        between watermark: LSN, and rows: any BlockReader<RowBatch>, at lsn: LSN,
        stage: (any BlockReader<ChangeBatch>) async throws -> Success
    ) async throws -> Success {
        let session = try await replica.makeSession(name: "gap \(capture.table)")
        // In no transaction: an open one would keep the replica's old versions for as long as the table is read.
        try await session.run { [columns = capture.columns] connection in
            try connection.createTable("__actual", columns: columns, filledFrom: rows)
        }
        try await replica.takeIn([capture.instance], upTo: watermark)

        let (producer, consumer) = BlockChannel.make(of: ChangeBatch.self)
        async let produced: Void = produce(session, from: watermark, at: lsn, to: producer)
        let staged: Result<Success, any Error>
        do {
            staged = .success(try await stage(consumer))
        } catch {
            staged = .failure(error)
        }
        // A store that gives up early must not leave the producer waiting for room.
        consumer.close()
        await produced
        await session.close()
        return try staged.get()
    }

    private func produce(
        _ session: Session, from watermark: LSN, at lsn: LSN, to producer: BlockProducer<ChangeBatch>
    ) async {
        do {
            try await session.run { connection in
                try connection.rollingBack {
                    try requireReplica(connection, at: watermark)
                    try connection.execute(prepare(watermark))
                    var count = 0
                    try connection.stream(Self.select(capture), [Self.operation] + capture.columns) { batch in
                        let operations = batch.columns[0].withFixedBytes { Array($0.prefix(batch.count)) }
                        let rows = RowBatch(columns: Array(batch.columns.dropFirst()))
                        defer { count += batch.count }
                        return producer.push(
                            ChangeBatch(rows, operations: operations, at: lsn, firstRow: count))
                    }
                }
            }
            producer.finish()
        } catch {
            producer.finish(throwing: error)
        }
    }

    /// - Throws: `TidemarkError.transient` when another worker had the replica start over meanwhile.
    private func requireReplica(_ connection: Connection, at lsn: LSN) throws {
        let isThere = try connection.scalar(
            """
            SELECT count(*) FROM replica.positions WHERE capture_instance = \(SQLText.literal(capture.instance))
                AND base_lsn <= \(lsn.sqlLiteral) AND loaded_lsn >= \(lsn.sqlLiteral)
            """)
        guard isThere == .int(1) else {
            throw TidemarkError.transient("the replica of \(capture.instance) is being rebuilt")
        }
    }

    private static let operation = Column(name: "__op", type: .uint8, isNullable: false)

    /// Leaves the staged state in `__staged`, and the table's rows that are not so there in `__differing`.
    private func prepare(_ watermark: LSN) -> String {
        let tables = ReplicaTables(capture)
        let state = tables.state(overlay: "__latest", columns: capture.columns.map(\.name))
        return """
            CREATE TEMP TABLE __latest AS \(tables.latest(through: watermark));
            CREATE TEMP TABLE __staged AS \(state);
            CREATE TEMP TABLE __differing AS SELECT * FROM __actual EXCEPT SELECT * FROM __staged;
            """
    }

    /// The differences, their operation first.
    private static func select(_ capture: Capture) -> String {
        func rows(_ operation: ChangeOperation, _ from: String) -> String {
            "SELECT \(operation.rawValue)::UTINYINT AS __op, * FROM \(from) USING (\(SQLText.list(capture.key)))"
        }
        return [
            rows(.delete, "__staged ANTI JOIN __actual"), rows(.updateAfter, "__differing SEMI JOIN __staged"),
            rows(.insert, "__differing ANTI JOIN __staged"),
        ].joined(separator: " UNION ALL ")
    }
}
