import ArgumentParser
import Tidemark

struct VerifyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Recompute each projection and compare; exit 1 on a difference.",
        discussion: """
            Each projection's query is evaluated in full as of its as_of_lsn, on an empty replica filled from staging, and \
            compared with the table. Each source table is compared with what staging says it holds, but for rows that \
            changed after the watermark. Nothing is written, and the pipeline may go on working.

            Example:
              tidemark verify
              tidemark verify orders_kpi_by_minute_segment
            """)

    @OptionGroup var common: CommonOptions

    @Argument(help: "Check this projection only.")
    var projection: String?

    func run() async throws {
        let settings = try common.settings()
        let databases = try Databases(settings)
        let report = try await VerifyReport(
            databases: databases, settings: settings, definitions: try settings.definitions(named: projection),
            withSources: projection == nil)
        for line in report.lines { print(line) }
        if !report.isEqual { throw ExitCode.verificationFailed }
    }
}

/// What verification found, as lines to print.
struct VerifyReport {
    var lines: [String] = []
    var isEqual = true

    init(databases: Databases, settings: Settings, definitions: [ProjectionDefinition], withSources: Bool) async throws {
        let verifier = try await Verifier(
            source: databases.source, store: databases.serving, sourceName: settings.sourceName,
            memoryLimit: settings.duckDBMemoryLimit, logger: LoggerFactory(level: settings.logLevel, format: settings.logFormat).logger("tidemark"))
        for finding in try await verifier.projections(definitions) { add(finding) }
        if withSources {
            for finding in try await verifier.sources() { add(finding) }
        }
    }

    private mutating func add(_ finding: Verifier.Finding) {
        let difference = finding.difference
        let verdict = difference.isEmpty ? "equal" : "DIFFERENT"
        switch finding.subject {
        case .projection(let name, let asOf):
            lines.append("\(verdict)  projection \(name)  \(difference.actualRows) rows as of LSN \(asOf)")
        case .source(let table, let asOf, let inFlight):
            let rest = inFlight > 0 ? ", \(inFlight) changed since and left out" : ""
            lines.append("\(verdict)  source table \(table)  \(difference.actualRows) rows as of LSN \(asOf)\(rest)")
        }
        guard !difference.isEmpty else { return }
        isEqual = false
        lines.append("  \(difference.missingRows) missing, \(difference.unexpectedRows) unexpected, for example:")
        lines += difference.sample.map { "  \($0)" }
    }
}
