import ArgumentParser
import Foundation
import Logging
import Testing

@testable import Tidemark
@testable import TidemarkCLI

@Suite("Settings")
struct SettingsTests {
    /// A directory of its own with files in it, removed afterwards.
    final class Directory {
        let path: String

        init(_ files: [String: String] = [:]) throws {
            let root = FileManager.default.temporaryDirectory.appending(path: "tidemark-\(UUID().uuidString)")
            path = root.path(percentEncoded: false)
            try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
            for (name, contents) in files {
                let file = root.appending(path: name)
                try FileManager.default.createDirectory(
                    at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
                try Data(contents.utf8).write(to: file)
            }
        }

        deinit { try? FileManager.default.removeItem(atPath: path) }
    }

    static func load(
        _ environment: [String: String] = [:], yaml: String? = nil, file: String? = nil
    ) throws -> Settings {
        let directory = try Directory(yaml.map { ["tidemark.yml": $0] } ?? [:])
        return try withExtendedLifetime(directory) {
            try Settings.load(environment: environment, file: file, workingDirectory: directory.path)
        }
    }

    static func message(_ environment: [String: String] = [:], yaml: String? = nil) -> String {
        do {
            _ = try load(environment, yaml: yaml)
            return "nothing is wrong"
        } catch TidemarkError.configuration(let message) {
            return message
        } catch {
            return "not a configuration error: \(error)"
        }
    }

    @Test("without any setting the defaults hold, and the built-in projections are on")
    func defaults() throws {
        let settings = try Self.load(["PATH": "/bin", "HOME": "/root"])
        #expect(settings.source == .sqlite(path: "data/source.db"))
        #expect(settings.serving == .sqlite(path: "data/serving.db"))
        #expect(settings.sourceName == "source1")
        #expect(settings.pollInterval == .milliseconds(200))
        #expect(settings.batchMaxRows == 50_000)
        #expect(settings.projectionInterval == .milliseconds(200))
        #expect(settings.projectionsDirectory == nil)
        #expect(settings.stateDirectory == "data/state")
        #expect(settings.logLevel == .info)
        #expect(settings.logFormat == .text)
        #expect(settings.memory.whole == 1_300_000_000)
        #expect(settings.memory.duckDBLimit == "900000KB")
        let names = ["orders_kpi_by_minute_segment", "orders_latest"]
        #expect(settings.projections.map(\.definition.name) == names)
        #expect(settings.enabledProjections.count == 2)
        #expect(settings.projections.allSatisfy { $0.interval == .milliseconds(200) })
    }

    @Test("every default can be read")
    func defaultsAreValid() throws {
        for key in SettingKey.allCases {
            guard let value = key.defaultValue else { continue }
            _ = try Self.load([key.variable: value])
        }
    }

    @Test("the environment wins over tidemark.yml, whose keys may be in capitals")
    func precedence() throws {
        let settings = try Self.load(
            ["POLL_INTERVAL": "1s", "LOG_LEVEL": "warn", "LOG_FORMAT": "", "ENABLE_PROJ_ORDERS_LATEST": "true"],
            yaml: """
                poll_interval: 5s
                PROJECTION_INTERVAL: 2m
                cdc_batch_max_rows: 10
                log_format: json
                source_dsn: sqlite:x.db
                enable_proj_orders_latest: false
                enable_proj_orders_kpi_by_minute_segment: off
                duckdb_memory_limit: 512 mib
                """)
        #expect(settings.pollInterval == .seconds(1))
        #expect(settings.projectionInterval == .seconds(120))
        #expect(settings.batchMaxRows == 10)
        #expect(settings.logLevel == .warning)
        #expect(settings.logFormat == .json)
        #expect(settings.source == .sqlite(path: "x.db"))
        #expect(settings.enabledProjections.map(\.definition.name) == ["orders_latest"])
        #expect(settings.enabledProjections.first?.interval == .seconds(120))
        #expect(settings.memory.duckDBLimit == "483183KB")
    }

    @Test("--config names another file, which must exist")
    func namedFile() throws {
        let directory = try Directory(["other.yml": "source_name: shop", "tidemark.yml": "source_name: ignored"])
        let settings = try Settings.load(
            environment: [:], file: directory.path + "/other.yml", workingDirectory: directory.path)
        #expect(settings.sourceName == "shop")
        #expect(
            throws: TidemarkError.configuration(
                "nowhere.yml cannot be read: check that it is there and that you may read it")
        ) {
            try Settings.load(environment: [:], file: "nowhere.yml", workingDirectory: directory.path)
        }
    }

    @Test(
        "a mistake in tidemark.yml is one line with its place and the remedy",
        arguments: [
            ("pol_interval: 5s", "tidemark.yml:1: key 'pol_interval': is unknown (did you mean 'poll_interval'?)"),
            ("\nfrobnicate: 1", "tidemark.yml:2: key 'frobnicate': is unknown; known are source_dsn, "),
            ("poll_interval: 5", "tidemark.yml:1: poll_interval: '5' is not a duration; write a number and a unit"),
            ("poll_interval:", "tidemark.yml:1: key 'poll_interval': is empty; write a value, or remove the line"),
            ("poll_interval: ''", "tidemark.yml:1: poll_interval: is empty"),
            ("poll_interval: [5s]", "key 'poll_interval': is a list; write a value"),
            ("poll_interval: 5s\nPOLL_INTERVAL: 6s", "tidemark.yml:2: key 'POLL_INTERVAL': is written twice"),
            ("poll_interval: 5s\npoll_interval: 6s", "key 'poll_interval' is written twice"),
            ("enable_proj_orders_lates: true", "tidemark.yml:1: enable_proj_orders_lates: there is no such projection"),
            ("enable_proj_orders_latest: maybe", "'maybe' is neither true nor false"),
            ("source_dsn: sqlite:a\nsource_dsn_file: b", "SOURCE_DSN_FILE is set as well; keep one of them"),
            ("a: [", "not valid YAML"),
        ])
    func fileMistakes(yaml: String, expected: String) {
        let message = Self.message(yaml: yaml)
        #expect(message.contains(expected))
        #expect(message.split(whereSeparator: \.isNewline).count == 1)
    }

    @Test(
        "a mistake in the environment is one line that names the variable",
        arguments: [
            ("PROJECTION_INTERVAL", "-1s", "PROJECTION_INTERVAL in the environment: '-1s' is not a duration"),
            ("CDC_BATCH_MAX_ROWS", "1.5", "'1.5' is not a whole number above 0"),
            ("CDC_BATCH_MAX_ROWS", "0", "'0' is not a whole number above 0"),
            ("LOG_LEVEL", "inof", "'inof' is unknown (did you mean 'info'?); write one of trace, debug, info"),
            ("LOG_FORMAT", "xml", "'xml' is unknown; write one of text, json"),
            ("SOURCE_NAME", "a b", "'a b' is not a source's name"),
            ("DUCKDB_MEMORY_LIMIT", "1", "'1' is not an amount of memory"),
            ("DUCKDB_MEMORY_LIMIT", "0GB", "'0GB' is not an amount of memory"),
            ("MEMORY_LIMIT", "much", "MEMORY_LIMIT in the environment: 'much' is not an amount of memory"),
            ("MEMORY_LIMIT", "350MB", "'350MB' is too little: the service takes 300 MB besides DuckDB"),
            ("ENABLE_PROJ_ORDERS_LATEST", "2", "'2' is neither true nor false"),
            (
                "ENABLE_PROJ_ORDER_LATEST", "true",
                """
                ENABLE_PROJ_ORDER_LATEST in the environment: there is no such projection (did you mean \
                ENABLE_PROJ_ORDERS_LATEST?); there are: orders_kpi_by_minute_segment, orders_latest
                """
            ),
            ("ENABLE_PROJ_orders_latest", "true", "write it in capitals, ENABLE_PROJ_ORDERS_LATEST"),
            ("PROJECTIONS_DIR", "/does/not/exist", "/does/not/exist is not a directory"),
            ("SOURCE_DSN", "sqlite:", "SOURCE_DSN in the environment: the DSN has no path after 'sqlite:'"),
            ("SERVING_DSN_FILE", "/does/not/exist", "SERVING_DSN_FILE in the environment: /does/not/exist cannot be"),
        ])
    func environmentMistakes(name: String, value: String, expected: String) {
        let message = Self.message([name: value])
        #expect(message.contains(expected))
        #expect(message.split(whereSeparator: \.isNewline).count == 1)
    }

    @Test("DuckDB gets what the service's memory leaves, or the service what DuckDB's makes it")
    func memory() throws {
        func memory(_ environment: [String: String]) throws -> [Int] {
            let memory = try Self.load(environment).memory
            return [memory.whole, memory.duckDB]
        }
        #expect(try memory(["MEMORY_LIMIT": "1.5GB"]) == [1_500_000_000, 1_200_000_000])
        #expect(try memory(["DUCKDB_MEMORY_LIMIT": "2GB"]) == [2_300_000_000, 2_000_000_000])
        #expect(try memory(["MEMORY_LIMIT": "2GiB", "DUCKDB_MEMORY_LIMIT": "500 mb"]) == [2 << 30, 500_000_000])
        #expect(
            Self.message(["MEMORY_LIMIT": "1GB", "DUCKDB_MEMORY_LIMIT": "800MB"])
                .contains("DuckDB's 800MB and 300 MB for the rest are more than MEMORY_LIMIT (1GB)"))
    }

    @Test("SQL Server is named by either kind of DSN, with another login for bootstrap")
    func sqlServer() throws {
        let directory = try Directory(["admin": "sqlserver://sa:s3cret@db:1433?database=shop\n"])
        let settings = try Settings.load(
            environment: [
                "SOURCE_DSN": "sqlserver://reader:s3cret@db:1433?database=shop",
                "SERVING_DSN": "Driver={ODBC};Server=db;PWD=s3cret",
                "BOOTSTRAP_SOURCE_DSN_FILE": directory.path + "/admin",
                "CDC_ON_GAP": "snapshot", "CDC_EXCLUDE_COLUMNS": "dbo_shops.location, dbo_shops.area",
                "CDC_CAPTURE_POLLING": "2s", "CDC_INCLUDE": "shop_*, customers", "CDC_EXCLUDE": "*_audit",
            ], file: nil, workingDirectory: directory.path)
        #expect(settings.source.description == "sqlserver://reader:***@db:1433?database=shop")
        #expect(settings.serving.description == "Driver=ODBC;Server=db;PWD=***")
        #expect(settings.bootstrapSource?.description == "sqlserver://sa:***@db:1433?database=shop")
        #expect(settings.bootstrapServing == nil)
        #expect(settings.excludedColumns == ["dbo_shops.location", "dbo_shops.area"])
        #expect(settings.captureFilter == CaptureFilter(include: ["shop_*", "customers"], exclude: ["*_audit"]))
        #expect(Self.message(["CDC_INCLUDE": "orders,,customers"]).contains("has an empty pattern"))
        #expect(settings.capturePolling == .seconds(2))
        #expect(settings.onGap == .snapshot)
        #expect(Self.message(["CDC_EXCLUDE_COLUMNS": "location"]).contains("is not capture_instance.column"))
        #expect(Self.message(["CDC_CAPTURE_POLLING": "500ms"]).contains("whole seconds"))
    }

    @Test("a mistake in a DSN of the file does not show the DSN")
    func secretInFile() {
        #expect(!Self.message(yaml: "source_dsn: sqlsever://sa:s3cret@db").contains("s3cret"))
        #expect(!Self.message(yaml: "source_dsn: 'sqlserver://sa:s3cret@db\nfoo: bar").contains("s3cret"))
    }

    @Test("a DSN can be read from a file, and the environment's file wins over the yml's DSN")
    func dsnFile() throws {
        let directory = try Directory([
            "secret": "sqlite:/run/a.db\n", "empty": " \n", "bad": "sqlserver://sa:s3cret@",
            "tidemark.yml": "source_dsn: sqlite:b.db",
        ])
        func load(_ name: String) throws -> Settings {
            try Settings.load(
                environment: ["SOURCE_DSN_FILE": directory.path + "/" + name], file: nil,
                workingDirectory: directory.path)
        }
        #expect(try load("secret").source == .sqlite(path: "/run/a.db"))
        #expect(throws: TidemarkError.self) { try load("empty") }
        let error = #expect(throws: TidemarkError.self) { try load("bad") }
        #expect(error?.description.contains("has no host") == true)
        #expect(error?.description.contains("s3cret") == false)
        #expect(Self.message(["SOURCE_DSN": "sqlite:a", "SOURCE_DSN_FILE": "b"]).contains("keep one of them"))
    }

    @Test("help names every setting", arguments: SettingKey.allCases)
    func help(key: SettingKey) {
        let name = key.variable
        let help = TidemarkCommand.helpMessage()
        #expect(name.hasSuffix("_DSN_FILE") ? help.contains("..._DSN_FILE") : help.contains(name))
    }

    @Test("PROJECTIONS_DIR takes the place of the built-in projections")
    func ownProjections() throws {
        let directory = try Directory([
            "mine/totals/projection.yml": "name: totals\ncaptures: [orders]\nkey: [id]\ninterval: 5s\nenabled: false",
            "mine/totals/query.sql": "SELECT 1 AS id",
        ])
        let path = directory.path + "/mine"
        let settings = try Self.load(["PROJECTIONS_DIR": path])
        #expect(settings.projections.map(\.definition.name) == ["totals"])
        #expect(settings.projections[0].interval == .seconds(5))
        #expect(settings.enabledProjections.isEmpty)
        #expect(try Self.load(["PROJECTIONS_DIR": path, "ENABLE_PROJ_TOTALS": "1"]).enabledProjections.count == 1)
        #expect(
            Self.message(["PROJECTIONS_DIR": path, "ENABLE_PROJ_ORDERS_LATEST": "1"])
                .contains("there is no such projection; there are: totals"))
    }
}

@Suite("Projections of the repository")
struct BuiltInProjectionTests {
    static let repository = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    @Test("the binary holds the projections of the repository, to the letter")
    func embedded() throws {
        let folder = Self.repository.appending(path: "projections").path(percentEncoded: false)
        #expect(try ProjectionCatalog.builtIn() == ProjectionCatalog.load(from: folder))
        #expect(try ProjectionCatalog.builtIn().projections.allSatisfy { $0.affected != nil })
    }

    @Test("the examples load")
    func examples() throws {
        let folder = Self.repository.appending(path: "examples/projections").path(percentEncoded: false)
        #expect(try ProjectionCatalog.load(from: folder).projections.map(\.name) == ["customer_lifetime_value"])
    }

    @Test("the example of a tidemark.yml holds the defaults")
    func exampleSettings() throws {
        let file = Self.repository.appending(path: "examples/tidemark.yml").path(percentEncoded: false)
        let example = try Settings.load(environment: [:], file: file, workingDirectory: "/")
        let defaults = try Settings.load(environment: [:], file: nil, workingDirectory: "/does/not/exist")
        #expect(String(reflecting: example) == String(reflecting: defaults))
        let text = try String(contentsOfFile: file, encoding: .utf8)
        for key in SettingKey.allCases { #expect(text.contains(key.rawValue)) }
    }
}
