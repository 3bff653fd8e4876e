import Logging
import Synchronization
import Tidemark

/// Makes the loggers of a process: one for each component, all writing whole lines to the same place.
///
/// Nothing is global: what logs is handed a `Logger`.
///
/// ```swift
/// let loggers = LoggerFactory(level: settings.logLevel, format: settings.logFormat)
/// let log = loggers.logger("ingest")
/// log.info("window committed", metadata: ["capture": "dbo_orders", "rows": "12"])
/// ```
struct LoggerFactory: Sendable {
    private let level: Logger.Level
    private let format: LogFormat
    private let clock: @Sendable () -> Timestamp
    private let write: @Sendable (_ line: String) -> Void

    /// - Parameters:
    ///   - clock: tells the time of a line.
    ///   - write: takes a line with its line break; standard error unless a test wants it.
    init(
        level: Logger.Level, format: LogFormat, clock: @escaping @Sendable () -> Timestamp = { .now() },
        write: (@Sendable (_ line: String) -> Void)? = nil
    ) {
        self.level = level
        self.format = format
        self.clock = clock
        self.write = write ?? StandardError().write
    }

    /// A logger for `component`, the word before the colon in a line.
    func logger(_ component: String) -> Logger {
        Logger(label: component) { _ in
            LineHandler(component: component, format: format, clock: clock, write: write, logLevel: level)
        }
    }
}

/// Writes each event as a line.
private struct LineHandler: LogHandler {
    let component: String
    let format: LogFormat
    let clock: @Sendable () -> Timestamp
    let write: @Sendable (String) -> Void
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var merged = metadata
        if let provided = metadataProvider?.get() { merged.merge(provided) { $1 } }
        if let error = event.error { merged["error"] = "\(error)" }
        if let own = event.metadata { merged.merge(own) { $1 } }
        write(format.line(time: clock(), component: component, event: event, metadata: merged) + "\n")
    }
}

/// Standard error, one writer at a time, so that lines never mix.
private final class StandardError: Sendable {
    private let turn = Mutex(())

    @Sendable func write(_ line: String) {
        // A log that cannot be written, such as to a closed pipe, does not stop the pipeline.
        turn.withLock { _ in Console.write(line, to: 2) }
    }
}
