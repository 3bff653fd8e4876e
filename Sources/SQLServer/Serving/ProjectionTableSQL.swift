import Tidemark

/// A projection's table on SQL Server: its declarations, and the SQL that makes it what the rows beside it say.
struct ProjectionTableSQL: Sendable {
    /// Bytes that the columns of a clustered key may take together:
    /// https://learn.microsoft.com/sql/sql-server/maximum-capacity-specifications-for-sql-server
    private static let maxKeyBytes = 900
    /// UTF-16 units a text column of a key gets at most.
    private static let maxKeyUnits = 400

    let table: ProjectionTable

    init(_ table: ProjectionTable) { self.table = table }

    var name: String { servingTable(table.name) }
    /// The name of the table a build fills.
    var nextName: String { table.buildName }
    var next: String { servingTable(nextName) }
    var columns: [String] { table.columns.map(\.name) }

    private var others: [Tidemark.Column] { table.columns.filter { !table.key.contains($0.name) } }

    // MARK: Shape

    /// Whether a table can take the projection's rows as it is.
    func fits(_ shape: ServingTableShape) -> Bool {
        shape.columns.count == table.columns.count && shape.key == table.key
            && zip(shape.columns, table.columns).allSatisfy { have, want in
                have.name == want.name && keeps(have, want)
            }
    }

    private func keeps(_ have: ServingTableShape.Column, _ want: Tidemark.Column) -> Bool {
        let isKey = table.key.contains(want.name)
        return have.type.keeps(want, isLengthOpen: true) && (isKey ? have.isBinaryText : have.isNullable)
    }

    /// The columns of a new table: as the present one declares them where that will do, so that a length or a type
    /// somebody chose is kept.
    func shape(like present: ServingTableShape?) -> ServingTableShape {
        ServingTableShape(
            columns: table.columns.map { column in
                let ordinal = (table.key.firstIndex(of: column.name) ?? -1) + 1
                if let have = present?.column(column.name), have.name == column.name, keeps(have, column) {
                    return ServingTableShape.Column(
                        name: column.name, type: have.type, isNullable: ordinal == 0, collation: have.collation,
                        keyOrdinal: ordinal)
                }
                return ServingTableShape.Column(
                    name: column.name, type: type(of: column, isKey: ordinal > 0), isNullable: ordinal == 0,
                    collation: column.type == .string && ordinal > 0 ? keyCollation : nil, keyOrdinal: ordinal)
            })
    }

    private func type(of column: Tidemark.Column, isKey: Bool) -> SQLServerType {
        let isLong = column.type == .string || column.type == .binary
        guard isKey, isLong else { return SQLServerType(column.type, maxLength: column.maxLength) }
        let long = table.keyColumns.filter { $0.type == .string || $0.type == .binary }
        let room = Self.maxKeyBytes - (table.keyColumns.count - long.count) * Self.fixedKeyBytes
        let units = min(Self.maxKeyUnits, max(1, room / max(1, long.count) / 2))
        return SQLServerType(column.type, maxLength: min(column.maxLength ?? units, units))
    }

    /// Bytes of the widest fixed type, decimal(38).
    private static let fixedKeyBytes = 17

    func create(_ shape: ServingTableShape) -> String {
        let lines = shape.columns.map { column in
            "\(quoted(column.name)) \(column.declaration) \(column.isNullable ? "NULL" : "NOT NULL")"
        }
        return "CREATE TABLE \(next) (\n    \(lines.joined(separator: ",\n    "))\n)"
    }

    /// Finds repeated keys, and lets the rows be found by key.
    func addKey(to table: String) -> String {
        "ALTER TABLE \(table) ADD PRIMARY KEY CLUSTERED (\(quotedList(self.table.key)))"
    }

    // MARK: Differences

    /// Whether two rows have one key. `=` takes blanks and zeros at the end for nothing, so lengths are compared too.
    private var isSameKey: String {
        table.keyColumns.map { column in
            let name = quoted(column.name)
            let lengths = isLong(column) ? " AND DATALENGTH(p.\(name)) = DATALENGTH(n.\(name))" : ""
            return "p.\(name) = n.\(name)\(lengths)"
        }.joined(separator: " AND ")
    }

    /// Whether two rows of one key differ. EXCEPT takes NULLs for equal; text is compared by its code points.
    private var differs: String {
        func row(_ alias: String) -> String {
            others.flatMap { column in
                let name = "\(alias).\(quoted(column.name))"
                switch column.type {
                case .string: return ["\(name) COLLATE \(keyCollation)", "DATALENGTH(\(name))"]
                case .binary: return [name, "DATALENGTH(\(name))"]
                default: return [name]
                }
            }.joined(separator: ", ")
        }
        return "EXISTS (SELECT \(row("n")) EXCEPT SELECT \(row("p")))"
    }

    private func isLong(_ column: Tidemark.Column) -> Bool { column.type == .string || column.type == .binary }

    /// Makes an empty temporary table with columns as the projection's table declares them.
    func makeTemporary(_ temporary: String, _ columns: [String]) -> String {
        "SELECT TOP (0) \(quotedList(columns)) INTO \(temporary) FROM \(name)"
    }

    /// Deletes the rows whose keys are in `rows`.
    func delete(keysIn rows: String) -> String {
        "DELETE p FROM \(name) AS p WHERE EXISTS (SELECT 1 FROM \(rows) AS n WHERE \(isSameKey))"
    }

    /// Deletes the rows whose keys are not in `rows`.
    func delete(keysNotIn rows: String) -> String {
        "DELETE p FROM \(name) AS p WHERE NOT EXISTS (SELECT 1 FROM \(rows) AS n WHERE \(isSameKey))"
    }

    /// Updates the rows that differ from those in `rows`; `nil` when all columns are in the key.
    func update(from rows: String) -> String? {
        guard !others.isEmpty else { return nil }
        let sets = others.map { "\(quoted($0.name)) = n.\(quoted($0.name))" }.joined(separator: ", ")
        return "UPDATE p SET \(sets) FROM \(name) AS p JOIN \(rows) AS n ON \(isSameKey) WHERE \(differs)"
    }

    /// Inserts the rows of `rows` whose keys are missing.
    func insert(from rows: String) -> String {
        """
        INSERT INTO \(name) (\(quotedList(columns))) SELECT \(quotedList(columns)) FROM \(rows) AS n
        WHERE NOT EXISTS (SELECT 1 FROM \(name) AS p WHERE \(isSameKey))
        """
    }

    /// Puts the new table in the place of the present one.
    var swap: [String] {
        [
            "DROP TABLE IF EXISTS \(name)",
            "EXEC sp_rename \(literal("dbo.\(nextName)")), \(literal(table.name)), N'OBJECT'",
        ]
    }
}
