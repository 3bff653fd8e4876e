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

        public init() {}
    }

    /// How often workers look for rebuild requests, and for what another process may have ingested.
    static let heartbeat: Duration = .seconds(1)
    /// How often a standby asks for the lease.
    static let leaseInterval: Duration = .milliseconds(500)
    /// How often the source's upkeep gets a chance.
    static let maintenanceInterval: Duration = .seconds(60)

    let source: any ChangeSource
    let store: any ServingStore
    let openEngine: EngineFactory
    let definitions: [ProjectionDefinition]
    let options: Options
    let logger: Logger
    let observe: @Sendable (PipelineEvent) -> Void
    private let control = Mutex(Control())
    let standing = Mutex(CaptureStanding())
    /// The captures that are left out.
    let refusals = Mutex<[RefusedCapture]>([])
    let history: SourceHistory

    private struct Control {
        var isStopped = false
        var loops: Task<Void, any Error>?
    }

    /// - Parameters:
    ///   - engine: opens an engine over what is staged in `store`; asked again for each history of the source.
    ///   - definitions: the enabled projections.
    ///   - observe: told of every commit and failure, on the loop that had it; must be quick.
    public init(
        source: any ChangeSource, store: any ServingStore, engine: @escaping EngineFactory,
        definitions: [ProjectionDefinition], options: Options, logger: Logger,
        observe: @escaping @Sendable (PipelineEvent) -> Void = { _ in }
    ) {
        self.source = source
        self.store = store
        openEngine = engine
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

    func work() async throws {
        let lease = try await waitForLease()
        defer { lease.release() }
        // Only now: the tables may have been migrated while this pipeline waited for the lease.
        try await patiently { try ControlSchema.requireCurrent(try await self.store.schemaVersion()) }
        while true {
            do {
                try await follow()
                return
            } catch is HistoryBegunAnew {
                // All that was made from the former history is void: engine, ingestors and workers.
            }
        }
    }

    /// Follows one history of the source.
    ///
    /// - Throws: `HistoryBegunAnew` when another one has begun.
    func follow() async throws {
        let prepared = try await patiently { try await self.prepareCaptures() }
        let epoch = try await patiently { try await self.checkHistory() }
        let watermarks = Watch(
            try await patiently { try await self.store.watermarks(source: self.options.sourceName) })
        // Before the source's upkeep may purge anything that has not been read.
        try await patiently { try await self.acknowledge(prepared, watermarks.value) }
        let engine = try await patiently { try await self.openEngine(prepared, watermarks.value, epoch) }
        do {
            try await follow(watermarks, on: engine)
        } catch {
            await engine.close()
            throw error
        }
        await engine.close()
    }

    /// Runs the loops of one history on its engine.
    func follow(_ watermarks: Watch<[String: Watermark]>, on engine: any ComputeEngine) async throws {
        for refused in engine.refused { await refuse(refused) }
        let captures = engine.captures
        let workers = try await patiently {
            try await self.prepareWorkers(on: engine, watermarks: watermarks.value)
        }
        let bounds = Watch<SourceBounds?>(nil)
        for (instance, watermark) in watermarks.value where watermark.status == .error {
            standing.withLock { $0.shown(as: .capture, by: instance) }
        }
        logger.info(
            "running",
            metadata: [
                "captures": "\(captures.map(\.instance).joined(separator: ","))",
                "projections": "\(workers.map(\.projection.plan.definition.name).joined(separator: ","))",
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
                    maxRows: options.batchMaxRows, limits: .shared(among: captures.count), engine: engine,
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
}

/// Another history of the source has begun: everything made from the former one has to go.
struct HistoryBegunAnew: Error {}
