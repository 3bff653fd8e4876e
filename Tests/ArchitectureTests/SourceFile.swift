import Foundation

/// A Swift file below `Sources`, as far as the rules of the house need to read it.
struct SourceFile {
    /// Below `Sources`, such as `Tidemark/Ingest/Ingestor.swift`.
    let path: String
    /// Its text without comments.
    let code: String

    /// The target it belongs to.
    var room: String { String(path.prefix { $0 != "/" }) }
    /// The folder of the room it lies in; `nil` for one that lies in the room itself.
    var folder: String? {
        let parts = path.split(separator: "/")
        return parts.count > 2 ? String(parts[1]) : nil
    }

    /// Every Swift file below `Sources`, by path.
    static func all() throws -> [SourceFile] {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Sources")
        return try FileManager.default.subpathsOfDirectory(atPath: root.path(percentEncoded: false))
            .filter { $0.hasSuffix(".swift") }.sorted()
            .map { path in
                let text = try String(contentsOf: root.appending(path: path), encoding: .utf8)
                return SourceFile(path: path, code: withoutComments(text))
            }
    }

    /// The modules it imports.
    var imports: Set<String> {
        let line =
            /^\s*(?:@\w+(?:\([^)]*\))?\s+)*(?:(?:public|package|internal|fileprivate|private)\s+)?import\s+(?:(?:typealias|struct|class|enum|protocol|let|var|func)\s+)?(\w+)/
            .anchorsMatchLineEndings()
        return Set(code.matches(of: line).map { String($0.output.1) })
    }

    /// The types it declares for other files: those at the top level, which begin a line.
    var types: Set<String> {
        let declaration =
            /^(?:@\w+(?:\([^)]*\))?\s+)*(?:(?:public|package|internal|final|indirect)\s+)*(?:struct|class|enum|actor|protocol|typealias)\s+(\w+)/
            .anchorsMatchLineEndings()
        return Set(code.matches(of: declaration).map { String($0.output.1) })
    }

    /// Every word of the code.
    var words: Set<String> { Set(code.matches(of: /\w+/).map { String($0.output) }) }

    /// A `//` after an odd number of quotes is in a string, such as `"sqlserver://"`.
    static func withoutComments(_ text: String) -> String {
        text.replacing(/(?s)\/\*.*?\*\//, with: "").split(separator: "\n", omittingEmptySubsequences: false)
            .map { line in
                let comment = line.ranges(of: "//").first { range in
                    line[..<range.lowerBound].count { $0 == "\"" }.isMultiple(of: 2)
                }
                return comment.map { line[..<$0.lowerBound] } ?? line
            }
            .joined(separator: "\n")
    }
}
