import ContractTests
import Synchronization
import Tidemark

/// A serving store with something happening just before, and what is asked of it noted.
final class InterceptingStore: ServingStore {
    private let base: any ServingStore
    /// Before a commit or a build reaches the database.
    let beforeCommit: @Sendable (ProjectionCommit, [ProjectionChange]) async throws -> Void
    let beforeBuild: @Sendable (ProjectionBuild) async throws -> Void
    /// After an ingest was committed, before its answer.
    let afterIngest: @Sendable () async throws -> Void
    let leaseRequests = Mutex(0)
    /// Whether the database is away: whoever asks for watermarks or projections learns so.
    let isAway = Mutex(false)
    let stagedReads = Mutex<[LSNWindow]>([])

    init(
        _ base: any ServingStore,
        beforeCommit: @escaping @Sendable (ProjectionCommit, [ProjectionChange]) async throws -> Void = { _, _ in },
        beforeBuild: @escaping @Sendable (ProjectionBuild) async throws -> Void = { _ in },
        afterIngest: @escaping @Sendable () async throws -> Void = {}
    ) {
        self.base = base
        self.beforeCommit = beforeCommit
        self.beforeBuild = beforeBuild
        self.afterIngest = afterIngest
    }

    func bootstrap() async throws { try await base.bootstrap() }
    func schemaVersion() async throws -> Int? { try await base.schemaVersion() }
    func servingID() async throws -> String { try await base.servingID() }

    func acquireLease() async throws -> (any PipelineLease)? {
        leaseRequests.withLock { $0 += 1 }
        return try await base.acquireLease()
    }

    func source(_ name: String) async throws -> SourceRecord? { try await base.source(name) }
    func recordSource(_ name: String, identity: SourceIdentity, mismatch: String?) async throws {
        try await base.recordSource(name, identity: identity, mismatch: mismatch)
    }
    func startOver(source: String, identity: SourceIdentity) async throws {
        try await base.startOver(source: source, identity: identity)
    }
    func requestResync(source: String, capture: String?) async throws -> Bool {
        try await base.requestResync(source: source, capture: capture)
    }

    func prepareStaging(for capture: Capture, source: String) async throws {
        try await base.prepareStaging(for: capture, source: source)
    }

    func stageSnapshot(
        of capture: Capture, source: String, after watermark: LSN, from changes: any BlockReader<ChangeBatch>
    ) async throws -> StagedSnapshot {
        try await base.stageSnapshot(of: capture, source: source, after: watermark, from: changes)
    }

    func watermarks(source: String) async throws -> [String: Watermark] {
        try requirePresence()
        return try await base.watermarks(source: source)
    }

    private func requirePresence() throws {
        if isAway.withLock({ $0 }) { throw TidemarkError.transient("the serving database is away") }
    }

    func ingest(
        _ capture: Capture, source: String, window: LSNWindow, commitTime: Timestamp?, snapshot: StagedSnapshot?,
        from reader: any BlockReader<ChangeBatch>
    ) async throws -> Int {
        let rows = try await base.ingest(
            capture, source: source, window: window, commitTime: commitTime, snapshot: snapshot, from: reader)
        try await afterIngest()
        return rows
    }

    func advance(_ moves: [WatermarkMove], source: String, commitTime: Timestamp?) async throws {
        try await base.advance(moves, source: source, commitTime: commitTime)
    }

    func recordError(_ message: String, capture: String, source: String) async throws {
        try await base.recordError(message, capture: capture, source: source)
    }

    func staged(_ capture: Capture, in window: LSNWindow, limits: BlockLimits) async throws -> any BlockReader<
        ChangeBatch
    > {
        stagedReads.withLock { $0.append(window) }
        return try await base.staged(capture, in: window, limits: limits)
    }

    func projection(_ name: String) async throws -> ProjectionState? {
        try requirePresence()
        return try await base.projection(name)
    }
    func projections() async throws -> [String: ProjectionState] { try await base.projections() }

    func commit(_ commit: ProjectionCommit, changes: any BlockReader<ProjectionChange>) async throws -> Int {
        let gathered = try await BlockPool(most: .max, total: .max).gather(from: changes)
        try await beforeCommit(commit, gathered.blocks)
        return try await base.commit(commit, changes: ListReader(gathered.blocks))
    }

    func build(_ build: ProjectionBuild, rows: any BlockReader<RowBatch>) async throws -> Int {
        try await beforeBuild(build)
        return try await base.build(build, rows: rows)
    }

    func recordError(_ message: String, projection: String) async throws {
        try await base.recordError(message, projection: projection)
    }

    func requestRebuild(projection: String) async throws { try await base.requestRebuild(projection: projection) }

    func readProjection(_ name: String, columns: [Column], limits: BlockLimits) async throws
        -> (ProjectionState, any BlockReader<RowBatch>)
    {
        try await base.readProjection(name, columns: columns, limits: limits)
    }
}
