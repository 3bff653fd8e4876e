/// The shape of a projection's table.
public struct ProjectionTable: Sendable, Equatable {
    public let projection: String
    public let columns: [Column]
    /// The primary key's columns.
    public let key: [String]

    public init(projection: String, columns: [Column], key: [String]) {
        self.projection = projection
        self.columns = columns
        self.key = key
    }

    /// Name of the table in the serving database.
    public var name: String { "proj_\(projection)" }

    /// Name of the table a build fills, which no projection's table has.
    public var buildName: String { "ctl_build_\(projection)" }

    /// What earlier versions called that table. Another projection's may be called so.
    public var formerBuildName: String { "\(name)__new" }
    /// The projection whose table has that name, if there is one.
    public var formerBuildProjection: String { "\(projection)__new" }

    /// The key's columns, in the order of `key`.
    public var keyColumns: [Column] {
        key.compactMap { name in columns.first { $0.name == name } }
    }
}
