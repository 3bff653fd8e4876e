/// Checks what the serving database shows against what it was made from, on a path of its own: an empty
/// engine, loaded from staging, every query evaluated in full.
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
    private let engine: any ComputeEngine

    /// - Parameter engine: opens an engine that keeps nothing: one with a pipeline's state would be checked against itself.
    public init(
        source: any ChangeSource, store: any ServingStore, sourceName: String, engine open: EngineFactory
    ) async throws {
        self.source = source
        self.store = store
        self.sourceName = sourceName
        let catalog = try await source.catalog().carried
        engine = try await open(catalog.captures, try await store.watermarks(source: sourceName), 0)
        captures = engine.captures
        refused = catalog.refused + engine.refused
    }

    /// Checks projections as of where each stands now.
    ///
    /// One that cannot be compared does not keep the others from being.
    ///
    /// - Throws: `TidemarkError.unavailable` for one that was never built, or whose definition is not the one its table
    ///   was built with; `.projection` for one that is wrong.
    public func projections(_ definitions: [ProjectionDefinition]) async throws -> [Finding] {
        var prepared: [any PreparedProjection] = []
        for definition in definitions {
            let projection = try await engine.prepare(definition, refused: refused)
            guard let state = try await store.projection(definition.name), let asOf = state.asOfLSN else {
                throw TidemarkError.unavailable(
                    """
                    projection \(definition.name) has not been built yet; start `tidemark run`, or see `tidemark status` \
                    for what keeps it from being built
                    """)
            }
            guard state.definitionHash == projection.plan.definitionHash else {
                throw TidemarkError.unavailable(
                    """
                    the definition of projection \(definition.name) changed since its table was built; `tidemark run` builds \
                    it anew at its next start, or run `tidemark rebuild \(definition.name)`
                    """)
            }
            // A projection can only move forward, so its state stays showable whatever is loaded first.
            await engine.retain(definition.name, captures: projection.plan.instances, from: asOf)
            prepared.append(projection)
        }
        var findings: [Finding] = []
        for projection in prepared {
            let plan = projection.plan
            let name = plan.definition.name
            var checked = try await store.projection(name)?.asOfLSN ?? .zero
            let outcome = try await outcome {
                let (state, rows) = try await store.readProjection(
                    name, columns: plan.table.columns, limits: .standard)
                checked = state.asOfLSN ?? checked
                try await engine.load(plan.instances, upTo: checked)
                return try await projection.differences(asOf: checked, from: rows, sample: Self.sampleSize)
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
                try await engine.load([capture.instance], upTo: watermark)
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
        let comparison = try await engine.comparison(of: capture, with: rows)
        let bounds = try await source.bounds()
        if let trouble = bounds.captures[capture.instance]?.trouble(of: capture.instance, at: watermark) {
            throw trouble
        }
        let end = bounds.maxLSN
        let later = try await source.changes(
            of: capture, in: LSNWindow(after: watermark, through: max(watermark, end)), expecting: [],
            limits: .standard)
        return try await comparison.differences(
            asOf: watermark, leavingOut: KeyReader(later, capture), sample: Self.sampleSize)
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
