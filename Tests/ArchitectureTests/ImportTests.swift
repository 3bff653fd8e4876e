import Testing

@Suite("Arrows between rooms")
struct ImportTests {
    /// By room, the rooms it may import. They point inward, to `Tidemark`, which imports none.
    static let allowed: [String: Set<String>] = [
        "Blocking": [],
        "DuckDB": ["CDuckDB", "Blocking"],
        "ODBC": ["CODBC", "Blocking"],
        "Tidemark": [],
        "DuckDBEngine": ["Tidemark", "DuckDB", "Blocking"],
        "Embedded": ["Tidemark"],
        "SQLServer": ["Tidemark", "ODBC"],
        "TidemarkCLI": ["Tidemark", "DuckDBEngine", "Embedded", "SQLServer", "CMalloc"],
        "ContractTests": ["Tidemark"],
        "TestSupport": [],
    ]

    /// Rooms without Swift files: the C libraries.
    static let libraries: Set<String> = ["CDuckDB", "CMalloc", "CODBC"]

    @Test("a room imports only the rooms that the design allows it")
    func imports() throws {
        let rooms = Self.libraries.union(Self.allowed.keys)
        var found: Set<Arrow> = []
        for file in try SourceFile.all() {
            guard let allowed = Self.allowed[file.room] else {
                Issue.record("Sources/\(file.path): add its room to the table of what it may import")
                continue
            }
            for name in file.imports where rooms.contains(name) && !allowed.contains(name) {
                found.insert(Arrow(file: file.path, name: name))
            }
        }
        for arrow in found {
            Issue.record("Sources/\(arrow.file) imports \(arrow.name), which its room may not know")
        }
    }

    @Test(
        "an import is found in each of its forms",
        arguments: [
            "import Tidemark", "public import Tidemark", "@testable import Tidemark",
            "  @_spi(x) package import Tidemark", "import struct Tidemark.LSN", "\"//\"\nimport Tidemark // the core",
        ])
    func forms(text: String) {
        #expect(SourceFile(path: "a/b.swift", code: SourceFile.withoutComments(text)).imports == ["Tidemark"])
    }

    @Test("an import in a comment counts for nothing", arguments: ["// import Tidemark", "/*\nimport Tidemark\n*/"])
    func comments(text: String) {
        #expect(SourceFile(path: "a/b.swift", code: SourceFile.withoutComments(text)).imports.isEmpty)
    }
}
