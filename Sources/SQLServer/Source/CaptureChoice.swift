import Tidemark

/// Which of a database's capture instances are carried, decided from the catalog alone.
struct CaptureChoice: Sendable {
    var catalog = SourceCatalog(captures: [], refused: [])
    var warnings: [String] = []

    /// - Parameters:
    ///   - excluded: `capture_instance.column` names left out, in any case.
    ///   - filter: which tables are carried. One whose name is hidden is told of, with the reason.
    init(_ entries: [CaptureEntry], excluded: Set<String>, filter: CaptureFilter = .all) {
        let excluded = Set(excluded.map { $0.lowercased() })
        var unused = excluded
        for entry in entries.sorted(by: { $0.instance < $1.instance }) {
            unused.subtract(entry.columns.map { Self.path(entry, $0) })
            if let table = entry.source?.name, !filter.includes(table) { continue }
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
                catalog.captures.append(try Self.capture(entry, excluded: excluded))
            } catch {
                catalog.refused.append(RefusedCapture(instance: entry.instance, reason: error))
            }
        }
        warnings += filter.complaints(tables: entries.compactMap(\.source?.name))
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
