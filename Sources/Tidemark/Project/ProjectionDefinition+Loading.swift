extension ProjectionDefinition {
    /// Names of the files a projection's folder may hold, besides anything that is neither YAML nor SQL.
    private enum File {
        static let definition = "projection.yml"
        static let query = "query.sql"
        static let affected = "affected.sql"
        static let all = [definition, query, affected]
        /// What is read, so that a misspelt `afected.sql` is noticed rather than ignored.
        static let suffixes = [".yml", ".yaml", ".sql"]
    }

    private static let keys = ["name", "description", "captures", "key", "interval", "enabled"]

    /// Suffixes of the files a tree of projections must hold.
    static var fileSuffixes: [String] { File.suffixes }

    /// Loads the projection in `directory`, which is named like the projection.
    ///
    /// - Throws: `TidemarkError.configuration` naming the file, the key and the remedy.
    public static func load(directory: String) throws -> ProjectionDefinition {
        var path = directory
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        let folder = path.split(separator: "/").last.map(String.init) ?? path
        return try load(FileTree(directory: path, suffixes: File.suffixes), folder: folder)
    }

    /// Loads the projection whose folder's files are `tree`.
    ///
    /// - Parameter folder: the folder's name, which the projection must have too.
    /// - Throws: `TidemarkError.configuration` naming the file, the key and the remedy.
    public static func load(_ tree: FileTree, folder: String) throws -> ProjectionDefinition {
        for path in tree.files.keys.sorted() where !path.contains("/") && !File.all.contains(path) {
            let hint = Suggestion.hint(for: path, in: File.all)
            throw TidemarkError.configuration(
                "\(tree.root)/\(path): no such file belongs to a projection\(hint); rename or remove it")
        }
        guard let definition = tree.files[File.definition] else {
            throw TidemarkError.configuration(
                """
                \(tree.root)/\(File.definition) is missing: a projection's folder holds \(File.definition) and \
                \(File.query); add it, or move the folder elsewhere
                """)
        }
        guard let query = tree.files[File.query] else {
            throw TidemarkError.configuration(
                "\(tree.root)/\(File.query) is missing: put the query that yields the projection's rows there")
        }
        try requireSQL(query, file: "\(tree.root)/\(File.query)", remedy: "write the query that yields the rows")
        let affected = tree.files[File.affected]
        if let affected {
            try requireSQL(
                affected, file: "\(tree.root)/\(File.affected)",
                remedy: "write the query that yields the keys, or remove the file")
        }
        var projection = try parse(definition, file: "\(tree.root)/\(File.definition)", folder: folder)
        projection.query = query
        projection.affected = affected
        return projection
    }

    /// Reads `projection.yml`; the query is left empty.
    private static func parse(_ text: String, file: String, folder: String) throws -> ProjectionDefinition {
        let yaml = try StrictYAML(text: text, file: file)
        for entry in yaml.entries where !keys.contains(entry.key) {
            throw entry.error("is unknown\(Suggestion.hint(for: entry.key, in: keys)); known are \(list(keys))")
        }
        let entries = Dictionary(uniqueKeysWithValues: yaml.entries.map { ($0.key, $0) })
        func required(_ key: String, _ remedy: String) throws -> StrictYAML.Entry {
            guard let entry = entries[key] else {
                throw TidemarkError.configuration("\(file): key '\(key)' is missing; \(remedy)")
            }
            return entry
        }

        let name = try required("name", "write name: \(folder)")
        let captures = try required("captures", "list the tables the query reads, such as captures: [orders]")
        let key = try required("key", "list the columns that identify a row, such as key: [order_id]")
        var projection = ProjectionDefinition(
            name: try self.name(name, folder: folder), captures: try self.captures(captures),
            key: try names(
                key.value, of: key, empty: "name the columns that identify a row, such as [order_id]"),
            query: "")

        if let summary = entries["description"] {
            projection.summary = try summary.scalar("write text")
        }
        if let interval = entries["interval"] {
            let text = try interval.scalar(Duration.textHint)
            guard let duration = Duration(text: text) else {
                throw interval.error("'\(text)' is not a duration; \(Duration.textHint)")
            }
            projection.interval = duration
        }
        if let enabled = entries["enabled"] {
            let text = try enabled.scalar("write true or false")
            guard let flag = Bool(text.lowercased()) else {
                throw enabled.error("'\(text)' is neither true nor false; write one of them")
            }
            projection.enabled = flag
        }
        return projection
    }

    private static func name(_ entry: StrictYAML.Entry, folder: String) throws -> String {
        let name = try entry.scalar("write the folder's name")
        let letters = name.utf8.allSatisfy {
            (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5F  // a-z, 0-9, _
        }
        guard letters, let first = name.utf8.first, (0x61...0x7A).contains(first) else {
            throw entry.error(
                "'\(name)' is not a projection's name; use lower-case letters, digits and _, a letter first")
        }
        guard name.utf8.count <= maximumNameLength else {
            throw entry.error("the name has \(name.utf8.count) characters; use at most \(maximumNameLength)")
        }
        guard name == folder else {
            throw entry.error("'\(name)' differs from the folder's name '\(folder)'; make them the same")
        }
        return name
    }

    private static func captures(_ entry: StrictYAML.Entry) throws -> [CaptureUse] {
        let remedy = "name the tables the query reads, such as [orders, customers]"
        guard case .map(let pairs) = entry.value else {
            return try names(entry.value, of: entry, empty: remedy).map { CaptureUse(name: $0) }
        }
        _ = try names(.list(pairs.map { .scalar($0.key) }), of: entry, empty: remedy)
        return try pairs.map { capture in
            // `orders:` without a list: the whole table, beside others of which some columns are enough.
            guard capture.value != .null else { return CaptureUse(name: capture.key) }
            let columns = try names(
                capture.value, of: entry, part: capture.key,
                empty: "name the columns it reads, or leave the list out for all")
            return CaptureUse(name: capture.key, columns: columns)
        }
    }

    /// A list of at least one name, none twice, case ignored as in SQL.
    private static func names(
        _ value: StrictYAML.Value, of entry: StrictYAML.Entry, part: String? = nil, empty remedy: String
    ) throws -> [String] {
        let subject = part.map { "'\($0)' " } ?? ""
        guard case .list(let items) = value else {
            throw entry.error("\(subject)is \(value.kind), not a list; \(remedy)")
        }
        guard !items.isEmpty else { throw entry.error("\(subject)is an empty list; \(remedy)") }
        var seen: Set<String> = []
        return try items.map { item in
            guard case .scalar(let name) = item, !name.isEmpty else {
                throw entry.error("\(subject)has an item that is \(item.kind), not a name; \(remedy)")
            }
            guard seen.insert(name.lowercased()).inserted else {
                throw entry.error("\(subject)names '\(name)' twice; keep one")
            }
            return name
        }
    }

    /// Refuses SQL that is nothing but white space and comments.
    private static func requireSQL(_ sql: String, file: String, remedy: String) throws {
        let isEmpty = sql.split(whereSeparator: \.isNewline).allSatisfy { line in
            let text = line.drop(while: \.isWhitespace)
            return text.isEmpty || text.hasPrefix("--")
        }
        if isEmpty { throw TidemarkError.configuration("\(file) is empty; \(remedy)") }
    }

    private static func list(_ words: [String]) -> String { words.joined(separator: ", ") }
}

extension StrictYAML.Entry {
    /// An error about this key: its place, its name, `problem`.
    package func error(_ problem: String) -> TidemarkError {
        .configuration("\(place): key '\(key)': \(problem)")
    }

    /// The value, which must be a single one.
    package func scalar(_ remedy: String) throws -> String {
        guard case .scalar(let text) = value else { throw error("is \(value.kind); \(remedy)") }
        return text
    }
}
