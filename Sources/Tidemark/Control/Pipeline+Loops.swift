import Logging
import Synchronization

// One loop each for the source, its upkeep, every capture and every projection.

extension Pipeline {
    func poll(
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

    func maintain(_ captures: [Capture], watermarks: Watch<[String: Watermark]>) async throws {
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
    func watchSource(_ captures: [Capture]) async throws {
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

    func ingest(
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
    func restart(
        of instance: String, _ bounds: SourceBounds?, _ watermarks: [String: Watermark]
    ) -> (lsn: LSN, error: TidemarkError)? {
        guard let own = bounds?.captures[instance], own.fault == nil, let lsn = own.restartedAt,
            let watermark = watermarks[instance]?.lastIngestedLSN,
            let error = own.trouble(of: instance, at: watermark)
        else { return nil }
        return (lsn, error)
    }

    /// Marks a capture OK that has nothing new to ingest.
    func clearError(of instance: String, at watermark: Watermark) async throws {
        let here = LSNWindow(after: watermark.lastIngestedLSN, through: watermark.lastIngestedLSN)
        try await store.advance(
            [WatermarkMove(capture: instance, window: here)], source: options.sourceName,
            commitTime: watermark.lastCommitTime)
    }

    func project(_ worker: ProjectionWorker, watermarks: Watch<[String: Watermark]>) async throws {
        let definition = worker.projection.plan.definition
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
    func wait(for schedule: inout ProjectionSchedule, _ worker: ProjectionWorker) async throws {
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
    func finishing<Result: Sendable>(_ step: @escaping @Sendable () async throws -> Result) async throws
        -> Result
    {
        try Task.checkCancellation()
        return try await Task { try await step() }.value
    }
}

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
