import Tidemark

/// The SQL scripts built into the binary, in the order of their numbers.
enum Scripts {
    typealias Script = (name: String, text: String)

    /// Of a folder below `sql`.
    static func all(_ folder: String) -> [Script] {
        FileTree.embedded.subtree("sql/\(folder)").files.sorted { $0.key < $1.key }
            .map { ("sql/\(folder)/\($0.key)", $0.value) }
    }

    /// Of a database on SQL Server: what makes it, what makes its tables, and who may do what.
    struct Database {
        let creation: Script
        let tables: [Script]
        let roles: Script
        /// Applied last, in this order.
        let data: [Script]

        /// What sets the capture job's interval; `nil` for a serving database.
        var captureJob: Script? { data.first { $0.name.hasSuffix("_capture_job.sql") } }

        init(_ folder: String) {
            let scripts = all(folder)
            let isRoles = { (script: Script) in script.name.hasSuffix("_roles.sql") }
            creation = scripts[0]
            let rest = scripts.dropFirst()
            let position = rest.firstIndex(where: isRoles) ?? rest.endIndex
            tables = Array(rest[..<position])
            roles = rest[position]
            data = Array(rest[position...].dropFirst())
        }
    }

    static let source = Database("source")
    static let serving = Database("serving")
}
