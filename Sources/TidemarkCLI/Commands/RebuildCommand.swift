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
        let databases = try Databases(settings)
        let store = databases.serving
        let before = try await store.projection(projection)
        if let lease = try await store.acquireLease() {
            defer { lease.release() }
            let logger = LoggerFactory(level: settings.logLevel, format: settings.logFormat).logger("tidemark")
            let rows = try await rebuild(definition, databases, settings, logger: logger)
            print("rebuilt \(projection): \(rows) rows")
        } else {
            try await store.requestRebuild(projection: projection)
            let state = try await waitForPipeline(store, builtBefore: before?.builtAt)
            print("rebuilt \(projection) by the running pipeline, as of LSN \(state.asOfLSN ?? .zero)")
        }
    }

    private func rebuild(
        _ definition: ProjectionDefinition, _ databases: Databases, _ settings: Settings, logger: Logger
    ) async throws -> Int {
        let watermarks = try await databases.serving.watermarks(source: settings.sourceName)
        let captures = try await databases.source.captures()
        let replica = try await Replica(
            directory: settings.pipelineOptions.stateDirectory, memoryLimit: settings.duckDBMemoryLimit,
            captures: captures, store: databases.serving, watermarks: watermarks, logger: logger)
        let engine = try await ProjectionEngine(
            definition: definition, captures: captures, session: try await replica.makeSession(name: definition.name))
        try await databases.serving.requestRebuild(projection: definition.name)
        let worker = ProjectionWorker(engine: engine, replica: replica, store: databases.serving, logger: logger)
        guard let step = try await worker.step(watermarks: watermarks) else {
            throw TidemarkError.projection(
                name: definition.name, reason: "nothing is staged yet; start `tidemark run` first")
        }
        return step.rows
    }

    private func waitForPipeline(_ store: any ServingStore, builtBefore: Timestamp?) async throws -> ProjectionState {
        let deadline = ContinuousClock.now + timeout
        while ContinuousClock.now < deadline {
            try await Task.sleep(for: Self.lookInterval)
            guard let state = try await store.projection(projection) else { continue }
            if state.status == .ok, state.builtAt != builtBefore { return state }
            if state.status == .error {
                throw TidemarkError.projection(name: projection, reason: state.lastError ?? "the rebuild failed")
            }
        }
        throw TidemarkError.unavailable(
            """
            the running pipeline did not rebuild \(projection) within \(timeout); see its log, and whether the projection is \
            enabled there. The request stands
            """)
    }
}
