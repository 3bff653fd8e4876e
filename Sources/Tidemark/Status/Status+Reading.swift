extension Status {
    /// Reads the status from both databases.
    ///
    /// - Parameters:
    ///   - sourceName: `SOURCE_NAME`.
    ///   - projections: the definitions to tell of, and which are on.
    /// - Throws: what the databases throw.
    public init(
        source: any ChangeSource, store: any ServingStore, sourceName: String,
        projections: [(definition: ProjectionDefinition, isEnabled: Bool)]
    ) async throws {
        let watermarks = try await store.watermarks(source: sourceName)
        let states = try await store.projections()
        // After the control tables: whatever they say lies at or below the end of the log.
        let bounds = try await source.bounds()
        let catalog = try await source.catalog().carried
        self.init(
            takenAt: .now(), isPipelineRunning: await Self.isPipelineRunning(store),
            source: Source(name: sourceName, maxLSN: bounds.maxLSN, maxCommitTime: bounds.maxCommitTime),
            captures: watermarks.sorted { $0.key < $1.key }.map { Capture($0.key, $0.value, bounds) },
            projections: projections.map { definition, isEnabled in
                let state = states[definition.name]
                let wait = ProjectionWait.reason(
                    name: definition.name, state: state, captures: catalog.instances(of: definition),
                    watermarks: watermarks)
                return Projection(definition.name, state, bounds, isEnabled: isEnabled, waiting: isEnabled ? wait : nil)
            })
    }

    /// The lease is free when no pipeline works. Where it cannot even be asked for, nothing is said.
    private static func isPipelineRunning(_ store: any ServingStore) async -> Bool? {
        do {
            guard let lease = try await store.acquireLease() else { return true }
            lease.release()
            return false
        } catch {
            return nil
        }
    }

    /// Seconds by which a position lags behind the end of the log.
    static func lag(at lsn: LSN?, _ time: Timestamp?, _ bounds: SourceBounds) -> Double? {
        guard let lsn else { return nil }
        if lsn >= bounds.maxLSN { return 0 }
        guard let time, let end = bounds.maxCommitTime else { return nil }
        return max(0, end.seconds(since: time))
    }
}

extension Status.Capture {
    init(_ instance: String, _ watermark: Watermark, _ bounds: SourceBounds) {
        // What the source tells now may not have come to a pipeline yet, or none runs.
        let trouble = bounds.captures[instance]?.trouble(of: instance, at: watermark.lastIngestedLSN)
        self.init(
            instance: instance, health: trouble == nil ? watermark.status : .error,
            lastIngestedLSN: watermark.lastIngestedLSN, lastCommitTime: watermark.lastCommitTime,
            lagSeconds: Status.lag(at: watermark.lastIngestedLSN, watermark.lastCommitTime, bounds),
            rowsIngested: watermark.rowsIngested, updatedAt: watermark.updatedAt,
            lastError: watermark.lastError ?? trouble.map { "\($0)" })
    }
}

extension Status.Projection {
    init(
        _ name: String, _ state: ProjectionState?, _ bounds: SourceBounds, isEnabled: Bool, waiting: ProjectionWait?
    ) {
        self.init(
            name: name, isEnabled: isEnabled, health: state?.status ?? .initial,
            asOfLSN: state?.asOfLSN, asOfTime: state?.asOfTime,
            lagSeconds: Status.lag(at: state?.asOfLSN, state?.asOfTime, bounds), builtAt: state?.builtAt,
            rowsWritten: state?.rowsWritten ?? 0, lastError: state?.lastError, waiting: waiting)
    }
}

extension SourceCatalog {
    /// The capture instances a projection reads; one that the source does not have goes by the name it is given.
    fileprivate func instances(of definition: ProjectionDefinition) -> Set<String> {
        Set(
            definition.captures.map { use in
                captures.first { $0.isNamed(use.name) }?.instance
                    ?? refused.first { $0.isNamed(use.name) }?.instance ?? use.name
            })
    }
}
