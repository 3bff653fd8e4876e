import ArgumentParser
import Logging
import Tidemark

struct RebuildCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rebuild",
        abstract: "Build a projection anew, readers undisturbed.",
        discussion: """
            The new table is filled beside the present one and takes its place in one transaction. While a pipeline runs, \
            it is asked to do the work, and this command waits until it has; otherwise this command does it itself, as of \
            what is staged.

            Example:
              tidemark rebuild orders_latest
            """)

    @OptionGroup var common: CommonOptions

    @Argument(help: "The projection's name.")
    var projection: String

    @Option(
        name: .long, help: ArgumentHelp("How long to wait for a running pipeline, e.g. 10m.", valueName: "duration"))
    var timeout: Duration = .seconds(600)

    /// Pause between two looks at what the running pipeline has done.
    private static let lookInterval: Duration = .milliseconds(100)

    func run() async throws {
        let settings = try common.settings()
        guard let definition = try settings.definitions(named: projection).first else { return }
        let databases = try await Databases(settings, logger: settings.logger)
        let store = databases.serving
        let before = try await store.projection(projection)
        try await store.requestRebuild(projection: projection)
        let deadline = ContinuousClock.now + timeout
        var isWaiting = false
        while ContinuousClock.now < deadline {
            // Free when no pipeline runs, also when one ends while this command waits for it.
            if let lease = try await store.acquireLease() {
                defer { lease.release() }
                if isWaiting { Console.complaint("the pipeline is gone; rebuilding \(projection) here") }
                let logger = LoggerFactory(level: settings.logLevel, format: settings.logFormat).logger("tidemark")
                let rows = try await rebuild(definition, databases, settings, logger: logger)
                Console.line("rebuilt \(projection): \(rows) rows")
                return
            }
            if !isWaiting {
                // Said before the wait, and apart from the result.
                Console.complaint("a pipeline is running; it is asked to rebuild \(projection)")
                isWaiting = true
            }
            try await Task.sleep(for: Self.lookInterval)
            if let state = try await rebuilt(in: store, since: before?.builtAt) {
                Console.line("rebuilt \(projection) by the running pipeline, as of LSN \(state.asOfLSN ?? .zero)")
                return
            }
        }
        throw TidemarkError.unavailable(
            """
            the running pipeline did not rebuild \(projection) within \(timeout.defaultValueDescription); see its log, and \
            whether the projection is enabled there. The request stands
            """)
    }

    /// The projection's state when the running pipeline has built it anew; `nil` while it has not.
    private func rebuilt(in store: any ServingStore, since builtBefore: Timestamp?) async throws -> ProjectionState? {
        guard let state = try await store.projection(projection) else { return nil }
        if state.status == .error {
            throw TidemarkError.projection(name: projection, reason: state.lastError ?? "the rebuild failed")
        }
        return state.status == .ok && state.builtAt != builtBefore ? state : nil
    }

    private func rebuild(
        _ definition: ProjectionDefinition, _ databases: Databases, _ settings: Settings, logger: Logger
    ) async throws -> Int {
        let watermarks = try await databases.serving.watermarks(source: settings.sourceName)
        let catalog = try await databases.source.catalog().carried
        let captures = catalog.captures
        let replica = try await Replica(
            directory: settings.pipelineOptions.stateDirectory, memoryLimit: settings.memory.duckDBLimit,
            captures: captures, store: databases.serving, watermarks: watermarks,
            epoch: try await databases.serving.source(settings.sourceName)?.epoch ?? 0, logger: logger)
        // The replica keeps what the other projections need for their next step.
        for (name, state) in try await databases.serving.projections() {
            guard let checkpoint = state.checkpoints.values.min() else { continue }
            await replica.pin(name, captures: Set(state.checkpoints.keys), at: checkpoint)
        }
        let engine = try await ProjectionEngine(
            definition: definition, captures: captures, refused: catalog.refused + replica.refused,
            session: try await replica.makeSession(name: definition.name))
        let worker = ProjectionWorker(engine: engine, replica: replica, store: databases.serving, logger: logger)
        guard let step = try await worker.step(watermarks: watermarks) else {
            throw TidemarkError.unavailable(
                "projection \(definition.name): nothing is staged yet; start `tidemark run` first")
        }
        return step.rows
    }
}
