import Tidemark

extension ProjectionCatalog {
    /// The projections built into the binary: the repository's folder `projections`.
    static func builtIn() throws -> ProjectionCatalog {
        try load(FileTree.embedded.subtree("projections").named("built-in projections"))
    }
}

extension FileTree {
    /// All files built into the binary, such as `projections/orders_latest/query.sql`.
    static let embedded = FileTree(
        root: "built-in",
        files: Dictionary(uniqueKeysWithValues: EmbeddedResources.files.map { ($0.path, $0.contents) }))
}
