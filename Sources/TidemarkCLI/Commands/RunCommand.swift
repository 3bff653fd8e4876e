import ArgumentParser
import Foundation
import Logging
import ServiceLifecycle
import Tidemark
import UnixSignals

struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Run the pipeline until it is told to stop.",
        discussion: """
            One ingestor per capture brings changes into staging, one worker per projection keeps its table in step. \
            Progress and errors go to standard error (LOG_LEVEL, LOG_FORMAT) and to the ctl_* tables; \
            `tidemark status` shows both.

            SIGINT or SIGTERM ends it with exit code 0 within 5 seconds, after the transactions at hand. It may also be \
            killed at any moment: the next start goes on from the checkpoints. A second pipeline on the same serving \
            database waits until the first one is gone, then takes over.

            Example:
              tidemark bootstrap && tidemark run
              ENABLE_PROJ_ORDERS_LATEST=false POLL_INTERVAL=1s tidemark run
            """)

    @OptionGroup var common: CommonOptions

    /// After a signal, steps have this long to finish their transactions. What is cut off then is redone from
    /// the checkpoints at the next start, so nothing is lost; the promise is to be gone within 5 seconds.
    private static let grace: Duration = .seconds(4)

    func run() async throws {
        let settings = try common.settings()
        let logger = LoggerFactory(level: settings.logLevel, format: settings.logFormat).logger("tidemark")
        let databases = try Databases(settings)
        try await databases.serving.bootstrap()
        let pipeline = Pipeline(
            source: databases.source, store: databases.serving, definitions: settings.enabledDefinitions,
            options: settings.pipelineOptions, logger: logger, observe: Self.log(to: logger))
        let group = ServiceGroup(
            configuration: .init(
                services: [
                    .init(
                        service: PipelineService(pipeline: pipeline, grace: Self.grace, logger: logger),
                        successTerminationBehavior: .gracefullyShutdownGroup)
                ],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: Logger(label: "lifecycle") { _ in SwiftLogNoOpLogHandler() }))
        try await group.run()
    }

    /// Every commit is worth a line when something was written, and only for debugging when not.
    private static func log(to logger: Logger) -> @Sendable (PipelineEvent) -> Void {
        { event in
            switch event {
            case .ingested(let capture, let step, _):
                logger.log(
                    level: step.rows > 0 ? .info : .debug, "ingested",
                    metadata: ["capture": "\(capture)", "rows": "\(step.rows)", "watermark": "\(step.watermark)"])
            case .projected(let name, let step, _):
                logger.log(
                    level: step.rows > 0 ? .info : .debug, "projected",
                    metadata: ["projection": "\(name)", "rows": "\(step.rows)", "as_of_lsn": "\(step.asOf)"])
            case .polled, .captureFailed, .projectionFailed:
                // Failures are logged by the pipeline itself.
                break
            }
        }
    }
}

/// The pipeline as a service of ServiceLifecycle.
private struct PipelineService: Service {
    let pipeline: Pipeline
    let grace: Duration
    let logger: Logger

    func run() async throws {
        try await withGracefulShutdownHandler {
            try await pipeline.run()
        } onGracefulShutdown: {
            logger.info("stopping")
            pipeline.stop()
            Task {
                try await Task.sleep(for: grace)
                logger.warning("a step takes too long to wait for; it will be done again at the next start")
                // Nothing runs after this: open transactions roll back as after a kill.
                _exit(EXIT_SUCCESS)
            }
        }
    }
}
