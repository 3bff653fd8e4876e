import DuckDB

/// How a capture goes on after changes were purged unread, or not captured: by what its table says and the staged changes do not.
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
            try connection.createTable("actual", columns: columns, filledFrom: rows)
        }
        try await replica.takeIn([capture.instance], upTo: watermark)

        return try await BlockChannel.pipe { producer in
            try await session.run { try push($0, from: watermark, at: lsn, to: producer) }
        } to: { differences in
            try await stage(differences)
        }
    }

    private func push(
        _ connection: Connection, from watermark: LSN, at lsn: LSN, to producer: BlockProducer<ChangeBatch>
    ) throws {
        try connection.rollingBack {
            try requireReplica(connection, at: watermark)
            try connection.execute(prepare(watermark))
            var count = 0
            try connection.stream(select, [Self.operation] + capture.columns) { batch in
                let operations = batch.columns[0].withFixedBytes { Array($0.prefix(batch.count)) }
                let rows = RowBatch(columns: Array(batch.columns.dropFirst()))
                defer { count += batch.count }
                return producer.push(ChangeBatch(rows, operations: operations, at: lsn, firstRow: count))
            }
        }
    }

    /// - Throws: `TidemarkError.transient` when another worker had the replica start over meanwhile.
    private func requireReplica(_ connection: Connection, at lsn: LSN) throws {
        let isThere = try connection.scalar(
            """
            SELECT count(*) FROM replica.positions
            WHERE capture_instance = \(SQLText.literal(capture.instance)) AND \(ReplicaTables.shows(from: lsn, to: lsn))
            """)
        guard isThere == .int(1) else {
            throw TidemarkError.transient("the replica of \(capture.instance) is being rebuilt")
        }
    }

    private static let operation = Column(name: ReservedName.operation, type: .uint8, isNullable: false)

    private let actual = SQLText.temporary("actual")
    private let staged = SQLText.temporary("staged")
    private let differing = SQLText.temporary("differing")

    init(capture: Capture, replica: Replica) {
        self.capture = capture
        self.replica = replica
    }

    /// Leaves the staged state in one temporary table, and the source's rows that are not so there in another.
    private func prepare(_ watermark: LSN) -> String {
        """
        \(ReplicaTables(capture).keepState(asOf: watermark, as: "staged"))
        CREATE TEMP TABLE \(differing) AS SELECT * FROM \(actual) EXCEPT SELECT * FROM \(staged);
        """
    }

    /// The differences, their operation first.
    private var select: String {
        func rows(_ operation: ChangeOperation, _ from: String) -> String {
            """
            SELECT \(operation.rawValue)::UTINYINT AS \(ReservedName.operation), * FROM \(from) \
            USING (\(SQLText.list(capture.key)))
            """
        }
        return [
            rows(.delete, "\(staged) ANTI JOIN \(actual)"),
            rows(.updateAfter, "\(differing) SEMI JOIN \(staged)"),
            rows(.insert, "\(differing) ANTI JOIN \(staged)"),
        ].joined(separator: " UNION ALL ")
    }
}
