import Foundation
import Testing

@testable import Tidemark

@Suite("Loading a projection")
struct ProjectionLoadingTests {
    static let definition = """
        name: orders_latest
        captures: [orders, customers]
        key: [order_id]
        """

    static func load(
        _ yaml: String = definition, query: String? = "SELECT 1", affected: String? = nil,
        others: [String: String] = [:]
    ) throws -> ProjectionDefinition {
        var files = others
        files["projection.yml"] = yaml
        files["query.sql"] = query
        files["affected.sql"] = affected
        return try ProjectionDefinition.load(FileTree(root: "p/orders_latest", files: files), folder: "orders_latest")
    }

    /// The message of the configuration error that `body` throws.
    static func message(_ body: () throws -> some Any) -> String? {
        do {
            _ = try body()
            return nil
        } catch TidemarkError.configuration(let message) {
            return message
        } catch {
            return "not a configuration error: \(error)"
        }
    }

    @Test("the shortest definition takes the defaults")
    func defaults() throws {
        let projection = try Self.load()
        #expect(
            projection
                == ProjectionDefinition(
                    name: "orders_latest", captures: [.init(name: "orders"), .init(name: "customers")],
                    key: ["order_id"], query: "SELECT 1"))
        #expect(projection.enabled)
        #expect(projection.interval == nil)
        #expect(projection.enableVariable == "ENABLE_PROJ_ORDERS_LATEST")
    }

    @Test("every key is read, and captures may name their columns")
    func everything() throws {
        let projection = try Self.load(
            """
            # a comment
            name: orders_latest
            description: "Orders: as they stand"
            captures:
              customers: [customer_id, segment, __lsn]
              orders:
            key:
              - order_id
              - line
            interval: 1.5s
            enabled: false
            """, affected: "SELECT 2")
        #expect(projection.summary == "Orders: as they stand")
        #expect(
            projection.captures == [
                .init(name: "customers", columns: ["customer_id", "segment", "__lsn"]), .init(name: "orders"),
            ])
        #expect(projection.key == ["order_id", "line"])
        #expect(projection.interval == .milliseconds(1500))
        #expect(!projection.enabled)
        #expect(projection.affected == "SELECT 2")
    }

    @Test(
        "a mistake in projection.yml is one line with the place, the key and the remedy",
        arguments: [
            ("nme: orders_latest", "p/orders_latest/projection.yml:1: key 'nme': is unknown (did you mean 'name'?)"),
            ("captures: [a]\nkey: [b]", "projection.yml: key 'name' is missing; write name: orders_latest"),
            ("name: orders_latest\nkey: [b]", "key 'captures' is missing"),
            ("name: orders_latest\ncaptures: [a]", "key 'key' is missing"),
            ("name: other\ncaptures: [a]\nkey: [b]", "'other' differs from the folder's name 'orders_latest'"),
            ("name: Orders\ncaptures: [a]\nkey: [b]", "'Orders' is not a projection's name"),
            ("name: 1a\ncaptures: [a]\nkey: [b]", "'1a' is not a projection's name"),
            ("name: ''\ncaptures: [a]\nkey: [b]", "'' is not a projection's name"),
            ("name: [x]\ncaptures: [a]\nkey: [b]", "key 'name': is a list; write the folder's name"),
            ("name: orders_latest\ncaptures: []\nkey: [b]", "projection.yml:2: key 'captures': is an empty list"),
            ("name: orders_latest\ncaptures: {}\nkey: [b]", "key 'captures': is an empty list"),
            ("name: orders_latest\ncaptures:\nkey: [b]", "key 'captures': is empty, not a list"),
            ("name: orders_latest\ncaptures: orders\nkey: [b]", "key 'captures': is 'orders', not a list"),
            ("name: orders_latest\ncaptures: [a, A]\nkey: [b]", "names 'A' twice; keep one"),
            ("name: orders_latest\ncaptures: [a, [b]]\nkey: [b]", "has an item that is a list, not a name"),
            ("name: orders_latest\ncaptures: [a, ~]\nkey: [b]", "has an item that is empty, not a name"),
            ("name: orders_latest\ncaptures: {a: []}\nkey: [b]", "key 'captures': 'a' is an empty list"),
            ("name: orders_latest\ncaptures: {a: x}\nkey: [b]", "'a' is 'x', not a list"),
            ("name: orders_latest\ncaptures: {a: [x, X]}\nkey: [b]", "'a' names 'X' twice"),
            ("name: orders_latest\ncaptures: {a: [x], A: [y]}\nkey: [b]", "names 'A' twice"),
            ("name: orders_latest\ncaptures: [a]\nkey: []", "key 'key': is an empty list"),
            ("name: orders_latest\ncaptures: [a]\nkey: [b, b]", "key 'key': names 'b' twice"),
            ("name: orders_latest\ncaptures: [a]\nkey: b", "key 'key': is 'b', not a list"),
            ("\(definition)\ninterval: 5", "projection.yml:4: key 'interval': '5' is not a duration; write a number"),
            ("\(definition)\ninterval:", "key 'interval': is empty; write a number"),
            ("\(definition)\nenabled: maybe", "key 'enabled': 'maybe' is neither true nor false"),
            ("\(definition)\nenabled: [true]", "key 'enabled': is a list; write true or false"),
            ("\(definition)\nkey: [x]", "key 'key' is written twice; keep one"),
            ("- a\n- b", "expected lines of the form 'key: value'"),
            ("", "key 'name' is missing"),
            ("name: [", "not valid YAML"),
            ("name: a\n---\nname: b", "not valid YAML"),
        ])
    func mistakes(yaml: String, expected: String) throws {
        let message = try #require(Self.message { try Self.load(yaml) })
        #expect(message.contains(expected))
        #expect(message.hasPrefix("p/orders_latest/projection.yml:"))
        #expect(message.split(whereSeparator: \.isNewline).count == 1)
    }

    @Test("a name of more than 100 characters is refused")
    func longName() throws {
        let name = String(repeating: "a", count: 101)
        let tree = FileTree(
            root: name,
            files: ["projection.yml": "name: \(name)\ncaptures: [a]\nkey: [b]", "query.sql": "SELECT 1"])
        let message = try #require(Self.message { try ProjectionDefinition.load(tree, folder: name) })
        #expect(message.contains("101 characters; use at most 100"))
    }

    @Test("missing, empty and misspelt files are named")
    func files() {
        #expect(
            Self.message { try Self.load(query: nil) } ?? ""
                == "p/orders_latest/query.sql is missing: put the query that yields the projection's rows there")
        #expect(
            Self.message { try Self.load(query: " \n-- nothing\n") } ?? ""
                == "p/orders_latest/query.sql is empty; write the query that yields the rows")
        #expect((Self.message { try Self.load(affected: "") } ?? "").contains("affected.sql is empty"))
        #expect(
            (Self.message { try Self.load(others: ["afected.sql": "SELECT 1"]) } ?? "")
                .contains("/afected.sql: no such file belongs to a projection (did you mean 'affected.sql'?)"))
        let empty = FileTree(root: "p/x", files: [:])
        #expect(
            (Self.message { try ProjectionDefinition.load(empty, folder: "x") } ?? "")
                .contains("p/x/projection.yml is missing"))
    }

    @Test("a directory and built-in files give the same catalog, by name")
    func directory() throws {
        let root = FileManager.default.temporaryDirectory.appending(path: "tidemark-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: root) }
        var files: [String: String] = [:]
        for name in ["b_second", "a_first"] {
            files["\(name)/projection.yml"] = "name: \(name)\ncaptures: [orders]\nkey: [id]"
            files["\(name)/query.sql"] = "SELECT id FROM orders"
        }
        let ignored = ["README.md": "read me", "a_first/notes.txt": "notes"]
        for (path, contents) in files.merging(ignored, uniquingKeysWith: { $1 }) {
            let file = root.appending(path: path)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(contents.utf8).write(to: file)
        }
        try FileManager.default.createDirectory(
            at: root.appending(path: "..data"), withIntermediateDirectories: true)

        let path = root.path(percentEncoded: false)
        let catalog = try ProjectionCatalog.load(from: path)
        #expect(try catalog == ProjectionCatalog.load(FileTree(root: "built-in", files: files)))
        #expect(catalog.projections.map(\.name) == ["a_first", "b_second"])
        #expect(catalog["b_second"]?.query == "SELECT id FROM orders")
        #expect(try ProjectionDefinition.load(directory: path + "/a_first/") == catalog["a_first"])

        // An empty folder is somebody's unfinished projection, not nothing.
        try FileManager.default.createDirectory(at: root.appending(path: "c"), withIntermediateDirectories: true)
        func message(_ path: String) -> String { Self.message { try ProjectionCatalog.load(from: path) } ?? "" }
        #expect(message(path).contains("/c/projection.yml is missing"))
        try Data([0x53, 0xFF]).write(to: root.appending(path: "c/query.sql"))
        #expect(message(path).contains("/c/query.sql is not UTF-8"))
        #expect(message(path + "/x").contains("/x is not a directory"))
        #expect(message(path + "/..data").contains("holds no projection"))
    }
}

@Suite("The fingerprint of a projection")
struct FingerprintTests {
    let base = ProjectionDefinition(
        name: "p", captures: [.init(name: "a", columns: ["x", "y"]), .init(name: "b")], key: ["k", "l"],
        query: "SELECT 1\nFROM a", affected: "SELECT k")

    func changed(_ change: (inout ProjectionDefinition) -> Void) -> String {
        var copy = base
        change(&copy)
        return copy.fingerprint
    }

    @Test("it stays when the result is defined the same way")
    func same() {
        #expect(changed { $0.interval = .seconds(9) } == base.fingerprint)
        #expect(changed { $0.enabled = false } == base.fingerprint)
        #expect(changed { $0.summary = "text" } == base.fingerprint)
        #expect(changed { $0.captures.reverse() } == base.fingerprint)
        #expect(changed { $0.captures[0].columns = ["y", "x"] } == base.fingerprint)
        #expect(changed { $0.query = "\r\nSELECT 1\r\nFROM a\r\n" } == base.fingerprint)
    }

    @Test("it changes with everything that defines the result")
    func different() {
        let all = [
            base.fingerprint, changed { $0.name = "q" }, changed { $0.captures[0].name = "c" },
            changed { $0.captures[0].columns = ["x"] }, changed { $0.captures[0].columns = nil },
            changed { $0.captures[1].columns = ["z"] }, changed { $0.captures.removeLast() },
            changed { $0.key = ["l", "k"] }, changed { $0.key = ["k"] }, changed { $0.key = ["kl"] },
            changed { $0.query = "SELECT 2" }, changed { $0.query = "SELECT 1  FROM a" },
            changed { $0.affected = nil }, changed { $0.affected = "SELECT l" },
            changed { $0.captures[1] = .init(name: "b", columns: ["all"]) },
        ]
        #expect(Set(all).count == all.count)
    }
}

@Suite("Suggestions")
struct SuggestionTests {
    @Test("the nearest name is offered when it is a slip of the pen, and nothing otherwise")
    func nearest() {
        let names = ["poll_interval", "projection_interval", "log_level"]
        #expect(Suggestion.nearest(to: "pol_interval", in: names) == "poll_interval")
        #expect(Suggestion.nearest(to: "LOG_LEVLE", in: names) == "log_level")
        #expect(Suggestion.nearest(to: "password", in: names) == nil)
        #expect(Suggestion.nearest(to: "", in: names) == nil)
        #expect(Suggestion.distance("ab", "ba") == 1)
        #expect(Suggestion.distance("", "abc") == 3)
    }
}
