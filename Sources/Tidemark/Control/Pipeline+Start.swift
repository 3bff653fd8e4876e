import Logging
import Synchronization

// What comes before the loops: the lease, the captures, the workers, and whose history is followed.

extension Pipeline {
    func waitForLease() async throws -> any PipelineLease {
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

    func patiently<Result>(_ step: () async throws -> Result) async throws -> Result {
        try await Backoff.patiently(logger: logger, step)
    }

    /// The captures whose staging is in order. One that is not is recorded as failed, and left out, as is one that the
    /// source refuses.
    func prepareCaptures() async throws -> [Capture] {
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
    func refuse(_ capture: RefusedCapture) async {
        refusals.withLock { $0.append(capture) }
        await report(capture.reason, capture: capture.instance)
    }

    /// The projections whose definitions are in order. One that is not is recorded as failed, and left out.
    func prepareWorkers(
        on engine: any ComputeEngine, watermarks: [String: Watermark]
    ) async throws -> [ProjectionWorker] {
        var workers: [ProjectionWorker] = []
        for definition in definitions {
            do {
                let projection = try await engine.prepare(definition, refused: refusals.withLock { $0 })
                var logger = logger
                logger[metadataKey: "projection"] = "\(definition.name)"
                let worker = ProjectionWorker(projection: projection, engine: engine, store: store, logger: logger)
                try await worker.retain(watermarks: watermarks)
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
    func checkHistory() async throws -> Int {
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
    func acknowledge(_ captures: [Capture], _ watermarks: [String: Watermark]) async throws {
        guard standing.withLock({ !$0.ailments.contains(.otherHistory) }) else { return }
        let lsns = captures.map { ($0.instance, watermarks[$0.instance]?.lastIngestedLSN ?? .zero) }
        try await source.acknowledge(
            SourceReader(
                id: try await store.servingID(), watermarks: Dictionary(lsns, uniquingKeysWith: { first, _ in first })))
    }

    /// Takes up what other processes have asked for, and wakes the projections for it.
    func lookForRequests(_ watermarks: Watch<[String: Watermark]>) async throws {
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
            // What keeps the serving database from answering is the other loops' to tell, which look now.
            try Task.checkCancellation()
            watermarks.update { _ in }
            logger.debug("requests could not be looked for", metadata: ["error": "\(error)"])
        }
    }
}
