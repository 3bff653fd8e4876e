import DuckDB
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

    public let engine: ProjectionEngine
    let replica: Replica
    let store: any ServingStore
    let logger: Logger

    public init(engine: ProjectionEngine, replica: Replica, store: any ServingStore, logger: Logger) {
        self.engine = engine
        self.replica = replica
        self.store = store
        self.logger = logger
    }

    /// Tells the replica how far this projection has come, so that it keeps what the next step needs: the state
    /// at the checkpoint, or at the cutoff when the table is to be built.
    ///
    /// Call it for all workers before the first step of any.
    public func pin(watermarks: [String: Watermark]) async throws {
        let state = try await store.projection(engine.definition.name)
        let cutoff = ProjectionDecision.cutoff(of: engine.instances, watermarks: watermarks)?.lsn ?? .zero
        let isBuilt = state?.definitionHash == engine.definitionHash && state?.status != .initial
        let checkpoint = isBuilt ? state?.checkpoints.values.min() : nil
        await pin(at: checkpoint ?? cutoff)
    }

    private func pin(at lsn: LSN) async {
        await replica.pin(engine.definition.name, captures: engine.instances, at: lsn)
    }

    /// Whether somebody wants the table to be built anew.
    func isRebuildAsked() async throws -> Bool {
        try await store.projection(engine.definition.name)?.status == .initial
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
            } catch let error as ReplicaMoved {
                attempts += 1
                guard attempts < Self.attempts else { throw error }
            } catch let error as DuckDBError where error.kind == .corruption {
                attempts += 1
                guard attempts < Self.attempts else { throw error }
                logger.warning("the replica is damaged and is rebuilt from staging", metadata: ["error": "\(error)"])
                try await replica.startOver(engine.instances)
            }
        }
    }

    /// How often a step is tried: again when the replica was folded past what it needed, which takes another worker's
    /// fold between the step's decision and its pin, and when the replica was damaged.
    private static let attempts = 3

    private func attempt(watermarks: [String: Watermark]) async throws -> Step? {
        let name = engine.definition.name
        guard let cutoff = ProjectionDecision.cutoff(of: engine.instances, watermarks: watermarks) else { return nil }
        let state = try await store.projection(name)
        let replicaBase = await replica.baseLSN(of: engine.instances)
        let decision = ProjectionDecision.next(
            name: name, state: state, definitionHash: engine.definitionHash, captures: engine.instances,
            cutoff: cutoff.lsn,
            completeFrom: ProjectionDecision.completeFrom(of: engine.instances, watermarks: watermarks),
            replicaBase: replicaBase,
            furthest: ProjectionDecision.furthest(of: engine.instances, watermarks: watermarks))

        switch decision {
        case .idle:
            return nil
        case .confirm(let at):
            try await store.commit(commit(from: at, to: at, asOfTime: cutoff.commitTime))
            return nil
        case .wait(let lsn):
            let reason = ProjectionWait.reason(
                name: name, state: state, definitionHash: engine.definitionHash, captures: engine.instances,
                watermarks: watermarks, replicaBase: replicaBase)
            logger.debug(
                "waiting for the cutoff to reach what can be shown",
                metadata: ["lsn": "\(lsn)", "because": "\(reason.map { "\($0)" } ?? "")"])
            return nil
        case .stop(let error):
            throw error
        case .advance(let from, let to):
            await pin(at: from)
            try await replica.takeIn(engine.instances, upTo: to)
            let rows: Int
            do {
                rows = try await advance(from: from, to: to, asOfTime: cutoff.commitTime)
            } catch let error as StepTooLarge {
                logger.warning("a step takes more memory than there is", metadata: ["error": "\(error)"])
                return try await build(asOf: to, asOfTime: cutoff.commitTime, replacing: state, because: .stepTooLarge)
            }
            await pin(at: to)
            try await replica.foldIfDue()
            return Step(asOf: to, asOfTime: cutoff.commitTime, rows: rows)
        case .build(let asOf, let reason):
            return try await build(asOf: asOf, asOfTime: cutoff.commitTime, replacing: state, because: reason)
        }
    }

    private func advance(from: LSN, to: LSN, asOfTime: Timestamp?) async throws -> Int {
        try await BlockChannel.pipe { [engine] in
            try await engine.changes(from: from, to: to, to: $0)
        } to: { changes in
            try await store.commit(commit(from: from, to: to, asOfTime: asOfTime), changes: changes)
        }
    }

    private func build(
        asOf: LSN, asOfTime: Timestamp?, replacing state: ProjectionState?,
        because reason: ProjectionDecision.BuildReason
    ) async throws -> Step {
        logger.info("building in full", metadata: ["because": "\(reason.rawValue)", "as_of_lsn": "\(asOf)"])
        await pin(at: asOf)
        try await replica.takeIn(engine.instances, upTo: asOf)
        let rows = try await build(asOf: asOf, asOfTime: asOfTime, replacing: state)
        try await replica.foldIfDue()
        return Step(asOf: asOf, asOfTime: asOfTime, rows: rows, buildReason: reason)
    }

    private func commit(from: LSN, to: LSN, asOfTime: Timestamp?) -> ProjectionCommit {
        ProjectionCommit(
            table: engine.table, from: from, to: to, asOfTime: asOfTime, captures: engine.instances.sorted(),
            definitionHash: engine.definitionHash)
    }

    private func build(asOf: LSN, asOfTime: Timestamp?, replacing state: ProjectionState?) async throws -> Int {
        let build = ProjectionBuild(
            table: engine.table, replacing: state, asOf: asOf, asOfTime: asOfTime,
            captures: engine.instances.sorted(), definitionHash: engine.definitionHash)
        return try await BlockChannel.pipe { [engine] in
            try await engine.rows(asOf: asOf, to: $0)
        } to: { rows in
            try await store.build(build, rows: rows)
        }
    }
}
