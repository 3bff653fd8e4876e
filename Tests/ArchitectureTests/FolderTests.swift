import Testing

/// The folders of a room are one module, so that no import tells what they know of each other: the types they name do.
@Suite("Arrows between folders")
struct FolderTests {
    /// By room and folder, the folders none of whose types may be named there.
    static let forbidden: [(room: String, folder: String, others: [String])] = [
        // `Status` too is left out of the rule: values of the model have a status of their own.
        ("Tidemark", "Model", ["Ports", "Ingest", "Project", "Control", "Load"]),
        ("Tidemark", "Ports", ["Ingest", "Project", "Control", "Load", "Status"]),
        ("Tidemark", "Ingest", ["Project", "Load"]),
        ("Tidemark", "Project", ["Ingest", "Load"]),
        ("SQLServer", "Source", ["Serving"]),
        ("SQLServer", "Serving", ["Source"]),
        ("TidemarkCLI", "Configuration", ["Logging"]),
        ("TidemarkCLI", "Logging", ["Configuration"]),
    ]

    @Test("a folder names no type of one that it may not know")
    func references() throws {
        let files = try SourceFile.all()
        var found: Set<Arrow> = []
        for (room, folder, others) in Self.forbidden {
            let unknown = files.filter { $0.room == room && others.contains($0.folder ?? "") }
                .reduce(into: Set<String>()) { $0.formUnion($1.types) }
            let inside = files.filter { $0.room == room && $0.folder == folder }
            #expect(!inside.isEmpty, "Sources/\(room)/\(folder) is gone: change the rule on it")
            for file in inside {
                for name in file.words.intersection(unknown) { found.insert(Arrow(file: file.path, name: name)) }
            }
        }
        for arrow in found {
            Issue.record("Sources/\(arrow.file) names \(arrow.name), of a folder that its own may not know")
        }
    }

    @Test("a declaration for other files is found, and no other")
    func declarations() {
        let code = """
            public struct A {
                struct Inner {}
            }
            @frozen public indirect enum B {}
            package final class C {}
            private struct D {}
            extension E {}
            """
        #expect(SourceFile(path: "a/b.swift", code: code).types == ["A", "B", "C"])
    }
}
