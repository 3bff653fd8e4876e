/// A column of a capture or of a projection.
public struct Column: Hashable, Sendable {
    public let name: String
    public let type: LogicalType
    public let isNullable: Bool
    /// The most UTF-16 units a string has, or bytes a binary value; `nil` when nothing bounds them.
    public let maxLength: Int?

    public init(name: String, type: LogicalType, isNullable: Bool = true, maxLength: Int? = nil) {
        self.name = name
        self.type = type
        self.isNullable = isNullable
        self.maxLength = maxLength
    }
}

/// A capture instance: one source table with change data capture, e.g. `dbo_orders`.
public struct Capture: Hashable, Sendable {
    /// The capture instance's name in the source, e.g. `dbo_orders`.
    public let instance: String
    /// The source table's name without its schema, e.g. `orders`: what projections call it, and the tail of
    /// the staging table's name.
    public let table: String
    /// The captured columns, in the order of the change table.
    public let columns: [Column]
    /// The primary key's columns, a non-empty subset of `columns`.
    public let key: [String]

    public init(instance: String, table: String, columns: [Column], key: [String]) {
        self.instance = instance
        self.table = table
        self.columns = columns
        self.key = key
    }

    /// Name of the staging table in the serving database.
    public var stagingTable: String { "stg_cdc_\(table)" }

    /// The columns a staging table has of its own, around the captured ones.
    public static let stagingColumns = ["lsn", "command_id", "seqval", "op", "ingested_at"]

    /// - Throws: `TidemarkError.schema` when a column has the name of one of staging's own.
    public static func requireOwnNames(of columns: [String], table: String) throws {
        guard let column = columns.first(where: { stagingColumns.contains($0.lowercased()) }) else { return }
        throw TidemarkError.schema(
            """
            column \(table).\(column) has the name of one of the columns stg_cdc_\(table) adds \
            (\(stagingColumns.joined(separator: ", "))); rename it in the source, or leave the table out with \
            CDC_EXCLUDE=\(table)
            """)
    }

    /// Positions of the key's columns in `columns`.
    public var keyIndices: [Int] {
        key.compactMap { name in columns.firstIndex { $0.name == name } }
    }
}

extension Capture {
    /// Whether a projection that reads `name` reads this: a capture is called by its instance or by its table.
    public func isNamed(_ name: String) -> Bool { instance == name || table == name }
}
