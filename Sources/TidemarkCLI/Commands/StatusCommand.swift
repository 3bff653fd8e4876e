import ArgumentParser
import Foundation
import Tidemark

struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show how far captures and projections are, and how far behind.",
        discussion: """
            Lag is the time between the commit of the source's last transaction and the commit of the last one that is \
            staged (capture) or shown (projection): 0 when nothing is missing. A capture or projection that cannot go on \
            has the status ERROR, and says why below the tables; so does a projection that waits for a capture. The line \
            `pipeline` tells whether one is running, and when it last wrote.

            Exit code 1 when a capture, or a projection that is on, has the status ERROR.

            Example:
              tidemark status
              tidemark status --json | jq '.projections[] | select(.status != "OK")'
            """)

    @OptionGroup var common: CommonOptions

    @Flag(name: .long, help: "Print one JSON object instead of tables.")
    var json = false

    func run() async throws {
        let settings = try common.settings()
        let databases = try await Databases(settings, logger: settings.logger)
        let status = try await Status(
            source: databases.source, store: databases.serving, sourceName: settings.sourceName,
            projections: settings.projections.map { ($0.definition, $0.isEnabled) })
        let report = StatusReport(status, settings: settings)
        Console.line(json ? try report.json() : report.text)
        if status.hasFailed { throw ExitCode.failureFound }
    }
}

/// What `tidemark status` shows.
struct StatusReport: Encodable {
    struct CaptureLine: Encodable {
        var capture: String
        var status: String
        var lastIngestedLSN: String
        @OrNull var lastCommitTime: String?
        @OrNull var lagSeconds: Double?
        var rowsIngested: Int
        var updatedAt: String
        @OrNull var lastError: String?
    }

    struct ProjectionLine: Encodable {
        var projection: String
        var enabled: Bool
        var status: String
        @OrNull var asOfLSN: String?
        @OrNull var asOfTime: String?
        @OrNull var lagSeconds: Double?
        var rowsWritten: Int
        @OrNull var builtAt: String?
        @OrNull var lastError: String?
        @OrNull var waiting: String?
    }

    var source: String
    var serving: String
    var takenAt: String
    @OrNull var pipelineRunning: Bool?
    @OrNull var lastWrittenAt: String?
    @OrNull var secondsSinceWritten: Double?
    var sourceMaxLSN: String
    @OrNull var sourceMaxCommitTime: String?
    var captures: [CaptureLine]
    var projections: [ProjectionLine]

    init(_ status: Status, settings: Settings) {
        source = "\(settings.source)"
        serving = "\(settings.serving)"
        takenAt = "\(status.takenAt)"
        pipelineRunning = status.isPipelineRunning
        lastWrittenAt = status.lastWrittenAt.map { "\($0)" }
        secondsSinceWritten = status.lastWrittenAt.map { max(0, status.takenAt.seconds(since: $0)) }
        sourceMaxLSN = "\(status.source.maxLSN)"
        sourceMaxCommitTime = status.source.maxCommitTime.map { "\($0)" }
        captures = status.captures.map { capture in
            CaptureLine(
                capture: capture.instance, status: capture.health.rawValue,
                lastIngestedLSN: "\(capture.lastIngestedLSN)", lastCommitTime: capture.lastCommitTime.map { "\($0)" },
                lagSeconds: capture.lagSeconds, rowsIngested: capture.rowsIngested, updatedAt: "\(capture.updatedAt)",
                lastError: capture.lastError)
        }
        projections = status.projections.map { projection in
            ProjectionLine(
                projection: projection.name, enabled: projection.isEnabled, status: projection.health.rawValue,
                asOfLSN: projection.asOfLSN.map { "\($0)" }, asOfTime: projection.asOfTime.map { "\($0)" },
                lagSeconds: projection.lagSeconds, rowsWritten: projection.rowsWritten,
                builtAt: projection.builtAt.map { "\($0)" }, lastError: projection.lastError,
                waiting: projection.waiting.map { "\($0)" })
        }
    }

    func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .custom { path in SnakeCaseKey(path.last!.stringValue) }
        return String(decoding: try encoder.encode(self), as: UTF8.self)
    }

    /// Lines below the tables, under a heading; nothing when there are none.
    private static func section(_ heading: String, _ lines: [String]) -> String {
        lines.isEmpty ? "" : "\n\n\(heading):\n" + lines.map { "  \($0)" }.joined(separator: "\n")
    }

    private var pipelineText: String {
        let state = pipelineRunning.map { $0 ? "running" : "not running" } ?? "not known whether one is running"
        guard let lastWrittenAt, let secondsSinceWritten else { return state }
        return "\(state), last wrote \(secondsSinceWritten.formatted(decimals: 1)) s ago, at \(lastWrittenAt)"
    }

    var text: String {
        func seconds(_ lag: Double?) -> String { lag.map { "\($0.formatted(decimals: 1)) s" } ?? "-" }
        var captureTable = TextTable(["CAPTURE", "STATUS", "LAST INGESTED LSN", "COMMITTED AT", "LAG", "ROWS INGESTED"])
        for line in captures {
            captureTable.add([
                line.capture, line.status, line.lastIngestedLSN, line.lastCommitTime ?? "-", seconds(line.lagSeconds),
                "\(line.rowsIngested)",
            ])
        }
        var projectionTable = TextTable(["PROJECTION", "STATUS", "AS OF LSN", "AS OF TIME", "LAG", "LAST WROTE"])
        for line in projections {
            projectionTable.add([
                line.projection, line.enabled ? line.status : "\(line.status), off", line.asOfLSN ?? "-",
                line.asOfTime ?? "-",
                seconds(line.lagSeconds), "\(line.rowsWritten) rows",
            ])
        }
        let errors =
            captures.compactMap { line in line.lastError.map { "\(line.capture): \($0)" } }
            + projections.compactMap { line in line.lastError.map { "\(line.projection): \($0)" } }
        let waiting = projections.compactMap { line in line.waiting.map { "\(line.projection): \($0)" } }
        return """
            source   \(source)  max LSN \(sourceMaxLSN)\(sourceMaxCommitTime.map { " committed \($0)" } ?? "")
            serving  \(serving)
            pipeline \(pipelineText)

            \(captureTable.text)

            \(projectionTable.text)
            """ + Self.section("waiting", waiting) + Self.section("errors", errors)
    }
}

/// An optional that is written as `null`, so that every JSON object has all its keys.
// swift-format-ignore: UseSynthesizedInitializer
@propertyWrapper
struct OrNull<Value: Encodable>: Encodable {
    var wrappedValue: Value?

    // The synthesized one has a default, and then the structs' own initializers take the wrapper.
    init(wrappedValue: Value?) { self.wrappedValue = wrappedValue }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        if let wrappedValue { try container.encode(wrappedValue) } else { try container.encodeNil() }
    }
}

/// `lastIngestedLSN` as `last_ingested_lsn`, the name the control tables use.
private struct SnakeCaseKey: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }

    init(_ name: String) {
        stringValue = name.replacing("LSN", with: "Lsn").reduce(into: "") { text, character in
            if character.isUppercase { text += "_" }
            text += character.lowercased()
        }
    }

    init?(stringValue: String) { self.init(stringValue) }
    init?(intValue: Int) { nil }
}
