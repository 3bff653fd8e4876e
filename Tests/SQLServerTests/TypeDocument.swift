import Foundation

/// The tables of `docs/sql-server-types.md`.
struct TypeDocument {
    /// A row of the table of mappings.
    struct Row {
        /// Types of the source as written, such as `decimal(p,s)`.
        let sources: [String]
        /// DuckDB's types: one for each of the source's, or one for all.
        let queries: [String]
        /// The serving database's types, likewise; the source's own where the table says "the same".
        let served: [String]
    }

    let mapped: [Row]
    let refused: [String]

    init() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: root.appending(path: "docs/sql-server-types.md"), encoding: .utf8)
        mapped = Self.table("source", in: text).map { cells in
            let sources = Self.code(cells[0])
            // "nvarchar(n), above 4000 nvarchar(max)": what comes after is for longer columns.
            let served = cells[2].components(separatedBy: "above")[0]
            return Row(
                sources: sources, queries: Self.code(cells[1]),
                served: cells[2] == "the same" ? sources : Self.code(served))
        }
        refused = Self.table("column", in: text).first.map { Self.code($0[0]) } ?? []
    }

    /// The cells of the rows of the table whose first heading is this one.
    private static func table(_ heading: String, in text: String) -> [[String]] {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard let start = lines.firstIndex(where: { $0.hasPrefix("| \(heading) |") }) else { return [] }
        return lines[start...].dropFirst(2).prefix { $0.hasPrefix("|") }.map { line in
            line.dropFirst().dropLast().split(separator: "|", omittingEmptySubsequences: false)
                .map { $0.trimmingCharacters(in: .whitespaces) }
        }
    }

    /// What stands between backquotes; of "`time(0)` to `time(6)`" all seven.
    private static func code(_ cell: String) -> [String] {
        let parts = cell.components(separatedBy: "`")
        let words = parts.enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
        guard parts.contains(" to "), let first = words.first, let name = first.split(separator: "(").first else {
            return words
        }
        return (0...6).map { "\(name)(\($0))" }
    }
}
