import ArgumentParser
import Tidemark

struct BootstrapCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bootstrap",
        abstract: "Prepare both databases for the pipeline; safe to repeat.",
        discussion: """
            On SQLite it enables change data capture on every table with a primary key of the source, as far as CDC_INCLUDE \
            and CDC_EXCLUDE let it in; a table that cannot be captured is named and left out. An empty source gets the sample \
            tables customers, orders and payments first.

            On SQL Server a source that is missing or empty gets the same sample tables, captured. In a source with tables of \
            its own, these and what is captured of them are left alone. There BOOTSTRAP_SOURCE_DSN, an administrator's, lets \
            it make the login of SOURCE_DSN with the grants the pipeline needs, and set the capture job's interval \
            (CDC_CAPTURE_POLLING); without it, nothing is changed.

            On the serving side it makes the database where it is missing, the control tables (ctl_*) and a staging table \
            (stg_cdc_*) per capture; with BOOTSTRAP_SERVING_DSN also the login of SERVING_DSN. What is there stays as it is.

            Run it again after adding a table to the source, and restart the pipeline.

            Example:
              tidemark bootstrap
              SOURCE_DSN=sqlite:shop.db SERVING_DSN=sqlite:serving.db tidemark bootstrap
              tidemark bootstrap --wait 60s
            """)

    @OptionGroup var common: CommonOptions

    @Option(
        name: .long,
        help: ArgumentHelp("How long to wait for databases that do not answer yet, e.g. 120s.", valueName: "duration"))
    var wait: Duration = .zero

    /// Pause between two attempts while waiting.
    private static let retryInterval: Duration = .milliseconds(500)

    func run() async throws {
        let settings = try common.settings()
        let deadline = ContinuousClock.now + wait
        var isWaiting = false
        // Each sentence once, however often it is tried.
        var said: Set<String> = []
        while true {
            do {
                try await Databases.bootstrap(settings, logger: settings.logger) { sentence in
                    if said.insert(sentence).inserted { Console.line(sentence) }
                }
                return
            } catch let error as TidemarkError {
                guard error.mayPass, ContinuousClock.now < deadline else { throw error }
                if !isWaiting {
                    Console.complaint("waiting up to \(wait.defaultValueDescription): \(error)")
                    isWaiting = true
                }
                try await Task.sleep(for: Self.retryInterval)
            }
        }
    }
}

extension TidemarkError {
    /// Whether waiting may help a database that is starting.
    fileprivate var mayPass: Bool {
        switch self {
        case .unavailable, .transient: true
        default: false
        }
    }
}
