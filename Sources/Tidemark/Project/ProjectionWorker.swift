public import Logging

/// Keeps one projection in step with the watermarks (design section 6).
///
/// A value without state of its own: the checkpoint lives in the serving database, and every step reads it there.
public struct ProjectionWorker: Sendable {
    /// What a step wrote.
    public struct Step: Sendable, Equatable {
        /// The LSN the table is now true at.
        public var asOf: LSN
        public var asOfTime: Timestamp?
        /// Rows written: inserted, changed and deleted.
        public var rows: Int
        /// Why the table was built in full; `nil` when the step was incremental.
        public var buildReason: ProjectionDecision.BuildReason?
    }

    public let projection: any PreparedProjection
    let engine: any ComputeEngine
    let store: any ServingStore
    let logger: Logger

    /// - Parameters:
    ///   - projection: one that `engine` has prepared.
    public init(
        projection: any PreparedProjection, engine: any ComputeEngine, store: any ServingStore, logger: Logger
    ) {
        self.projection = projection
        self.engine = engine
        self.store = store
        self.logger = logger
    }

    private var plan: ProjectionPlan { projection.plan }

    /// Tells the engine how far this projection has come, so that it keeps what the next step needs: the state
    /// at the checkpoint, or at the cutoff when the table is to be built.
    ///
    /// Call it for all workers before the first step of any.
    public func retain(watermarks: [String: Watermark]) async throws {
        let state = try await store.projection(plan.definition.name)
        let cutoff = ProjectionDecision.cutoff(of: plan.instances, watermarks: watermarks)?.lsn ?? .zero
        let isBuilt = state?.definitionHash == plan.definitionHash && state?.status != .initial
        let checkpoint = isBuilt ? state?.checkpoints.values.min() : nil
        await retain(from: checkpoint ?? cutoff)
    }

    private func retain(from lsn: LSN) async {
        await engine.retain(plan.definition.name, captures: plan.instances, from: lsn)
    }

    private func release(before lsn: LSN) async throws {
        try await engine.release(plan.definition.name, captures: plan.instances, before: lsn)
    }

    /// Whether somebody wants the table to be built anew.
    func isRebuildAsked() async throws -> Bool {
        try await store.projection(plan.definition.name)?.status == .initial
    }

    /// Brings the table up to the cutoff of `watermarks`; `nil` when it is there already.
    ///
    /// - Throws: `TidemarkError.projection` for a wrong definition or result, `.conflict` when another
    ///   pipeline moved the checkpoint, or what the databases threw. The table is as it was then.
    public func step(watermarks: [String: Watermark]) async throws -> Step? {
        var attempts = 0
        while true {
            do {
                return try await attempt(watermarks: watermarks)
            } catch let error as ComputeEngineError {
                attempts += 1
                guard attempts < Self.attempts else { throw error }
                switch error {
                case .moved:
                    break
                case .damaged:
                    logger.warning(
                        "the replica is damaged and is rebuilt from staging", metadata: ["error": "\(error)"])
                    try await engine.startOver(plan.instances)
                case .stepTooLarge:
                    throw error
                }
            }
        }
    }

    /// How often a step is tried: again when the engine let go of what it needed, which takes another worker's
    /// release between the step's decision and its claim, and when what is loaded was damaged.
    private static let attempts = 3

    private func attempt(watermarks: [String: Watermark]) async throws -> Step? {
        let name = plan.definition.name
        guard let cutoff = ProjectionDecision.cutoff(of: plan.instances, watermarks: watermarks) else { return nil }
        let state = try await store.projection(name)
        let replicaBase = await engine.oldestLSN(of: plan.instances)
        let decision = ProjectionDecision.next(
            name: name, state: state, definitionHash: plan.definitionHash, captures: plan.instances,
            cutoff: cutoff.lsn,
            completeFrom: ProjectionDecision.completeFrom(of: plan.instances, watermarks: watermarks),
            replicaBase: replicaBase,
            furthest: ProjectionDecision.furthest(of: plan.instances, watermarks: watermarks))

        switch decision {
        case .idle:
            return nil
        case .confirm(let at):
            try await store.commit(commit(from: at, to: at, asOfTime: cutoff.commitTime))
            return nil
        case .wait(let lsn):
            let reason = ProjectionWait.reason(
                name: name, state: state, definitionHash: plan.definitionHash, captures: plan.instances,
                watermarks: watermarks, replicaBase: replicaBase)
            logger.debug(
                "waiting for the cutoff to reach what can be shown",
                metadata: ["lsn": "\(lsn)", "because": "\(reason.map { "\($0)" } ?? "")"])
            return nil
        case .stop(let error):
            throw error
        case .advance(let from, let to):
            await retain(from: from)
            try await engine.load(plan.instances, upTo: to)
            let rows: Int
            do {
                rows = try await advance(from: from, to: to, asOfTime: cutoff.commitTime)
            } catch ComputeEngineError.stepTooLarge(let error) {
                logger.warning("a step takes more memory than there is", metadata: ["error": "\(error)"])
                return try await build(asOf: to, asOfTime: cutoff.commitTime, replacing: state, because: .stepTooLarge)
            }
            try await release(before: to)
            return Step(asOf: to, asOfTime: cutoff.commitTime, rows: rows)
        case .build(let asOf, let reason):
            return try await build(asOf: asOf, asOfTime: cutoff.commitTime, replacing: state, because: reason)
        }
    }

    private func advance(from: LSN, to: LSN, asOfTime: Timestamp?) async throws -> Int {
        try await BlockChannel.pipe { [projection] in
            try await projection.changes(from: from, to: to, to: $0)
        } to: { changes in
            try await store.commit(commit(from: from, to: to, asOfTime: asOfTime), changes: changes)
        }
    }

    private func build(
        asOf: LSN, asOfTime: Timestamp?, replacing state: ProjectionState?,
        because reason: ProjectionDecision.BuildReason
    ) async throws -> Step {
        logger.info("building in full", metadata: ["because": "\(reason.rawValue)", "as_of_lsn": "\(asOf)"])
        await retain(from: asOf)
        try await engine.load(plan.instances, upTo: asOf)
        let rows = try await build(asOf: asOf, asOfTime: asOfTime, replacing: state)
        try await release(before: asOf)
        return Step(asOf: asOf, asOfTime: asOfTime, rows: rows, buildReason: reason)
    }

    private func commit(from: LSN, to: LSN, asOfTime: Timestamp?) -> ProjectionCommit {
        ProjectionCommit(
            table: plan.table, from: from, to: to, asOfTime: asOfTime, captures: plan.instances.sorted(),
            definitionHash: plan.definitionHash)
    }

    private func build(asOf: LSN, asOfTime: Timestamp?, replacing state: ProjectionState?) async throws -> Int {
        let build = ProjectionBuild(
            table: plan.table, replacing: state, asOf: asOf, asOfTime: asOfTime,
            captures: plan.instances.sorted(), definitionHash: plan.definitionHash)
        return try await BlockChannel.pipe { [projection] in
            try await projection.rows(asOf: asOf, to: $0)
        } to: { rows in
            try await store.build(build, rows: rows)
        }
    }
}
