import ODBC
import Synchronization
import Tidemark

/// A table of the serving database as the catalog describes it.
struct ServingTableShape: Sendable, Equatable {
    struct Column: Sendable, Equatable {
        let name: String
        let type: SQLServerType
        let isNullable: Bool
        /// `nil` for what is not text.
        let collation: String?
        /// Position in the primary key, from 1; 0 outside it.
        let keyOrdinal: Int

        /// Whether text is compared by its code points, so that two values that differ are two keys.
        var isBinaryText: Bool {
            guard let collation = collation?.lowercased() else { return true }
            return collation.hasSuffix("_bin2") || collation.hasSuffix("_bin")
        }

        /// As CREATE TABLE writes it, without NULL or NOT NULL.
        var declaration: String { "\(type)\(collation.map { " COLLATE \($0)" } ?? "")" }
    }

    let columns: [Column]

    /// The primary key's columns, in its order.
    var key: [String] { columns.filter { $0.keyOrdinal > 0 }.sorted { $0.keyOrdinal < $1.keyOrdinal }.map(\.name) }

    func column(_ name: String) -> Column? { columns.first { Self.isSame($0.name, name) } }

    /// Names of columns are compared without regard to case, as most databases do.
    static func isSame(_ a: String, _ b: String) -> Bool { a.lowercased() == b.lowercased() }

    /// Reads the shape of a table of the schema dbo; `nil` when there is none. Computed columns are left out.
    static func read(_ table: String, _ connection: Connection) throws -> ServingTableShape? {
        let rows = try connection.query(
            """
            SELECT c.name, t.name, c.max_length, c.precision, c.scale, c.is_nullable, c.collation_name, k.key_ordinal
            FROM sys.columns AS c
            JOIN sys.types AS t ON t.user_type_id = c.system_type_id
            LEFT JOIN (
                SELECT ic.object_id, ic.column_id, ic.key_ordinal
                FROM sys.indexes AS i
                JOIN sys.index_columns AS ic ON ic.object_id = i.object_id AND ic.index_id = i.index_id
                WHERE i.is_primary_key = 1
            ) AS k ON k.object_id = c.object_id AND k.column_id = c.column_id
            WHERE c.object_id = OBJECT_ID(?, N'U') AND c.is_computed = 0
            ORDER BY c.column_id
            """, [.string(servingTable(table))]
        ).rows()
        guard !rows.isEmpty else { return nil }
        return ServingTableShape(
            columns: rows.map { row in
                let type = SQLServerType(
                    name: row[1].string ?? "", maxLength: Int(row[2].int64 ?? 0), precision: Int(row[3].int64 ?? 0),
                    scale: Int(row[4].int64 ?? 0))
                return Column(
                    name: row[0].string ?? "", type: type, isNullable: row[5] != .bool(false), collation: row[6].string,
                    keyOrdinal: Int(row[7].int64 ?? 0))
            })
    }
}

/// Shapes of tables that were asked for before: the catalog is slow beside what it is asked for.
///
/// A table that is altered by hand while the pipeline runs keeps its old shape here until the pipeline makes it anew
/// or starts again.
final class ServingTableShapes: Sendable {
    private let shapes = Mutex<[String: ServingTableShape]>([:])

    func shape(of table: String, _ connection: Connection) throws -> ServingTableShape? {
        if let known = shapes.withLock({ $0[table] }) { return known }
        guard let shape = try ServingTableShape.read(table, connection) else { return nil }
        shapes.withLock { $0[table] = shape }
        return shape
    }

    func forget(_ table: String) { shapes.withLock { $0[table] = nil } }
}

/// The quoted name of a table of the serving database, with its schema: a login may have another default.
func servingTable(_ name: String) -> String { "[dbo].\(quoted(name))" }

/// The collation of keys: by code point, since two strings that differ in case or accents are two keys.
let keyCollation = "Latin1_General_100_BIN2"

extension SQLServerType {
    /// Whether a column of this type keeps each value of `column` unchanged, or else refuses it.
    ///
    /// What SQL Server would change without a word, `SQLServerRowEncoder` refuses: digits of a second's fraction, and
    /// the length of a `binary(n)`. So a `datetime2(3)` is fine for a column that has milliseconds.
    ///
    /// - Parameter isLengthOpen: whether text and binary may be shorter than `column` says; then a longer value is
    ///   refused when it comes.
    func keeps(_ column: Tidemark.Column, isLengthOpen: Bool) -> Bool {
        switch column.type {
        case .bool: name == "bit"
        case .uint8: ["tinyint", "smallint", "int", "bigint"].contains(name)
        case .int16: ["smallint", "int", "bigint"].contains(name)
        case .int32: ["int", "bigint"].contains(name)
        case .int64: name == "bigint"
        case .float: name == "real" || name == "float"
        case .double: name == "float"
        case .decimal(let precision, let scale):
            (name == "decimal" || name == "numeric") && self.scale >= scale
                && self.precision - self.scale >= precision - scale
        // varchar has no place for most characters, and nchar adds blanks.
        case .string: name == "nvarchar" && (isLengthOpen || isLong(enough: column.maxLength, unit: 2))
        case .binary:
            (name == "varbinary" || name == "binary") && (isLengthOpen || isLong(enough: column.maxLength, unit: 1))
        case .date: name == "date"
        case .time: name == "time"
        case .timestamp: name == "datetime2"
        case .timestampTZ: name == "datetimeoffset"
        case .uuid: name == "uniqueidentifier"
        }
    }

    private func isLong(enough length: Int?, unit: Int) -> Bool {
        guard maxLength >= 0 else { return true }
        guard let length else { return false }
        return maxLength / unit >= length
    }

    /// The expression that selects a quoted column of this type as `SQLServerRowDecoder` expects it for `type`.
    func expression(_ column: String, as type: LogicalType) -> String {
        switch type {
        case .uint8 where name != "tinyint", .int16 where name != "smallint", .int32 where name != "int",
            .float where name != "real":
            "CAST(\(column) AS \(type.declaration(maxLength: nil)))"
        default: column
        }
    }
}
