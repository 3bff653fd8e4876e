import DuckDB
import Tidemark

/// A source table's rows in a temporary table, to be compared with the replica's state.
struct DuckDBTableComparison: TableComparison {
    private let capture: Capture
    private let session: Session

    /// - Parameter session: a connection to a replica of the capture, for this comparison alone.
    init(capture: Capture, rows: any BlockReader<RowBatch>, session: Session) async throws {
        self.capture = capture
        self.session = session
        // In no transaction: an open one would keep the replica's old versions for as long as the table is read.
        try await session.run { [columns = capture.columns] connection in
            try connection.createTable(ProjectionDifference.actual, columns: columns, filledFrom: rows)
        }
    }

    // MARK: Changes

    func changes(from watermark: LSN, at lsn: LSN, to producer: BlockProducer<ChangeBatch>) async throws {
        try await tellingDamage {
            try await session.run { try push($0, from: watermark, at: lsn, to: producer) }
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

    private let actual = SQLText.temporary(ProjectionDifference.actual)
    private let staged = SQLText.temporary("staged")
    private let differing = SQLText.temporary("differing")

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

    // MARK: Difference

    func differences(asOf watermark: LSN, leavingOut changed: any BlockReader<RowBatch>, sample: Int) async throws
        -> (difference: ProjectionDifference, leftOut: Int)
    {
        let table = ProjectionTable(projection: capture.table, columns: capture.columns, key: capture.key)
        return try await tellingDamage {
            try await session.run { connection in
                let key = SQLText.list(capture.key)
                let changes = SQLText.temporary("changed_since")
                let expected = SQLText.temporary("expected")
                try requireReplica(connection, at: watermark)
                try connection.createTable("changed_since", columns: table.keyColumns, filledFrom: changed)
                try connection.execute(
                    """
                    \(ReplicaTables(capture).keepState(asOf: watermark, as: "staged"))
                    CREATE TEMP TABLE \(expected) AS SELECT * FROM \(staged) ANTI JOIN \(changes) USING (\(key));
                    CREATE OR REPLACE TEMP TABLE \(actual) AS SELECT * FROM \(actual) ANTI JOIN \(changes) USING (\(key));
                    """)
                let leftOut =
                    try connection.scalar("SELECT count(*) FROM (SELECT DISTINCT * FROM \(changes))").int64 ?? 0
                let difference = try ProjectionDifference(
                    connection, table: table, expected: expected, sample: sample)
                return (difference, Int(leftOut))
            }
        }
    }
}
