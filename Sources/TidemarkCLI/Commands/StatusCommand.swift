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
            has the status ERROR, and says why below the tables; so does a projection that waits for a capture.

            Example:
              tidemark status
              tidemark status --json | jq '.projections[] | select(.status != "OK")'
            """)

    @OptionGroup var common: CommonOptions

    @Flag(name: .long, help: "Print one JSON object instead of tables.")
    var json = false

    func run() async throws {
        let settings = try common.settings()
        let report = try await StatusReport(
            databases: try await Databases(settings, logger: settings.logger), settings: settings)
        Console.line(json ? try report.json() : report.text)
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
    var sourceMaxLSN: String
    @OrNull var sourceMaxCommitTime: String?
    var captures: [CaptureLine]
    var projections: [ProjectionLine]

    init(databases: Databases, settings: Settings) async throws {
        let watermarks = try await databases.serving.watermarks(source: settings.sourceName)
        let states = try await databases.serving.projections()
        let bounds = try await databases.source.bounds()
        let catalog = try await databases.source.catalog().carried
        source = "\(settings.source)"
        serving = "\(settings.serving)"
        sourceMaxLSN = "\(bounds.maxLSN)"
        sourceMaxCommitTime = bounds.maxCommitTime.map { "\($0)" }
        func lag(at lsn: LSN?, _ time: Timestamp?) -> Double? {
            guard let lsn else { return nil }
            if lsn >= bounds.maxLSN { return 0 }
            guard let time, let end = bounds.maxCommitTime else { return nil }
            return max(0, end.seconds(since: time))
        }
        captures = watermarks.sorted { $0.key < $1.key }.map { name, watermark in
            // What the source tells now may not have come to a pipeline yet, or none runs.
            let trouble = bounds.captures[name]?.trouble(of: name, at: watermark.lastIngestedLSN)
            return CaptureLine(
                capture: name, status: (trouble == nil ? watermark.status : .error).rawValue,
                lastIngestedLSN: "\(watermark.lastIngestedLSN)",
                lastCommitTime: watermark.lastCommitTime.map { "\($0)" },
                lagSeconds: lag(at: watermark.lastIngestedLSN, watermark.lastCommitTime),
                rowsIngested: watermark.rowsIngested, lastError: watermark.lastError ?? trouble.map { "\($0)" })
        }
        projections = settings.projections.map { projection in
            let name = projection.definition.name
            let state = states[name]
            let wait = ProjectionWait.reason(
                name: name, state: state, captures: catalog.instances(of: projection.definition),
                watermarks: watermarks)
            return ProjectionLine(
                projection: name, enabled: projection.isEnabled, status: state?.status.rawValue ?? "INIT",
                asOfLSN: state?.asOfLSN.map { "\($0)" }, asOfTime: state?.asOfTime.map { "\($0)" },
                lagSeconds: lag(at: state?.asOfLSN, state?.asOfTime), rowsWritten: state?.rowsWritten ?? 0,
                builtAt: state?.builtAt.map { "\($0)" }, lastError: state?.lastError,
                waiting: projection.isEnabled ? wait.map { "\($0)" } : nil)
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

            \(captureTable.text)

            \(projectionTable.text)
            """ + Self.section("waiting", waiting) + Self.section("errors", errors)
    }
}

extension SourceCatalog {
    /// The capture instances a projection reads; one that the source does not have goes by the name it is given.
    fileprivate func instances(of definition: ProjectionDefinition) -> Set<String> {
        Set(
            definition.captures.map { use in
                captures.first { $0.instance == use.name || $0.table == use.name }?.instance
                    ?? refused.first { $0.isNamed(use.name) }?.instance ?? use.name
            })
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
