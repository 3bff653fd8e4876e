/// What a file knows of a room or a folder other than its own.
struct Arrow: Hashable {
    /// The file, below `Sources`.
    let file: String
    /// The module it imports, or the type it names.
    let name: String
}
