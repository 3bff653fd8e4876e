public import Foundation
public import Logging
import Synchronization

/// The service: one ingestor per capture, one worker per projection, until told to stop.
///
/// Each loop fails on its own: an error is logged, recorded in `ctl_*`, and tried again after a pause, while
/// the others go on. Only a compare-and-swap that fails ends the pipeline, because it means that another one
/// writes to the same serving database.
public final class Pipeline: Sendable {
    /// What the pipeline runs with.
    public struct Options: Sendable {
        /// First part of a watermark's key.
        public var sourceName = "source1"
        /// Pause between two looks at the source's log. An idle look is one cheap query.
        public var pollInterval: Duration = .milliseconds(200)
        /// Pause between two looks whether the source's own jobs run: some small queries.
        public var troubleInterval: Duration = .seconds(30)
        /// Changes in a window at most, but for one transaction larger than that.
        public var batchMaxRows = 50_000
        /// What happens when changes may have been purged before they were read.
        public var onGap = GapPolicy.stop
        /// Shortest time between two runs of a projection that names none of its own.
        public var projectionInterval: Duration = .milliseconds(200)
        /// Where the replica lives; `nil` keeps it in memory.
        public var stateDirectory: URL?
        /// DuckDB's `memory_limit`.
        public var memoryLimit = "1GB"

        public init() {}
    }

    /// How often workers look for rebuild requests, and for what another process may have ingested.
    private static let heartbeat: Duration = .seconds(1)
    /// How often a standby asks for the lease.
    private static let leaseInterval: Duration = .milliseconds(500)
    /// How often the source's upkeep gets a chance.
    private static let maintenanceInterval: Duration = .seconds(60)

    private let source: any ChangeSource
    private let store: any ServingStore
    private let definitions: [ProjectionDefinition]
    private let options: Options
    private let logger: Logger
    private let observe: @Sendable (PipelineEvent) -> Void
    private let control = Mutex(Control())
    private let standing = Mutex(CaptureStanding())
    /// The captures that are left out.
    private let refusals = Mutex<[RefusedCapture]>([])
    private let history: SourceHistory

    private struct Control {
        var isStopped = false
        var loops: Task<Void, any Error>?
    }

    /// - Parameters:
    ///   - definitions: the enabled projections.
    ///   - observe: told of every commit and failure, on the loop that had it; must be quick.
    public init(
        source: any ChangeSource, store: any ServingStore, definitions: [ProjectionDefinition], options: Options,
        logger: Logger, observe: @escaping @Sendable (PipelineEvent) -> Void = { _ in }
    ) {
        self.source = source
        self.store = store
        self.definitions = definitions
        self.options = options
        self.logger = logger
        self.observe = observe
        history = SourceHistory(
            name: options.sourceName, source: source, store: store, onMismatch: options.onGap, logger: logger)
    }

    /// Runs until `stop()`.
    ///
    /// - Throws: `TidemarkError.conflict` when another pipeline writes to the serving database, and what
    ///   goes wrong before the loops start.
    public func run() async throws {
        let loops = Task { try await self.work() }
        let isStopped = control.withLock { control in
            control.loops = loops
            return control.isStopped
        }
        if isStopped { loops.cancel() }
        do {
            try await withTaskCancellationHandler {
                try await loops.value
            } onCancel: {
                loops.cancel()
            }
        } catch is CancellationError {
            logger.info("stopped")
        }
    }

    /// Lets every loop finish the transaction it is in, and ends. Safe to call at any time, from any thread.
    public func stop() {
        let loops = control.withLock { control in
            control.isStopped = true
            return control.loops
        }
        loops?.cancel()
    }

    private func work() async throws {
        let lease = try await waitForLease()
        defer { lease.release() }
        // Only now: the tables may have been migrated while this pipeline waited for the lease.
        try await patiently { try ControlSchema.requireCurrent(try await self.store.schemaVersion()) }
        while true {
            do {
                try await follow()
                return
            } catch is HistoryBegunAnew {
                // All that was made from the former history is void: replica, ingestors and workers.
            }
        }
    }

    /// Follows one history of the source.
    ///
    /// - Throws: `HistoryBegunAnew` when another one has begun.
    private func follow() async throws {
        let prepared = try await patiently { try await self.prepareCaptures() }
        let epoch = try await patiently { try await self.checkHistory() }
        let watermarks = Watch(
            try await patiently { try await self.store.watermarks(source: self.options.sourceName) })
        // Before the source's upkeep may purge anything that has not been read.
        try await patiently { try await self.acknowledge(prepared, watermarks.value) }
        let replica = try await patiently {
            try await Replica(
                directory: self.options.stateDirectory, memoryLimit: self.options.memoryLimit, captures: prepared,
                store: self.store, watermarks: watermarks.value, epoch: epoch, logger: self.logger)
        }
        for refused in replica.refused { await refuse(refused) }
        let captures = prepared.filter { replica.captures[$0.instance] != nil }
        let workers = try await patiently {
            try await self.prepareWorkers(captures: captures, replica: replica, watermarks: watermarks.value)
        }
        let bounds = Watch<SourceBounds?>(nil)
        for (instance, watermark) in watermarks.value where watermark.status == .error {
            standing.withLock { $0.shown(as: .capture, by: instance) }
        }
        logger.info(
            "running",
            metadata: [
                "captures": "\(captures.map(\.instance).joined(separator: ","))",
                "projections": "\(workers.map(\.engine.definition.name).joined(separator: ","))",
            ])

        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.poll(into: bounds, captures: captures, watermarks: watermarks) }
            group.addTask { try await self.maintain(captures, watermarks: watermarks) }
            group.addTask { try await self.watchSource(captures) }
            group.addTask {
                while true {
                    try await Task.sleep(for: Self.heartbeat)
                    try await self.lookForRequests(watermarks)
                }
            }
            for capture in captures {
                let ingestor = Ingestor(
                    capture: capture, sourceName: options.sourceName, source: source, store: store,
                    maxRows: options.batchMaxRows, limits: .shared(among: captures.count), replica: replica,
                    onGap: options.onGap, logger: logger)
                group.addTask { try await self.ingest(ingestor, bounds: bounds, watermarks: watermarks) }
            }
            for worker in workers {
                group.addTask { try await self.project(worker, watermarks: watermarks) }
            }
            // The first loop to throw ends them all (`waitForAll` would wait for the others first); they end
            // otherwise only by cancellation.
            while try await group.next() != nil {}
        }
        try Task.checkCancellation()
    }

    // MARK: Start

    private func waitForLease() async throws -> any PipelineLease {
        var isWaiting = false
        while true {
            if let lease = try await patiently({ try await self.store.acquireLease() }) {
                if isWaiting { logger.info("the other pipeline is gone; taking over") }
                return lease
            }
            if !isWaiting {
                logger.warning("another pipeline works on this serving database; waiting for it to end")
                isWaiting = true
            }
            try await Task.sleep(for: Self.leaseInterval)
        }
    }

    private func patiently<Result>(_ step: () async throws -> Result) async throws -> Result {
        try await Backoff.patiently(logger: logger, step)
    }

    /// The captures whose staging is in order. One that is not is recorded as failed, and left out, as is one that the
    /// source refuses.
    private func prepareCaptures() async throws -> [Capture] {
        let catalog = try await source.catalog().carried
        for warning in catalog.warnings { logger.warning("\(warning)") }
        refusals.withLock { $0 = [] }
        for refused in catalog.refused { await refuse(refused) }
        var ready: [Capture] = []
        for capture in catalog.captures {
            do {
                let name = ReservedName.folded(capture.table)
                if let other = ready.first(where: { ReservedName.folded($0.table) == name }) {
                    throw TidemarkError.schema(
                        """
                        captures \(other.instance) and \(capture.instance) are both of a table named \(capture.table), and would \
                        share the staging table \(capture.stagingTable); disable CDC on one of them
                        """)
                }
                try await store.prepareStaging(for: capture, source: options.sourceName)
                ready.append(capture)
            } catch let error as TidemarkError where !error.isTransient && !error.isConflict {
                // A setting that is wrong is wrong for all of them.
                if case .configuration = error { throw error }
                await refuse(RefusedCapture(instance: capture.instance, table: capture.table, reason: error))
            }
        }
        return ready
    }

    /// Leaves a capture out, and keeps the reason for the projections that read it.
    private func refuse(_ capture: RefusedCapture) async {
        refusals.withLock { $0.append(capture) }
        await report(capture.reason, capture: capture.instance)
    }

    /// The projections whose definitions are in order. One that is not is recorded as failed, and left out.
    private func prepareWorkers(
        captures: [Capture], replica: Replica, watermarks: [String: Watermark]
    ) async throws -> [ProjectionWorker] {
        var workers: [ProjectionWorker] = []
        for definition in definitions {
            do {
                let session = try await replica.makeSession(name: definition.name)
                let engine = try await ProjectionEngine(
                    definition: definition, captures: captures, refused: refusals.withLock { $0 }, session: session)
                var logger = logger
                logger[metadataKey: "projection"] = "\(definition.name)"
                let worker = ProjectionWorker(engine: engine, replica: replica, store: store, logger: logger)
                try await worker.pin(watermarks: watermarks)
                workers.append(worker)
            } catch let error as TidemarkError where !error.isTransient && !error.isConflict {
                await report(error, projection: definition.name)
            }
        }
        return workers
    }

    // MARK: History

    /// Compares the source with what was read from it before.
    ///
    /// - Returns: the epoch of the history that is followed.
    private func checkHistory() async throws -> Int {
        try await history.refresh()
        let watermarks = try await store.watermarks(source: options.sourceName)
        switch try await history.look(watermarks: watermarks) {
        case .trusted: break
        case .refused: standing.withLock { _ = $0.ailments.insert(.otherHistory) }
        case .begunAnew: throw HistoryBegunAnew()
        }
        return history.epoch
    }

    /// Tells the source how far this pipeline has read; nothing to one that is not the source that was read.
    private func acknowledge(_ captures: [Capture], _ watermarks: [String: Watermark]) async throws {
        guard standing.withLock({ !$0.ailments.contains(.otherHistory) }) else { return }
        let lsns = captures.map { ($0.instance, watermarks[$0.instance]?.lastIngestedLSN ?? .zero) }
        try await source.acknowledge(
            SourceReader(
                id: try await store.servingID(), watermarks: Dictionary(lsns, uniquingKeysWith: { first, _ in first })))
    }

    /// Takes up what other processes have asked for, and wakes the projections for it.
    private func lookForRequests(_ watermarks: Watch<[String: Watermark]>) async throws {
        do {
            try await history.refresh()
            let present = try await store.watermarks(source: options.sourceName)
            watermarks.update { known in
                // Where the watermark has moved since, the request may have been met.
                for (instance, watermark) in present
                where known[instance]?.lastIngestedLSN == watermark.lastIngestedLSN {
                    known[instance]?.isResyncRequested = watermark.isResyncRequested
                }
            }
        } catch let error as TidemarkError where error.isConflict {
            throw error
        } catch {
            // What keeps the serving database from answering is the other loops' to tell.
            try Task.checkCancellation()
            logger.debug("requests could not be looked for", metadata: ["error": "\(error)"])
        }
    }

    // MARK: Loops

    private func poll(
        into bounds: Watch<SourceBounds?>, captures: [Capture], watermarks: Watch<[String: Watermark]>
    ) async throws {
        var backoff = Backoff()
        while true {
            if backoff.isOver(at: .now) {
                do {
                    let look = try await history.look(watermarks: watermarks.value)
                    if backoff.succeeded() {
                        logger.info("the source answers again")
                        standing.withLock { _ = $0.ailments.remove(.unreachable) }
                    }
                    switch look {
                    case .trusted(let latest):
                        standing.withLock { _ = $0.ailments.remove(.otherHistory) }
                        observe(.polled(latest))
                        bounds.set(latest)
                    case .begunAnew:
                        throw HistoryBegunAnew()
                    case .refused:
                        standing.withLock { standing in
                            standing.ailments.insert(.otherHistory)
                            for capture in captures where standing.failures[capture.instance] == nil {
                                standing.shown(as: .otherHistory, by: capture.instance)
                            }
                        }
                    }
                } catch let error as HistoryBegunAnew {
                    throw error
                } catch let error as TidemarkError where error.isConflict {
                    throw error
                } catch {
                    try Task.checkCancellation()
                    switch backoff.failed(with: error, at: .now) {
                    case .nothing: break
                    case .warn: logger.warning("trying again", metadata: ["error": "\(error)"])
                    case .record:
                        logger.error("the source does not answer", metadata: ["error": "\(error)"])
                        await record(error, as: .unreachable, of: captures)
                    }
                }
            }
            try await Task.sleep(for: options.pollInterval)
        }
    }

    private func maintain(_ captures: [Capture], watermarks: Watch<[String: Watermark]>) async throws {
        while true {
            do {
                try await acknowledge(captures, watermarks.value)
                // What another history has past its retention is not for this pipeline to purge.
                let isTrusted = standing.withLock { !$0.ailments.contains(.otherHistory) }
                if isTrusted, let done = try await source.maintain() { logger.info("\(done)") }
            } catch {
                try Task.checkCancellation()
                logger.warning("the source's upkeep failed", metadata: ["error": "\(error)"])
            }
            try await Task.sleep(for: Self.maintenanceInterval)
        }
    }

    /// Tells when the source answers, and yet tells of no changes because its own jobs do not run.
    private func watchSource(_ captures: [Capture]) async throws {
        var told: SourceTrouble?
        while true {
            do {
                let trouble = try await source.trouble()
                if let trouble {
                    if trouble != told { logger.warning("\(trouble.error)") }
                    // Each time: what was captured before still comes in, and its commit shows the capture as sound.
                    if trouble.isCertain { await record(trouble.error, as: .idle, of: captures) }
                } else if told != nil {
                    logger.info("the source tells of changes again")
                }
                if trouble?.isCertain != true { standing.withLock { _ = $0.ailments.remove(.idle) } }
                told = trouble
            } catch {
                // What keeps the source from answering is the poll's to tell.
                try Task.checkCancellation()
                logger.debug("the source's jobs could not be looked at", metadata: ["error": "\(error)"])
            }
            try await Task.sleep(for: options.troubleInterval)
        }
    }

    private func ingest(
        _ ingestor: Ingestor, bounds: Watch<SourceBounds?>, watermarks: Watch<[String: Watermark]>
    ) async throws {
        let instance = ingestor.capture.instance
        var backoff = Backoff()
        var toldRestart: LSN?
        for await latest in bounds.values() {
            guard latest != nil, backoff.isOver(at: .now) else { continue }
            do {
                // Before the table is read, which may take long: nothing that reads OK may stand beside what is missing.
                if let restart = restart(of: instance, bounds.value, watermarks.value), restart.lsn != toldRestart {
                    toldRestart = restart.lsn
                    await report(restart.error, capture: instance)
                }
                var before = standing.withLock { $0.failures[instance] }
                // The latest bounds each time: behind older ones a capture may look sound that no longer is.
                while let bounds = bounds.value, let watermark = watermarks.value[instance],
                    restart(of: instance, bounds, watermarks.value).map({ $0.lsn == toldRestart }) ?? true,
                    let step = try await finishing({ try await ingestor.step(after: watermark, bounds: bounds) })
                {
                    let now = Timestamp.now()
                    watermarks.update { $0[instance]?.moved(to: step, at: now) }
                    observe(.ingested(capture: instance, step, at: now))
                    before = standing.withLock { $0.mended(instance, since: before) }
                    try Task.checkCancellation()
                }
                let isMended = standing.withLock { standing in
                    before = standing.failures[instance]
                    return standing.ailments.isEmpty && before != nil
                }
                // An error stays while the table is being read anew.
                let isBehind = ingestor.isReading || restart(of: instance, bounds.value, watermarks.value) != nil
                if isMended, !isBehind, let watermark = watermarks.value[instance] {
                    try await clearError(of: instance, at: watermark)
                    standing.withLock { _ = $0.mended(instance, since: before) }
                }
                if backoff.succeeded() { logger.info("capture recovered", metadata: ["capture": "\(instance)"]) }
            } catch let error as CancellationError {
                throw error
            } catch let error as TidemarkError where error.isConflict {
                throw error
            } catch {
                switch backoff.failed(with: error, at: .now) {
                case .nothing: break
                case .warn:
                    logger.warning("trying again", metadata: ["capture": "\(instance)", "error": "\(error)"])
                case .record:
                    await report(error, capture: instance)
                }
            }
        }
        try Task.checkCancellation()
    }

    /// Where a capture was made anew that has been staged up to an older LSN, and the error that says so.
    private func restart(
        of instance: String, _ bounds: SourceBounds?, _ watermarks: [String: Watermark]
    ) -> (lsn: LSN, error: TidemarkError)? {
        guard let own = bounds?.captures[instance], own.fault == nil, let lsn = own.restartedAt,
            let watermark = watermarks[instance]?.lastIngestedLSN,
            let error = own.trouble(of: instance, at: watermark)
        else { return nil }
        return (lsn, error)
    }

    /// Marks a capture OK that has nothing new to ingest.
    private func clearError(of instance: String, at watermark: Watermark) async throws {
        let here = LSNWindow(after: watermark.lastIngestedLSN, through: watermark.lastIngestedLSN)
        try await store.advance(
            [WatermarkMove(capture: instance, window: here)], source: options.sourceName,
            commitTime: watermark.lastCommitTime)
    }

    private func project(_ worker: ProjectionWorker, watermarks: Watch<[String: Watermark]>) async throws {
        let definition = worker.engine.definition
        var schedule = ProjectionSchedule(
            interval: definition.interval ?? options.projectionInterval, heartbeat: Self.heartbeat)
        var backoff = Backoff()
        for await _ in watermarks.values() {
            guard backoff.isOver(at: .now) else { continue }
            do {
                try await wait(for: &schedule, worker)
                // The latest watermarks, not those of before the wait.
                let step = try await finishing { try await worker.step(watermarks: watermarks.value) }
                schedule.ended(step == nil ? .idle : .stepped, at: .now)
                if let step { observe(.projected(name: definition.name, step, at: .now())) }
                if backoff.succeeded() {
                    logger.info("projection recovered", metadata: ["projection": "\(definition.name)"])
                }
            } catch let error as CancellationError {
                throw error
            } catch let error as TidemarkError where error.isConflict {
                throw error
            } catch {
                schedule.ended(.failed, at: .now)
                switch backoff.failed(with: error, at: .now) {
                case .nothing: break
                case .warn:
                    logger.warning(
                        "trying again", metadata: ["projection": "\(definition.name)", "error": "\(error)"])
                case .record: await report(error, projection: definition.name)
                }
            }
        }
        try Task.checkCancellation()
    }

    /// Waits until the projection may be looked at.
    private func wait(for schedule: inout ProjectionSchedule, _ worker: ProjectionWorker) async throws {
        while true {
            switch schedule.next(at: .now) {
            case .look:
                return
            case .ask:
                if try await worker.isRebuildAsked() { return }
                schedule.ended(.notAsked, at: .now)
            case .wait(let instant):
                try await Task.sleep(until: instant)
            }
        }
    }

    /// Runs one step to its end even when the loop around it is cancelled meanwhile.
    private func finishing<Result: Sendable>(_ step: @escaping @Sendable () async throws -> Result) async throws
        -> Result
    {
        try Task.checkCancellation()
        return try await Task { try await step() }.value
    }

    // MARK: Failures

    private func report(_ error: any Error, capture: String) async {
        logger.error("capture failed", metadata: ["capture": "\(capture)", "error": "\(error)"])
        await record(error, capture: capture)
    }

    /// Shows what ails the source as an error of its captures, but for those that have one of their own.
    private func record(_ error: any Error, as ailment: CaptureStanding.Cause, of captures: [Capture]) async {
        let instances = standing.withLock { standing in
            standing.ailments.insert(ailment)
            return captures.map(\.instance).filter { standing.failures[$0].map { $0.cause == ailment } ?? true }
        }
        for instance in instances { await record(error, capture: instance, cause: ailment) }
    }

    private func record(_ error: any Error, capture: String, cause: CaptureStanding.Cause = .capture) async {
        observe(.captureFailed(capture: capture, message: "\(error)"))
        do {
            try await store.recordError("\(error)", capture: capture, source: options.sourceName)
        } catch {
            logger.error("the failure could not be recorded", metadata: ["error": "\(error)"])
        }
        // Only now: whoever commits meanwhile may do so before or after, and has to look again.
        standing.withLock { $0.shown(as: cause, by: capture) }
    }

    private func report(_ error: any Error, projection: String) async {
        logger.error("projection failed", metadata: ["projection": "\(projection)", "error": "\(error)"])
        observe(.projectionFailed(name: projection, message: "\(error)"))
        do {
            try await store.recordError("\(error)", projection: projection)
        } catch {
            logger.error("the failure could not be recorded", metadata: ["error": "\(error)"])
        }
    }
}

/// Another history of the source has begun: everything made from the former one has to go.
private struct HistoryBegunAnew: Error {}

extension Watermark {
    fileprivate mutating func moved(to step: Ingestor.Step, at now: Timestamp) {
        lastIngestedLSN = step.watermark
        completeFrom = step.completeFrom ?? completeFrom
        // The step that published a table that was read anew is one that changes this.
        if step.completeFrom != nil { isResyncRequested = false }
        lastCommitTime = step.commitTime
        rowsIngested += step.rows
        status = .ok
        lastError = nil
        updatedAt = now
    }
}

extension TidemarkError {
    /// Whether somebody else writes to the serving database.
    var isConflict: Bool {
        if case .conflict = self { true } else { false }
    }

    /// Whether the same call may succeed when it is made again.
    var isTransient: Bool {
        if case .transient = self { true } else { false }
    }
}
