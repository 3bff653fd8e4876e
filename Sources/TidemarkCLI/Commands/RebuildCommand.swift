import ArgumentParser
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

    func run() async throws {
        let settings = try common.settings()
        guard let definition = try settings.definitions(named: projection).first else { return }
        let databases = try await Databases(settings, logger: settings.logger)
        let logger = LoggerFactory(level: settings.logLevel, format: settings.logFormat).logger("tidemark")
        let rebuilder = Rebuilder(
            source: databases.source, store: databases.serving, sourceName: settings.sourceName,
            engine: databases.engine(settings, logger: logger), logger: logger)
        // Said before the wait, and apart from the result.
        let outcome = try await rebuilder.rebuild(definition, timeout: timeout) { progress in
            switch progress {
            case .asked: Console.complaint("a pipeline is running; it is asked to rebuild \(projection)")
            case .takenOver: Console.complaint("the pipeline is gone; rebuilding \(projection) here")
            }
        }
        switch outcome {
        case .built(let rows):
            Console.line("rebuilt \(projection): \(rows) rows")
        case .builtByPipeline(let lsn):
            Console.line("rebuilt \(projection) by the running pipeline, as of LSN \(lsn)")
        case .timedOut:
            throw TidemarkError.unavailable(
                """
                the running pipeline did not rebuild \(projection) within \(timeout.defaultValueDescription); see its log, \
                and whether the projection is enabled there. The request stands
                """)
        }
    }
}
