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

            Exit code 1 when anything differs or cannot be compared, with a sample of the rows.

            Example:
              tidemark verify
              tidemark verify orders_kpi_by_minute_segment
            """)

    @OptionGroup var common: CommonOptions

    @Argument(help: "Check this projection only.")
    var projection: String?

    func run() async throws {
        let settings = try common.settings()
        let report = try await VerifyReport(
            databases: try await Databases(settings, logger: settings.logger), settings: settings,
            definitions: try settings.definitions(named: projection), withSources: projection == nil)
        Console.line(report.text)
        if !report.isEqual { throw ExitCode.failureFound }
    }
}

/// What verification found, to be printed.
struct VerifyReport {
    private let findings: [Verifier.Finding]

    var isEqual: Bool { findings.allSatisfy(\.isEqual) }

    /// Checks projections and, when wanted, what is staged of each source table.
    init(databases: Databases, settings: Settings, definitions: [ProjectionDefinition], withSources: Bool) async throws
    {
        let loggers = LoggerFactory(level: settings.logLevel, format: settings.logFormat)
        let verifier = try await Verifier(
            source: databases.source, store: databases.serving, sourceName: settings.sourceName,
            engine: databases.passingEngine(settings, logger: loggers.logger("tidemark")))
        let projections = try await verifier.projections(definitions)
        findings = projections + (withSources ? try await verifier.sources() : [])
    }

    /// A table of all that was checked; below it, what is different.
    var text: String {
        var table = TextTable(["RESULT", "CHECKED", "NAME", "ROWS", "AS OF LSN"])
        for finding in findings {
            let verdict: String
            var rows = "-"
            switch finding.outcome {
            case .compared(let difference):
                verdict = difference.isEmpty ? "equal" : "DIFFERENT"
                rows = difference.actualRows.grouped
            case .failed:
                verdict = "FAILED"
            }
            switch finding.subject {
            case .projection(let name, let asOf):
                table.add([verdict, "projection", name, rows, "\(asOf)"])
            case .source(let name, let asOf, let inFlight):
                let rest = inFlight > 0 ? " (\(inFlight.grouped) rows changed since are left out)" : ""
                table.add([verdict, "source table", name, rows, "\(asOf)\(rest)"])
            }
        }
        return ([table.text] + findings.filter { !$0.isEqual }.map(Self.details)).joined(separator: "\n\n")
    }

    /// What is different, a sample of it, and what to do about it.
    private static func details(of finding: Verifier.Finding) -> String {
        let name: String
        let sides: String
        let remedy: String
        switch finding.subject {
        case .projection(let projection, _):
            name = "projection \(projection)"
            sides = "missing: the query gives it; unexpected: the table holds it"
            remedy = "tidemark rebuild \(projection) repairs the table"
        case .source(let table, _, _):
            name = "source table \(table)"
            sides = "missing: staging gives it; unexpected: the source holds it"
            remedy =
                "tidemark resync \(table) has it read anew; changes had bypassed its capture, or staging was changed"
        }
        switch finding.outcome {
        case .failed(let error):
            return "\(name) cannot be compared:\n  \(error)"
        case .compared(let difference):
            let counts = "\(difference.missingRows.grouped) missing, \(difference.unexpectedRows.grouped) unexpected"
            let lines = ["\(name): \(counts) (\(sides))"] + difference.sample.map { "  \($0)" }
            return (lines + ["  \(remedy)"]).joined(separator: "\n")
        }
    }
}
