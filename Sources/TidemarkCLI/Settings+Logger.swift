import Logging

extension Settings {
    /// The logger of a command.
    var logger: Logger { LoggerFactory(level: logLevel, format: logFormat).logger("tidemark") }
}
