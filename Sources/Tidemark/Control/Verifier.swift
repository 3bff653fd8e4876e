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
        public var outcome: Outcome

        public enum Outcome: Sendable, Equatable {
            case compared(ProjectionDifference)
            /// The comparison was not possible, such as over a value that cannot be read.
            case failed(String)
        }

        public var isEqual: Bool {
            if case .compared(let difference) = outcome { difference.isEmpty } else { false }
        }
    }

    /// Lines of a sample on each side.
    public static let sampleSize = 5

    private let source: any ChangeSource
    private let store: any ServingStore
    private let sourceName: String
    private let captures: [Capture]
    private let refused: [RefusedCapture]
    private let replica: Replica

    public init(
        source: any ChangeSource, store: any ServingStore, sourceName: String, memoryLimit: String, logger: Logger
    ) async throws {
        self.source = source
        self.store = store
        self.sourceName = sourceName
        let catalog = try await source.catalog().carried
        let replica = try await Replica(
            directory: nil, memoryLimit: memoryLimit, captures: catalog.captures, store: store,
            watermarks: try await store.watermarks(source: sourceName), epoch: 0, logger: logger)
        self.replica = replica
        captures = catalog.captures.filter { replica.captures[$0.instance] != nil }
        refused = catalog.refused + replica.refused
    }

    /// Checks projections as of where each stands now.
    ///
    /// One that cannot be compared does not keep the others from being.
    ///
    /// - Throws: `TidemarkError.unavailable` for one that was never built, or whose definition is not the one its table
    ///   was built with; `.projection` for one that is wrong.
    public func projections(_ definitions: [ProjectionDefinition]) async throws -> [Finding] {
        var engines: [ProjectionEngine] = []
        for definition in definitions {
            let session = try await replica.makeSession(name: definition.name)
            let engine = try await ProjectionEngine(
                definition: definition, captures: captures, refused: refused, session: session)
            guard let state = try await store.projection(definition.name), let asOf = state.asOfLSN else {
                throw TidemarkError.unavailable(
                    """
                    projection \(definition.name) has not been built yet; start `tidemark run`, or see `tidemark status` \
                    for what keeps it from being built
                    """)
            }
            guard state.definitionHash == engine.definitionHash else {
                throw TidemarkError.unavailable(
                    """
                    the definition of projection \(definition.name) changed since its table was built; `tidemark run` builds \
                    it anew at its next start, or run `tidemark rebuild \(definition.name)`
                    """)
            }
            // A projection can only move forward, so its state stays showable whatever is loaded first.
            await replica.pin(definition.name, captures: engine.instances, at: asOf)
            engines.append(engine)
        }
        var findings: [Finding] = []
        for engine in engines {
            let name = engine.definition.name
            var checked = try await store.projection(name)?.asOfLSN ?? .zero
            let outcome = try await outcome {
                let (state, rows) = try await store.readProjection(
                    name, columns: engine.table.columns, limits: .standard)
                checked = state.asOfLSN ?? checked
                try await replica.takeIn(engine.instances, upTo: checked)
                return try await engine.differences(asOf: checked, from: rows, sample: Self.sampleSize)
            }
            findings.append(Finding(subject: .projection(name, asOf: checked), outcome: outcome))
        }
        return findings
    }

    private func outcome(_ compare: () async throws -> ProjectionDifference) async throws -> Finding.Outcome {
        do {
            return .compared(try await compare())
        } catch let error as TidemarkError {
            // The whole check cannot go on without a database.
            switch error {
            case .unavailable, .transient: throw error
            default: break
            }
            return .failed("\(error)")
        }
    }

    /// Checks the staged state of every capture against its source table.
    public func sources() async throws -> [Finding] {
        var findings: [Finding] = []
        for capture in captures {
            guard let watermark = try await store.watermarks(source: sourceName)[capture.instance]?.lastIngestedLSN,
                watermark > .zero
            else { continue }
            var inFlight = 0
            let outcome = try await outcome {
                try await replica.takeIn([capture.instance], upTo: watermark)
                let (difference, changed) = try await compare(capture, asOf: watermark)
                inFlight = changed
                return difference
            }
            findings.append(
                Finding(subject: .source(table: capture.table, asOf: watermark, inFlight: inFlight), outcome: outcome))
        }
        // What was staged of one that is refused now is shown, and followed by nobody.
        let watermarks = try await store.watermarks(source: sourceName)
        for refused in refused {
            guard let watermark = watermarks[refused.instance]?.lastIngestedLSN, watermark > .zero else { continue }
            findings.append(
                Finding(
                    subject: .source(table: refused.instance, asOf: watermark, inFlight: 0),
                    outcome: .failed("\(refused.reason)")))
        }
        return findings
    }

    /// How the staged state differs from the source table, and how many keys changed since and were left out.
    private func compare(_ capture: Capture, asOf watermark: LSN) async throws -> (ProjectionDifference, Int) {
        // The order matters: rows first, then the log's end, so that whatever the rows show beyond the
        // watermark is among the changes read after.
        let rows = try await source.rows(of: capture, limits: .standard)
        let table = ProjectionTable(projection: capture.table, columns: capture.columns, key: capture.key)
        let session = try await replica.makeSession(name: "verify \(capture.table)")
        try await session.run { connection in
            try connection.execute(ReplicaTables(capture).keepState(asOf: watermark, as: "staged"))
            try connection.createTable(
                ProjectionDifference.actual, columns: capture.columns, filledFrom: rows)
        }
        let bounds = try await source.bounds()
        if let trouble = bounds.captures[capture.instance]?.trouble(of: capture.instance, at: watermark) {
            throw trouble
        }
        let end = bounds.maxLSN
        let later = try await source.changes(
            of: capture, in: LSNWindow(after: watermark, through: max(watermark, end)), expecting: [],
            limits: .standard)
        return try await session.run { connection in
            let key = SQLText.list(capture.key)
            let (staged, changed) = (SQLText.temporary("staged"), SQLText.temporary("changed_since"))
            let (expected, actual) = (
                SQLText.temporary("expected"), SQLText.temporary(ProjectionDifference.actual)
            )
            try connection.createTable(
                "changed_since", columns: table.keyColumns, filledFrom: KeyReader(later, capture))
            try connection.execute(
                """
                CREATE TEMP TABLE \(expected) AS SELECT * FROM \(staged) ANTI JOIN \(changed) USING (\(key));
                CREATE OR REPLACE TEMP TABLE \(actual) AS SELECT * FROM \(actual) ANTI JOIN \(changed) USING (\(key));
                """)
            let inFlight =
                try connection.scalar("SELECT count(*) FROM (SELECT DISTINCT * FROM \(changed))").int64 ?? 0
            let difference = try ProjectionDifference(
                connection, table: table, expected: expected, sample: Self.sampleSize)
            return (difference, Int(inFlight))
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
