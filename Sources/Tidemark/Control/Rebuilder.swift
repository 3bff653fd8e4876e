public import Logging

/// Builds a projection anew, readers undisturbed: by asking the pipeline that runs, or here when none does.
public struct Rebuilder: Sendable {
    /// How a rebuild ended.
    public enum Outcome: Sendable, Equatable {
        /// It was made here, as of what is staged; so many rows.
        case built(rows: Int)
        /// The running pipeline has made it.
        case builtByPipeline(asOf: LSN)
        /// The running pipeline has not made it in time. The request stands.
        case timedOut
    }

    /// What happens while it lasts.
    public enum Progress: Sendable, Equatable {
        /// A pipeline runs, and is asked.
        case asked
        /// The pipeline is gone, and the table is built here.
        case takenOver
    }

    /// Pause between two looks at what the running pipeline has done.
    private static let lookInterval: Duration = .milliseconds(100)

    private let source: any ChangeSource
    private let store: any ServingStore
    private let sourceName: String
    private let openEngine: EngineFactory
    private let logger: Logger

    /// - Parameter engine: opens the engine a pipeline on `store` would use, with what it keeps.
    public init(
        source: any ChangeSource, store: any ServingStore, sourceName: String, engine: @escaping EngineFactory,
        logger: Logger
    ) {
        self.source = source
        self.store = store
        self.sourceName = sourceName
        openEngine = engine
        self.logger = logger
    }

    /// Builds the projection anew.
    ///
    /// - Parameters:
    ///   - timeout: how long to wait for a running pipeline.
    ///   - tell: called before the wait, and before the work is taken over.
    /// - Throws: `TidemarkError.projection` for what the running pipeline said against it, or what a build throws.
    public func rebuild(_ definition: ProjectionDefinition, timeout: Duration, tell: (Progress) -> Void) async throws
        -> Outcome
    {
        let name = definition.name
        let before = try await store.projection(name)
        try await store.requestRebuild(projection: name)
        let deadline = ContinuousClock.now + timeout
        var isWaiting = false
        while ContinuousClock.now < deadline {
            // Free when no pipeline runs, also when one ends meanwhile.
            if let lease = try await store.acquireLease() {
                defer { lease.release() }
                if isWaiting { tell(.takenOver) }
                return .built(rows: try await build(definition))
            }
            if !isWaiting {
                tell(.asked)
                isWaiting = true
            }
            try await Task.sleep(for: Self.lookInterval)
            if let state = try await rebuilt(name, since: before?.builtAt) {
                return .builtByPipeline(asOf: state.asOfLSN ?? .zero)
            }
        }
        return .timedOut
    }

    /// The projection's state when the running pipeline has built it anew; `nil` while it has not.
    private func rebuilt(_ name: String, since builtBefore: Timestamp?) async throws -> ProjectionState? {
        guard let state = try await store.projection(name) else { return nil }
        if state.status == .error {
            throw TidemarkError.projection(name: name, reason: state.lastError ?? "the rebuild failed")
        }
        return state.status == .ok && state.builtAt != builtBefore ? state : nil
    }

    private func build(_ definition: ProjectionDefinition) async throws -> Int {
        let watermarks = try await store.watermarks(source: sourceName)
        let catalog = try await source.catalog().carried
        let engine = try await openEngine(
            catalog.captures, watermarks, try await store.source(sourceName)?.epoch ?? 0)
        do {
            let rows = try await build(definition, on: engine, refused: catalog.refused, watermarks: watermarks)
            await engine.close()
            return rows
        } catch {
            await engine.close()
            throw error
        }
    }

    private func build(
        _ definition: ProjectionDefinition, on engine: any ComputeEngine, refused: [RefusedCapture],
        watermarks: [String: Watermark]
    ) async throws -> Int {
        // The engine keeps what the other projections need for their next step.
        for (name, state) in try await store.projections() {
            guard let checkpoint = state.checkpoints.values.min() else { continue }
            await engine.retain(name, captures: Set(state.checkpoints.keys), from: checkpoint)
        }
        let projection = try await engine.prepare(definition, refused: refused + engine.refused)
        let worker = ProjectionWorker(projection: projection, engine: engine, store: store, logger: logger)
        guard let step = try await worker.step(watermarks: watermarks) else {
            throw TidemarkError.unavailable(
                "projection \(definition.name): nothing is staged yet; start `tidemark run` first")
        }
        return step.rows
    }
}
