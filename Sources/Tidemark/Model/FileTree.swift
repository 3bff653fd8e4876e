import Foundation

/// Text files by path, wherever they come from: a directory, or the files built into the binary.
///
/// ```swift
/// let shipped = FileTree(root: "built-in projections", files: ["orders_latest/query.sql": "SELECT …"])
/// let own = try FileTree(directory: "/etc/tidemark/projections", suffixes: [".yml", ".sql"])
/// ```
public struct FileTree: Sendable, Equatable {
    /// How messages name the tree, such as the directory's path.
    public let root: String
    /// Contents by path relative to the root, parts separated by `/`.
    public let files: [String: String]
    /// Names of the folders directly below the root, sorted; also those without a file.
    public let folders: [String]

    public init(root: String, files: [String: String]) {
        self.init(root: root, files: files, emptyFolders: [])
    }

    private init(root: String, files: [String: String], emptyFolders: [String]) {
        self.root = root
        self.files = files
        let parents = files.keys.compactMap { path in path.firstIndex(of: "/").map { String(path[..<$0]) } }
        folders = Set(parents + emptyFolders).sorted()
    }

    /// Reads the files of a directory and of the folders directly in it; hidden ones are left out.
    ///
    /// - Parameters:
    ///   - directory: path of the directory; links are followed.
    ///   - suffixes: ends of the names to read, such as `.sql`; nothing else is opened.
    /// - Throws: `TidemarkError.configuration` when the directory or a file cannot be read or is not UTF-8.
    public init(directory: String, suffixes: [String]) throws {
        let manager = FileManager.default
        func isDirectory(_ path: String) -> Bool {
            var isDirectory: ObjCBool = false
            return manager.fileExists(atPath: path, isDirectory: &isDirectory) && isDirectory.boolValue
        }
        func entries(of path: String) throws -> [String] {
            do {
                return try manager.contentsOfDirectory(atPath: path).filter { !$0.hasPrefix(".") }
            } catch {
                throw TidemarkError.configuration("\(path) cannot be read: check that you may list this directory")
            }
        }
        guard isDirectory(directory) else {
            throw TidemarkError.configuration("\(directory) is not a directory: check the path")
        }

        var files: [String: String] = [:]
        var folders: [String] = []
        func read(_ relative: String) throws {
            guard suffixes.contains(where: { relative.hasSuffix($0) }) else { return }
            let path = directory + "/" + relative
            guard let data = manager.contents(atPath: path) else {
                throw TidemarkError.configuration("\(path) cannot be read: check that it is a file you may read")
            }
            guard let text = String(data: data, encoding: .utf8) else {
                throw TidemarkError.configuration("\(path) is not UTF-8 text: save it as UTF-8")
            }
            files[relative] = text
        }
        for name in try entries(of: directory) {
            if isDirectory(directory + "/" + name) {
                folders.append(name)
                for inner in try entries(of: directory + "/" + name)
                where !isDirectory(directory + "/" + name + "/" + inner) {
                    try read(name + "/" + inner)
                }
            } else {
                try read(name)
            }
        }
        self.init(root: directory, files: files, emptyFolders: folders)
    }

    /// The part of the tree below `folder`.
    public func subtree(_ folder: String) -> FileTree {
        let prefix = folder + "/"
        let inside = files.filter { $0.key.hasPrefix(prefix) }
        return FileTree(
            root: root + "/" + folder,
            files: Dictionary(uniqueKeysWithValues: inside.map { (String($0.key.dropFirst(prefix.count)), $0.value) }))
    }

    /// The tree under another name.
    public func named(_ root: String) -> FileTree {
        FileTree(root: root, files: files, emptyFolders: folders)
    }
}
