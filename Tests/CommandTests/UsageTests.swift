import TestSupport
import Testing

extension Commands {
    /// Help, and mistakes on the command line and in settings: what an operator reads first.
    @Suite("Usage")
    struct UsageTests {
        let place: Workplace

        init() throws { place = try Workplace() }

        static let verbs = ["demo", "run", "bootstrap", "status", "loadgen", "verify", "rebuild", "resync"]

        @Test("help goes to standard output, teaches with an example, and fits on a terminal of 80 columns")
        func help() async throws {
            for verb in [""] + Self.verbs {
                let outcome =
                    try await verb.isEmpty ? place.run("--help") : place.run(verb, "--help")
                #expect(outcome.end == .exit(0))
                #expect(outcome.errors.isEmpty)
                #expect(outcome.output.contains("Example:\n  "), "help of '\(verb)' has no example")
                // The line of the usage is the argument parser's, and never wrapped.
                let long = outcome.lines.filter { $0.count > 80 && !$0.hasPrefix("USAGE:") }
                #expect(long.isEmpty, "help of '\(verb)'")
                // An example that wraps cannot be copied.
                let examples = outcome.lines.drop { $0 != "Example:" }.dropFirst().prefix { !$0.isEmpty }
                #expect(!examples.isEmpty && examples.allSatisfy { $0.hasPrefix("  ") }, "help of '\(verb)'")
            }
            let root = try await place.run("--help").output
            #expect(Self.verbs.allSatisfy { root.contains("\n  \($0) ") })
            #expect(root.contains("Exit codes: 0 success"))
            #expect(try await place.run("--version").output == "0.1.0\n")
        }

        @Test("without a command it says what there is")
        func noCommand() async throws {
            let outcome = try await place.run()
            #expect(outcome.end == .exit(0))
            #expect(outcome.output.contains("SUBCOMMANDS:"))
        }

        /// A command line, and what its one line on standard error says.
        static let mistakes: [(arguments: [String], complaint: String)] = [
            (["frobnicate"], "there is no command 'frobnicate'; there are: demo, run, bootstrap, status"),
            (["statsu"], "there is no command 'statsu' (did you mean 'status'?)"),
            (["--frobnicate"], "unknown option '--frobnicate' (see tidemark --help)"),
            (["run", "--frobnicate"], "unknown option '--frobnicate' (see tidemark run --help)"),
            (["run", "now"], "unexpected argument 'now' (see tidemark run --help)"),
            (["rebuild"], "missing expected argument '<projection>' (see tidemark rebuild --help)"),
            (["loadgen", "--rate", "many"], "the value 'many' is invalid for '--rate <n>'"),
            (["loadgen", "--rate", "0"], "--rate must be from 1 to 1000000"),
            (
                ["loadgen", "--duration", "5"],
                "the value '5' is invalid for '--duration <duration>'; write a number and a unit"
            ),
            (["loadgen", "--duration", "0s"], "--duration must be longer than 0"),
            (["demo", "--duration", "0s"], "--duration must be longer than 0"),
            (["demo", "--rate", "1000001"], "--rate must be from 1 to 1000000"),
            (
                ["bootstrap", "--wait", "soon"],
                "the value 'soon' is invalid for '--wait <duration>'; write a number and"
            ),
        ]

        @Test("a mistake on the command line is one line and exit 64", arguments: mistakes)
        func mistake(arguments: [String], complaint: String) async throws {
            let outcome = try await run(arguments)
            #expect(outcome.end == .exit(64))
            #expect(outcome.output.isEmpty)
            #expect(outcome.errorLines.count == 1)
            #expect(outcome.errors.hasPrefix("tidemark: \(complaint)"), "\(outcome.errors)")
        }

        private func run(_ arguments: [String]) async throws -> Workplace.Outcome {
            switch arguments.count {
            case 1: try await place.run(arguments[0])
            case 2: try await place.run(arguments[0], arguments[1])
            default: try await place.run(arguments[0], arguments[1], arguments[2])
            }
        }

        /// A setting, its text, and what the one line on standard error says besides the setting's name.
        static let settings: [(name: String, text: String, complaint: String)] = [
            ("POLL_INTERVAL", "5", "'5' is not a duration; write a number and a unit, such as 250ms"),
            ("PROJECTION_INTERVAL", "-5s", "'-5s' is not a duration"),
            ("CDC_BATCH_MAX_ROWS", "many", "'many' is not a whole number above 0; write one such as 50000"),
            ("CDC_BATCH_MAX_ROWS", "0", "'0' is not a whole number above 0"),
            ("LOG_FORMAT", "xml", "'xml' is unknown; write one of text, json"),
            ("DUCKDB_MEMORY_LIMIT", "lots", "'lots' is not an amount of memory"),
            ("SOURCE_DSN", "source.db", "write sqlite:PATH"),
            ("SOURCE_DSN", "sqlite:", "has no path after 'sqlite:'"),
            ("SERVING_DSN", "mysql://root:hunter2@db/shop", "write sqlite:PATH"),
            ("SOURCE_DSN", "sqlserver://sa:hunter2@@db/", "write %40"),
            ("SOURCE_DSN", "sqlserver://sa:hunter2@db:1433?databse=shop", "did you mean 'database'?"),
            ("SERVING_DSN", "Driver={ODBC;Server=db;UID=sa;PWD=hunter2", "has a '{' without its '}'"),
            ("SOURCE_DSN", "sqlserver://sa:hunter2@db?encrypt=maybe", "has a value of encrypt that is none of"),
            ("CDC_ON_GAP", "skip", "'skip' is unknown; write one of stop, snapshot"),
            ("CDC_INCLUDE", "orders,", "'orders,' has an empty pattern; write tables' names"),
            ("CDC_EXCLUDE_COLUMNS", "location", "'location' is not capture_instance.column"),
            ("CDC_CAPTURE_POLLING", "500ms", "'500ms' is not whole seconds"),
            ("SOURCE_DSN_FILE", "nowhere.txt", "nowhere.txt cannot be read"),
            ("ENABLE_PROJ_ORDERS_LATES", "true", "did you mean ENABLE_PROJ_ORDERS_LATEST?"),
            ("ENABLE_PROJ_ORDERS_LATEST", "maybe", "'maybe' is neither true nor false"),
            ("PROJECTIONS_DIR", "nowhere", "nowhere"),
        ]

        @Test(
            "a wrong setting is one line that names it and the remedy, and exit 78; a password stays secret",
            arguments: settings)
        func setting(name: String, text: String, complaint: String) async throws {
            let outcome = try await place.run("run", environment: [name: text])
            #expect(outcome.end == .exit(78))
            #expect(outcome.output.isEmpty)
            #expect(outcome.errorLines.count == 1)
            #expect(name == "PROJECTIONS_DIR" || outcome.errors.hasPrefix("tidemark: \(name) in the environment: "))
            #expect(outcome.errors.contains(complaint), "\(outcome.errors)")
            #expect(!outcome.errors.contains("hunter2"))
        }

        @Test("a key of tidemark.yml that does not exist is named with its line, and exit 78")
        func unknownKey() async throws {
            try place.write("poll_interval: 1s\nsorce_dsn: sqlite:data/source.db\n", to: "tidemark.yml")
            let outcome = try await place.run("status")
            #expect(outcome.end == .exit(78))
            #expect(
                outcome.errors == "tidemark: tidemark.yml:2: key 'sorce_dsn': is unknown (did you mean 'source_dsn'?)\n"
            )

            let missing = try await place.run("status", "--config", "other.yml")
            #expect(missing.end == .exit(78))
            #expect(missing.errors.hasPrefix("tidemark: other.yml cannot be read"))
        }

        @Test("a missing database is no reason to make an empty one: exit 69 and what to do")
        func missingDatabase() async throws {
            for verb in ["run", "status", "loadgen", "verify"] {
                let outcome = try await place.run(verb)
                #expect(outcome.end == .exit(69))
                #expect(
                    outcome.errors == """
                        tidemark: there is no source database data/source.db: run tidemark bootstrap to make it, or correct \
                        SOURCE_DSN\n
                        """)
            }
            #expect(!place.exists("data"))

            try place.write("", to: "data/source.db")
            let plain = try await place.run("loadgen")
            #expect(plain.end == .exit(69))
            #expect(
                plain.errors.hasSuffix(
                    "change data capture is not enabled on the source database data/source.db: run tidemark bootstrap\n"
                ))
        }

        @Test("a serving database that is missing or not set up: exit 69, run tidemark bootstrap")
        func noServing() async throws {
            #expect(try await place.run("bootstrap").end == .exit(0))
            try place.write("", to: "data/empty.db")
            for verb in ["run", "status", "verify"] {
                let missing = try await place.run(verb, environment: ["SERVING_DSN": "sqlite:data/none.db"])
                #expect(missing.end == .exit(69))
                #expect(missing.errors.contains("there is no serving database data/none.db: run tidemark bootstrap"))
                let empty = try await place.run(verb, environment: ["SERVING_DSN": "sqlite:data/empty.db"])
                #expect(empty.end == .exit(69))
                #expect(empty.errors.contains("data/empty.db is not set up: run tidemark bootstrap"), "\(empty.errors)")
            }
            #expect(!place.exists("data/none.db"))
            try place.write("this is no database, whatever its name says", to: "data/text.db")
            let text = try await place.run("status", environment: ["SERVING_DSN": "sqlite:data/text.db"])
            #expect(text.end == .exit(69))
            #expect(text.errors.contains("the serving database data/text.db is not an SQLite database"))
            #expect(text.errorLines.count == 1)
        }

        @Test("before anything is built, verify says so and exit 69")
        func nothingBuilt() async throws {
            #expect(try await place.run("bootstrap").end == .exit(0))
            let verify = try await place.run("verify")
            #expect(verify.end == .exit(69))
            #expect(verify.errors.contains("has not been built yet; start `tidemark run`"))
            let unknown = try await place.run("verify", "orders")
            #expect(unknown.end == .exit(78))
            #expect(
                unknown.errors.contains(
                    "there is no projection orders; there are: orders_kpi_by_minute_segment, orders_latest"))
        }
    }
}
