import ArgumentParser
import Foundation

/// The options every command has that works on the configured databases.
struct CommonOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "YAML file of settings; environment variables win over it (default: tidemark.yml here, if there is one).",
            valueName: "file"))
    var config: String?

    /// The settings: the environment, over the file, over the defaults.
    ///
    /// - Throws: `TidemarkError.configuration`.
    func settings() throws -> Settings {
        try Settings.load(environment: ProcessInfo.processInfo.environment, file: config)
    }
}
