import ArgumentParser
import Foundation

/// The root command: its help, and how a command's end becomes an exit code and a line on standard error.
@main
struct TidemarkCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tidemark",
        abstract: "Keeps query-ready tables in step with an OLTP database, from its change data capture.",
        discussion: """
            Tidemark reads the changes that the source database records, lands them in an append-only log in the \
            serving database, transforms them with DuckDB, and commits each projection together with the log position \
            it is true at.

            Settings come from the environment, or from the same names in small letters in tidemark.yml:

              SOURCE_DSN, SERVING_DSN   the databases, e.g. sqlite:data/source.db
              POLL_INTERVAL             pause between two looks at the log: 200ms
              ENABLE_PROJ_<NAME>        switches a projection: true or false
              PROJECTIONS_DIR           your projections, not the built-in ones

            Exit codes: 0 success, 1 verify found a difference, 64 wrong usage, 69 a database is not available, \
            70 internal error, 75 another pipeline is at work, 78 wrong configuration.
            """,
        version: "0.1.0",
        subcommands: [
            DemoCommand.self, RunCommand.self, BootstrapCommand.self, StatusCommand.self, LoadgenCommand.self,
            VerifyCommand.self, RebuildCommand.self,
        ])

    static func main() async {
        let command: any ParsableCommand
        do {
            command = try parseAsRoot()
        } catch {
            end(parsing: error)
        }
        do {
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                var command = command
                try command.run()
            }
        } catch {
            end(running: error)
        }
    }

    /// Ends with what the argument parser says: help and version on standard output, mistakes in one line.
    private static func end(parsing error: any Error) -> Never {
        let code = exitCode(for: error)
        if code.isSuccess { exit(withError: error) }
        printError(message(for: error) + " (see tidemark --help)")
        exit(withError: code)
    }

    /// Ends after a command threw.
    private static func end(running error: any Error) -> Never {
        // What the argument parser knows itself: a request for help, or a mistake that only run() could find.
        if exitCode(for: error).isSuccess { exit(withError: error) }
        if error is ValidationError { end(parsing: error) }
        if !(error is ExitCode) { printError("\(error)") }
        exit(withError: ExitCode(for: error))
    }

    /// One line on standard error.
    private static func printError(_ message: String) {
        let line = message.split(whereSeparator: \.isNewline).joined(separator: " ")
        FileHandle.standardError.write(Data("tidemark: \(line)\n".utf8))
    }
}
