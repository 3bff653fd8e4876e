/// All projections of a directory, or of the set built into the binary.
public struct ProjectionCatalog: Sendable, Equatable {
    /// By name.
    public let projections: [ProjectionDefinition]

    public init(projections: [ProjectionDefinition]) {
        self.projections = projections.sorted { $0.name < $1.name }
    }

    /// Loads every folder of `directory` as a projection; files beside the folders are ignored.
    ///
    /// - Throws: `TidemarkError.configuration` for the first thing that is wrong, also when there is no projection.
    public static func load(from directory: String) throws -> ProjectionCatalog {
        try load(FileTree(directory: directory, suffixes: ProjectionDefinition.fileSuffixes))
    }

    /// Loads every folder of `tree` as a projection.
    ///
    /// - Throws: `TidemarkError.configuration` for the first thing that is wrong, also when there is no projection.
    public static func load(_ tree: FileTree) throws -> ProjectionCatalog {
        guard !tree.folders.isEmpty else {
            throw TidemarkError.configuration(
                """
                \(tree.root) holds no projection: put a folder with projection.yml and query.sql there for each
                """)
        }
        return ProjectionCatalog(
            projections: try tree.folders.map { try ProjectionDefinition.load(tree.subtree($0), folder: $0) })
    }

    public subscript(name: String) -> ProjectionDefinition? { projections.first { $0.name == name } }
}
