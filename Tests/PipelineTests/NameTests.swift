import DuckDB
import Embedded
import Foundation
import Testing

@testable import DuckDBEngine
@testable import Tidemark

@Suite("Names that captures may have")
struct NameTests {
    private func capture(_ columns: String...) -> Capture {
        Capture(
            instance: "dbo_t", table: "t",
            columns: [Column(name: "id", type: .int64)] + columns.map { Column(name: $0, type: .string) }, key: ["id"])
    }

    @Test("a column is refused only for the names queries or the replica need, in any case")
    func columns() {
        for name in ["__op", "__ord", "rowid", "__actual", "lsn", "__lsn2", "_tidemark_op", "Ä", "temp"] {
            #expect(capture(name).namingProblem == nil)
        }
        #expect(capture("Ä", "ä").namingProblem == nil)
        for name in ["__lsn", "__LSN", "__tidemark_op", "__Tidemark_whatever"] {
            #expect("\(capture(name).namingProblem!)".hasPrefix("column t.\(name) has a name "))
        }
        #expect(
            "\(capture("total", "Total").namingProblem!)".hasPrefix("columns total and Total of t differ in case only"))
    }

    @Test("a capture with such a name is refused alone, and found by what projections call it")
    func catalog() {
        let sound = Capture(
            instance: "dbo_u", table: "u", columns: [Column(name: "id", type: .int64)], key: ["id"])
        let known = RefusedCapture(instance: "dbo_v", reason: .schema("no key"))
        let catalog = SourceCatalog(captures: [capture("__lsn"), sound], refused: [known]).carried
        #expect(catalog.captures == [sound])
        #expect(catalog.refused.map(\.instance) == ["dbo_v", "dbo_t"])
        #expect(catalog.refused[0].isNamed("v") && catalog.refused[0].isNamed("dbo_v"))
        #expect(!catalog.refused[0].isNamed("dbo"))
        #expect(catalog.refused[1].isNamed("t") && !catalog.refused[1].isNamed("bo_t"))
    }

    private static let schema = """
        CREATE TABLE orders (
            id INTEGER PRIMARY KEY, "__op" TEXT, "__ord" TEXT, "rowid" TEXT, "__actual" TEXT, "__staged" TEXT, "staged" TEXT,
            "low" INTEGER, "x" TEXT
        );
        CREATE TABLE changed_orders (id INTEGER PRIMARY KEY, note TEXT);
        CREATE TABLE "actual" (id INTEGER PRIMARY KEY, "piece" TEXT);
        """

    private static let definitions = [
        ProjectionDefinition(
            name: "all", captures: [.init(name: "orders"), .init(name: "actual")], key: ["low", "x"],
            query: """
                SELECT o.id AS low, o."__op" || o."__ord" || o."rowid" || o."__actual" || o."__staged" || o."staged" AS text,
                    o."low" AS height, o."x", a.piece
                FROM orders AS o LEFT JOIN actual AS a ON a.id = o.id WHERE affected_low(o.id) AND affected_x(o."x")
                """,
            affected: """
                SELECT id AS low, "x" FROM changed_orders
                UNION ALL SELECT o.id, o."x" FROM orders AS o JOIN changed_actual AS a ON a.id = o.id
                """),
        ProjectionDefinition(
            name: "notes", captures: [.init(name: "changed_orders")], key: ["id"],
            query: "SELECT id, note FROM changed_orders", affected: "SELECT id FROM changed_changed_orders"),
    ]

    @Test("tables and columns named like the pipeline's own are loaded, folded, compared and shown like any other")
    func odd() async throws {
        let bench = try await Bench(schema: Self.schema)
        try bench.write(
            "INSERT INTO orders VALUES (1, 'a', 'b', 'c', 'd', 'e', 'f', 10, 'k'), (2, 'a', 'b', 'c', 'd', 'e', 'f', 20, 'k')",
            "INSERT INTO changed_orders VALUES (1, 'n')", "INSERT INTO actual VALUES (1, 'p')")
        try await bench.ingestAll()
        try await bench.openProjections(Self.definitions, foldLimits: .init(threshold: 0))
        for name in ["all", "notes"] { try await bench.project(name) }
        for round in 1...3 {
            try bench.write(
                "UPDATE orders SET \"rowid\" = 'r\(round)' WHERE id = 1",
                "UPDATE actual SET piece = 'p\(round)'", "UPDATE changed_orders SET note = 'n\(round)'",
                "INSERT INTO orders SELECT id + 10, '', '', '', '', '', '', 1, 'z' FROM orders WHERE id = \(round)")
            try await bench.ingestAll()
            for name in ["all", "notes"] {
                let step = try await bench.project(name)
                #expect(step?.buildReason == nil)
            }
            #expect(
                try bench.rows("SELECT text, height, x, piece FROM proj_all WHERE low = 1")
                    == [["abr\(round)def", "10", "k", "p\(round)"]])
            #expect(try bench.rows("SELECT note FROM proj_notes") == [["n\(round)"]])
        }
        let verifier = try await bench.verifier()
        for finding in try await verifier.projections(Self.definitions) + verifier.sources() {
            #expect(finding.isEqual, "\(finding)")
        }
        // After a gap the table is compared with what is staged.
        let capture = try #require(bench.captures.first { $0.table == "orders" })
        let engine = try #require(bench.engine)
        let watermark = try await bench.watermark("orders")
        try bench.write("UPDATE orders SET \"__op\" = 'gap' WHERE id = 2", "DELETE FROM orders WHERE id > 2")
        let rows = try await bench.source.rows(of: capture, blockRows: 100)
        let changes = try await GapSnapshot(capture: capture, engine: engine).differences(
            between: watermark, and: rows, at: watermark
        ) { reader in
            var operations: [UInt8] = []
            while let block = try reader.next() { operations += block.operations }
            return operations
        }
        #expect(changes.sorted() == [1, 1, 4])
    }

    @Test("a projection whose SQL would have one name for two tables is refused, and says which")
    func ambiguous() async throws {
        let bench = try await Bench(schema: Self.schema)
        var definition = Self.definitions[0]
        definition.captures = [.init(name: "orders"), .init(name: "changed_orders")]
        let error = await #expect(throws: TidemarkError.self) { try await bench.openProjections([definition]) }
        #expect("\(try #require(error))".contains("changed_orders would name two tables in its SQL"))
    }

    @Test("what DuckDB has against one capture's tables concerns that capture alone, and the file stays")
    func oneCapture() async throws {
        let bench = try await Bench(schema: Self.schema)
        let state = bench.directory.file("state")
        let impossible = Capture(
            instance: "dbo_no", table: "no",
            columns: [Column(name: "id", type: .int64), Column(name: "", type: .string)], key: ["id"])
        func open(_ captures: [Capture]) async throws -> any ComputeEngine {
            try await bench.factory(state: state)(captures, try await bench.watermarks(), 0)
        }
        try bench.write("INSERT INTO changed_orders VALUES (1, 'n')")
        try await bench.ingestAll()
        let watermark = try await bench.watermark("changed_orders")
        do {
            let engine = try await open(bench.captures)
            try await engine.load(["dbo_changed_orders"], upTo: watermark)
        }
        let engine = try await open(bench.captures + [impossible])
        #expect(engine.refused.map(\.instance) == ["dbo_no"])
        #expect(engine.captures == bench.captures)
        // What was loaded before is still there.
        #expect(await engine.oldestLSN(of: ["dbo_changed_orders"]) == watermark)
    }

    @Test("a file that cannot be opened for other reasons than damage is left alone")
    func leftAlone() async throws {
        let bench = try await Bench(schema: Self.schema)
        let state = bench.directory.file("state")
        // A folder in its place: an error of the operating system.
        try FileManager.default.createDirectory(
            atPath: "\(state)/state.duckdb/inner", withIntermediateDirectories: true)
        let error = await #expect(throws: TidemarkError.self) { try await bench.openProjections([], state: state) }
        guard case .unavailable(let sentence) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(sentence.contains("state.duckdb cannot be used"))
        #expect(FileManager.default.fileExists(atPath: "\(state)/state.duckdb/inner"))
    }

    @Test("only what DuckDB finds in a file counts as damage of it")
    func damage() {
        func open(_ kind: DuckDBError.Kind, _ message: String) -> Bool {
            DuckDBError.open(path: "state.duckdb", message: message, kind: kind).meansDamage
        }
        func statement(_ kind: DuckDBError.Kind, _ message: String = "") -> Bool {
            DuckDBError.statement(sql: "SELECT 1", message: message, kind: kind).meansDamage
        }
        let damaging: Set<DuckDBError.Kind> = [.corruption, .serialization]
        for kind in DuckDBError.Kind.allCases {
            #expect(statement(kind) == damaging.contains(kind))
            #expect(open(kind, "some words") == damaging.contains(kind))
        }
        for message in [
            "IO Error: The file \"a\" exists, but it is not a valid DuckDB database file!",
            "IO Error: Could not read enough bytes from file \"a\": attempted to read 3192 bytes from location 5000",
            "IO Error: Trying to read a database file with version number 99, but we can only read versions up to 68.",
            "IO Error: Failure while replaying WAL file \"a.wal\": WAL does not match database file.",
            "IO Error: This WAL was created for this database file, but the WAL checkpoint iteration does not match the file",
        ] {
            #expect(open(.io, message))
        }
        #expect(open(.catalog, "Failure while replaying WAL file \"a.wal\": Table t does not exist"))
        for message in [
            "IO Error: Could not set lock on file \"a\": Conflicting lock is held",
            "IO Error: Cannot open file \"a\": Permission denied",
            "IO Error: Could not write file \"a\": No space left on device",
            "IO Error: Could not read from file \"a\": Is a directory",
        ] {
            #expect(!open(.io, message))
        }
        #expect(!DuckDBError.closed("connection").meansDamage)
    }
}
