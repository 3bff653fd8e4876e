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
              ENABLE_PROJ_ORDERS_LATEST=false tidemark run
              LOG_FORMAT=json tidemark run 2>> tidemark.log
            """)

    @OptionGroup var common: CommonOptions

    /// After a signal, steps have this long to finish their transactions. What is cut off then is redone from
    /// the checkpoints at the next start, so nothing is lost; the promise is to be gone within 5 seconds.
    private static let grace: Duration = .seconds(4)

    func run() async throws {
        // Whoever reads the log may go away; the pipeline stays.
        signal(SIGPIPE, SIG_IGN)
        let settings = try common.settings()
        let logger = settings.logger
        let progress = ProgressLog(logger: logger)
        let service = PipelineService(grace: Self.grace, logger: logger) {
            let databases = try await Backoff.patiently(logger: logger) {
                try await Databases(settings, logger: logger)
            }
            return databases.pipeline(settings, logger: logger) { progress.observe($0) }
        }
        let group = ServiceGroup(
            configuration: .init(
                services: [.init(service: service, successTerminationBehavior: .gracefullyShutdownGroup)],
                gracefulShutdownSignals: [.sigterm, .sigint],
                logger: Logger(label: "lifecycle") { _ in SwiftLogNoOpLogHandler() }))
        try await group.run()
    }
}

/// The pipeline as a service of ServiceLifecycle, from the opening of its databases on: a signal at any moment
/// after the process has started ends it in order.
private struct PipelineService: Service {
    let grace: Duration
    let logger: Logger
    let open: @Sendable () async throws -> Pipeline

    func run() async throws {
        let work = EndableWork()
        try await withGracefulShutdownHandler {
            do {
                try await work.run {
                    let pipeline = try await open()
                    try await withTaskCancellationHandler {
                        try await pipeline.run()
                    } onCancel: {
                        pipeline.stop()
                    }
                }
            } catch is CancellationError {
                // Told to stop while the databases were being opened.
                logger.info("stopped")
            }
        } onGracefulShutdown: {
            logger.info("stopping")
            work.end()
            Task {
                try await Task.sleep(for: grace)
                logger.warning("a step takes too long to wait for; it will be done again at the next start")
                // Nothing runs after this: open transactions roll back as after a kill.
                _exit(EXIT_SUCCESS)
            }
        }
    }
}
