import DuckDB
import Foundation
public import Logging

/// Checks what the serving database shows against what it was made from, on a path of its own: an empty
/// replica, filled from staging, every query evaluated in full.
///
/// - A projection's table must equal its query as of its `as_of_lsn`.
/// - A capture's state in staging must equal the source table, but for rows that changed after the watermark.
///
/// Nothing is written, and a pipeline may go on working meanwhile.
public struct Verifier: Sendable {
    /// How one projection or capture fared.
    public struct Finding: Sendable, Equatable {
        public enum Subject: Sendable, Equatable {
            /// A projection, checked as of an LSN.
            case projection(String, asOf: LSN)
            /// A captured source table, checked as of its watermark. `inFlight` keys changed after it and
            /// were left out.
            case source(table: String, asOf: LSN, inFlight: Int)
        }

        public var subject: Subject
        public var difference: ProjectionDifference
    }

    /// Lines of a sample on each side.
    public static let sampleSize = 5

    private let source: any ChangeSource
    private let store: any ServingStore
    private let sourceName: String
    private let captures: [Capture]
    private let replica: Replica

    public init(
        source: any ChangeSource, store: any ServingStore, sourceName: String, memoryLimit: String, logger: Logger
    ) async throws {
        self.source = source
        self.store = store
        self.sourceName = sourceName
        captures = try await source.captures()
        replica = try await Replica(
            directory: nil, memoryLimit: memoryLimit, captures: captures, store: store,
            watermarks: try await store.watermarks(source: sourceName), logger: logger)
    }

    /// Checks projections as of where each stands now.
    ///
    /// - Throws: `TidemarkError.projection` for one that was never built, is wrong, or is not the one the
    ///   table was built with.
    public func projections(_ definitions: [ProjectionDefinition]) async throws -> [Finding] {
        var engines: [ProjectionEngine] = []
        for definition in definitions {
            let session = try await replica.makeSession(name: definition.name)
            let engine = try await ProjectionEngine(definition: definition, captures: captures, session: session)
            guard let state = try await store.projection(definition.name), let asOf = state.asOfLSN else {
                throw TidemarkError.projection(
                    name: definition.name, reason: "it has not been built yet; start `tidemark run` and try again")
            }
            guard state.definitionHash == engine.definitionHash else {
                throw TidemarkError.projection(
                    name: definition.name,
                    reason: """
                        its definition changed since its table was built; `tidemark run` builds it anew at its next start, or \
                        run `tidemark rebuild \(definition.name)`
                        """)
            }
            // A projection can only move forward, so its state stays showable whatever is loaded first.
            await replica.pin(definition.name, captures: engine.instances, at: asOf)
            engines.append(engine)
        }
        var findings: [Finding] = []
        for engine in engines {
            let (state, rows) = try await store.readProjection(
                engine.definition.name, columns: engine.table.columns, blockRows: Ingestor.blockRows)
            guard let asOf = state.asOfLSN else { continue }
            try await replica.takeIn(engine.instances, upTo: asOf)
            let difference = try await engine.differences(asOf: asOf, from: rows, sample: Self.sampleSize)
            findings.append(Finding(subject: .projection(engine.definition.name, asOf: asOf), difference: difference))
        }
        return findings
    }

    /// Checks the staged state of every capture against its source table.
    public func sources() async throws -> [Finding] {
        var findings: [Finding] = []
        for capture in captures {
            guard let watermark = try await store.watermarks(source: sourceName)[capture.instance]?.lastIngestedLSN,
                watermark > .zero
            else { continue }
            try await replica.takeIn([capture.instance], upTo: watermark)
            findings.append(try await check(capture, asOf: watermark))
        }
        return findings
    }

    private func check(_ capture: Capture, asOf watermark: LSN) async throws -> Finding {
        // The order matters: rows first, then the log's end, so that whatever the rows show beyond the
        // watermark is among the changes read after.
        let rows = try await source.rows(of: capture, blockRows: Ingestor.blockRows)
        let tables = ReplicaTables(capture)
        let table = ProjectionTable(projection: capture.table, columns: capture.columns, key: capture.key)
        let session = try await replica.makeSession(name: "verify \(capture.table)")
        try await session.run { connection in
            try connection.execute("CREATE TEMP TABLE overlay AS \(tables.latest(through: watermark))")
            try connection.execute(
                tables.stateView("__staged", overlay: "overlay", columns: capture.columns.map(\.name)))
            try connection.createTable("__actual", columns: capture.columns, filledFrom: rows)
        }
        let end = try await source.bounds().maxLSN
        let later = try await source.changes(
            of: capture, in: LSNWindow(after: watermark, through: max(watermark, end)), blockRows: Ingestor.blockRows)
        return try await session.run { connection in
            let key = SQLText.list(capture.key)
            try connection.createTable("changed_since", columns: table.keyColumns, filledFrom: KeyReader(later, capture))
            try connection.execute(
                """
                CREATE TEMP TABLE __expected AS SELECT * FROM __staged ANTI JOIN changed_since USING (\(key));
                CREATE OR REPLACE TEMP TABLE __actual AS SELECT * FROM __actual ANTI JOIN changed_since USING (\(key));
                """)
            let inFlight = try connection.scalar("SELECT count(*) FROM (SELECT DISTINCT * FROM changed_since)").int64 ?? 0
            return Finding(
                subject: .source(table: capture.table, asOf: watermark, inFlight: Int(inFlight)),
                difference: try ProjectionDifference(
                    connection, table: table, expected: "__expected", sample: Self.sampleSize))
        }
    }
}

/// The key columns of changes, as rows.
private final class KeyReader: BlockReader {
    private let changes: any BlockReader<ChangeBatch>
    private let indices: [Int]

    init(_ changes: any BlockReader<ChangeBatch>, _ capture: Capture) {
        self.changes = changes
        indices = capture.keyIndices
    }

    func next() throws -> RowBatch? {
        guard let batch = try changes.next() else { return nil }
        return RowBatch(columns: indices.map { batch.columns[$0] })
    }
}
