import Tidemark

/// What the catalog of change data capture says about one capture instance.
struct CaptureEntry: Hashable, Sendable {
    let instance: String
    /// `object_id` of the source table.
    let sourceID: Int64
    /// The source table; `nil` when the login may not see it.
    let source: ObjectName?
    /// The change table; `nil` when the login may not see it.
    let changeTable: ObjectName?
    /// `create_date`, as text that sorts by time.
    let created: String
    /// The first LSN that may be asked for; `nil` until the capture job has run.
    let startLSN: LSN?
    /// What `sys.fn_cdc_get_min_lsn` says: zero when the login may not read the changes.
    let minLSN: LSN?
    /// The role that gates the capture, if any.
    let role: String?
    let mayReadChangeTable: Bool
    /// Whether the change table has `__$command_id`: servers have had it since updates of 2016 SP1.
    let hasCommandID: Bool
    var columns: [Column]

    /// A captured column.
    struct Column: Hashable, Sendable {
        let name: String
        /// `nil` when the login may see neither the change table nor the source table.
        let type: SQLServerType?
        let isComputed: Bool
        /// Whether the login is shown a mask instead of the values in the source table.
        let isMasked: Bool
        /// The place in the key, from 1.
        let keyOrdinal: Int64?
    }

    /// The columns that tell rows apart.
    var key: [String] {
        columns.filter { $0.keyOrdinal != nil }.sorted { ($0.keyOrdinal ?? 0) < ($1.keyOrdinal ?? 0) }.map(\.name)
    }

    /// The change table, when the login may read it.
    var readableChangeTable: ObjectName? { mayReadChangeTable ? changeTable : nil }
    /// The function that returns the changes.
    var function: ObjectName { ObjectName(schema: "cdc", name: "fn_cdc_get_all_changes_\(instance)") }
}

/// A table or function; shown quoted, as T-SQL wants it.
struct ObjectName: Hashable, Sendable, CustomStringConvertible {
    let schema: String
    let name: String

    var description: String { "\(quoted(schema)).\(quoted(name))" }
}

/// Which of a database's capture instances are carried, decided from the catalog alone.
struct CaptureCatalog: Sendable {
    var captures: [Capture] = []
    var refused: [RefusedCapture] = []
    var warnings: [String] = []

    /// - Parameter excluded: `capture_instance.column` names left out, in any case.
    init(_ entries: [CaptureEntry], excluded: Set<String>) {
        let excluded = Set(excluded.map { $0.lowercased() })
        var unused = excluded
        for entry in entries.sorted(by: { $0.instance < $1.instance }) {
            unused.subtract(entry.columns.map { Self.path(entry, $0) })
            // Two instances are how a table's columns are changed under CDC: the new one has the new columns, and the
            // old one is disabled when nobody reads it any more.
            if let newer = entries.first(where: { $0.sourceID == entry.sourceID && Self.isNewer($0, than: entry) }) {
                warnings.append(
                    """
                    capture \(entry.instance) is not read, since \(newer.instance) is a newer one of the same table; \
                    disable it when nothing else needs it
                    """)
                continue
            }
            do {
                captures.append(try Self.capture(entry, excluded: excluded))
            } catch {
                refused.append(RefusedCapture(instance: entry.instance, reason: error))
            }
        }
        warnings += unused.sorted().map { "CDC_EXCLUDE_COLUMNS has \($0), which is no captured column" }
    }

    private static func path(_ entry: CaptureEntry, _ column: CaptureEntry.Column) -> String {
        "\(entry.instance).\(column.name)".lowercased()
    }

    private static func isNewer(_ a: CaptureEntry, than b: CaptureEntry) -> Bool {
        (a.created, a.instance) > (b.created, b.instance)
    }

    private static func capture(
        _ entry: CaptureEntry, excluded: Set<String>
    ) throws(TidemarkError) -> Capture {
        if let problem = CaptureProblem(entry) { throw problem.error }
        guard let table = entry.source?.name else { throw CaptureProblem.noSource(entry.instance).error }
        var columns: [Column] = []
        var problems: [String] = []
        for column in entry.columns {
            guard !excluded.contains(path(entry, column)) else {
                if column.keyOrdinal != nil {
                    problems.append("\(column.name) is part of the key and cannot be left out")
                }
                continue
            }
            guard let mapping = column.type?.mapping else {
                let type = column.type.map { "the type \($0)" } ?? "an unknown type"
                problems.append("\(column.name) has \(type), which cannot be carried")
                continue
            }
            // https://learn.microsoft.com/sql/relational-databases/system-tables/cdc-capture-instance-ct-transact-sql
            if column.isComputed {
                problems.append("\(column.name) is a computed column, which change data capture records as NULL")
            } else if column.isMasked {
                problems.append("\(column.name) is masked for this login, which would read the mask as its value")
            } else {
                // A change table allows NULL everywhere: a column dropped from the source becomes NULL, and so do
                // text, ntext and image in a delete.
                columns.append(
                    Column(
                        name: column.name, type: mapping.type, isNullable: column.keyOrdinal == nil,
                        maxLength: mapping.maxLength))
            }
        }
        guard problems.isEmpty else {
            let names = entry.columns.map(\.name).filter { name in problems.contains { $0.hasPrefix("\(name) ") } }
            let setting = names.map { "\(entry.instance).\($0)" }.joined(separator: ",")
            throw .schema(
                """
                capture \(entry.instance) of table \(table) cannot be carried: \(problems.joined(separator: "; ")). Leave \
                such columns out with CDC_EXCLUDE_COLUMNS=\(setting), or capture the table without them \
                (@captured_column_list of sys.sp_cdc_enable_table); a login may see through masks with GRANT UNMASK
                """)
        }
        guard !entry.key.isEmpty else {
            throw .schema(
                """
                capture \(entry.instance) of table \(table) has no key by which rows are told apart: give the table a \
                primary key, or name a unique index in @index_name of sys.sp_cdc_enable_table, and enable its capture anew
                """)
        }
        return Capture(instance: entry.instance, table: table, columns: columns, key: entry.key)
    }
}
