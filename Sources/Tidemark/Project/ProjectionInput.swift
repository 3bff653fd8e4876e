/// A captured table as one projection sees it.
public struct ProjectionInput: Sendable, Equatable {
    public let capture: Capture
    /// The columns the query sees: the key, the listed ones, and `__lsn` where it is listed or all are.
    public let columns: [String]

    private init(
        _ use: ProjectionDefinition.CaptureUse, projection: String, captures: [Capture], refused: [RefusedCapture]
    ) throws {
        guard let capture = captures.first(where: { $0.isNamed(use.name) }) else {
            if let refused = refused.first(where: { $0.isNamed(use.name) }) {
                throw TidemarkError.projection(
                    name: projection,
                    reason: "the capture \(refused.instance), which it reads, is left out: \(refused.reason)")
            }
            let known = captures.map(\.table).sorted().joined(separator: ", ")
            throw TidemarkError.projection(
                name: projection,
                reason: """
                    the source has no capture named \(use.name) (it has: \(known.isEmpty ? "none" : known)); enable CDC on \
                    the table, or correct `captures` in projection.yml
                    """)
        }
        self.capture = capture
        let all = capture.columns.map(\.name) + [ReservedName.lsn]
        guard let listed = use.columns else {
            columns = all
            return
        }
        if let unknown = listed.first(where: { !all.contains($0) }) {
            throw TidemarkError.projection(
                name: projection,
                reason: "capture \(use.name) has no column \(unknown) (it has: \(all.joined(separator: ", ")))")
        }
        columns = all.filter { listed.contains($0) || capture.key.contains($0) }
    }

    /// Binds a definition to the captures it names, in the order it names them.
    ///
    /// - Parameter refused: captures that are left out, which the error about a definition that needs one explains.
    /// - Throws: `TidemarkError.projection` for a capture or column that is not there, and for a name that would mean two
    ///   tables.
    public static func inputs(
        of definition: ProjectionDefinition, captures: [Capture], refused: [RefusedCapture]
    ) throws -> [ProjectionInput] {
        let inputs = try definition.captures.map {
            try ProjectionInput($0, projection: definition.name, captures: captures, refused: refused)
        }
        try requireDistinctNames(definition, inputs)
        return inputs
    }

    /// `affected.sql` sees the changes of a table `t` as `changed_t`, which may be the name of another table.
    private static func requireDistinctNames(_ definition: ProjectionDefinition, _ inputs: [ProjectionInput]) throws {
        var seen: Set<String> = []
        for input in inputs {
            let names = [input.capture.table] + (definition.affected == nil ? [] : [input.changedName])
            for name in names where !seen.insert(ReservedName.folded(name)).inserted {
                throw TidemarkError.projection(
                    name: definition.name,
                    reason: """
                        \(name) would name two tables in its SQL: a captured one, and in affected.sql the changes of \
                        another; leave one of them out of `captures`, or remove affected.sql
                        """)
            }
        }
    }

    /// What `affected.sql` calls the rows of the table that changed.
    public var changedName: String { "changed_\(capture.table)" }
}
