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

            Example:
              tidemark demo                      watch it work, on throw-away databases
              tidemark bootstrap                 prepare the databases in data/
              tidemark loadgen --duration 60s &  put a shop's load on the source
              tidemark run                       keep the projections in step with it

            Settings come from the environment, or from the same names in small letters in tidemark.yml:

              SOURCE_DSN, SERVING_DSN   sqlite:PATH, sqlserver://... or an ODBC string
              BOOTSTRAP_SOURCE_DSN, BOOTSTRAP_SERVING_DSN
                                        administrators' logins, for bootstrap
              ..._DSN_FILE              or a file to read the DSN from
              SOURCE_NAME               name the watermarks are kept under: source1
              POLL_INTERVAL             pause between two looks at the log: 200ms
              CDC_BATCH_MAX_ROWS        changes in one window at most: 50000
              CDC_ON_GAP                changes purged unread: stop, or read a snapshot
              CDC_INCLUDE, CDC_EXCLUDE  tables to capture, and not to: shop_*, *_audit
              CDC_EXCLUDE_COLUMNS       captured columns to leave out: dbo_t.a, dbo_t.b
              CDC_CAPTURE_POLLING       pause of SQL Server's capture job: 1s
              PROJECTION_INTERVAL       pause between two commits of a projection: 200ms
              ENABLE_PROJ_<NAME>        switches a projection: true or false
              PROJECTIONS_DIR           your projections, not the built-in ones
              STATE_DIR                 where the replica is kept: data/state
              MEMORY_LIMIT              memory for the service: 1.3GB
              DUCKDB_MEMORY_LIMIT       DuckDB's part: MEMORY_LIMIT less 300MB
              LOG_LEVEL, LOG_FORMAT     debug, info, warning, error; text or json

            Exit codes: 0 success, 1 verify found a difference, 64 wrong usage, 69 a database is not available or \
            not set up, 70 any other error, 75 another pipeline is at work, 78 wrong configuration.
            """,
        version: "0.1.0",
        subcommands: [
            DemoCommand.self, RunCommand.self, BootstrapCommand.self, StatusCommand.self, LoadgenCommand.self,
            VerifyCommand.self, RebuildCommand.self, ResyncCommand.self,
        ])

    static func main() async {
        Allocator.setUp()
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
        Console.complaint(
            UsageError(message(for: error), arguments: Array(CommandLine.arguments.dropFirst())).description)
        exit(withError: code)
    }

    /// Ends after a command threw.
    private static func end(running error: any Error) -> Never {
        // What the argument parser knows itself: a request for help, or a mistake that only run() could find.
        if exitCode(for: error).isSuccess { exit(withError: error) }
        if error is ValidationError { end(parsing: error) }
        if !(error is ExitCode) { Console.complaint("\(error)") }
        exit(withError: ExitCode(for: error))
    }
}
