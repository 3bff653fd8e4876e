import ODBC
import Tidemark

/// What users have put on a projection's table: indexes, permissions and triggers. A table with other columns takes its
/// place, and gets what can be made on it.
struct TableAdditions: Sendable {
    struct Index: Sendable, Equatable {
        struct Part: Sendable, Equatable {
            var column: String
            var isDescending = false
        }

        var name: String
        var isUnique = false
        var isColumnstore = false
        var key: [Part] = []
        var included: [String] = []
        var filter: String?
    }

    struct Permission: Sendable, Equatable {
        /// As `sys.database_permissions` has it: GRANT, DENY, GRANT_WITH_GRANT_OPTION.
        var state: String
        var name: String
        var grantee: String
        /// `nil` for one on the whole table.
        var column: String?
    }

    /// A statement that makes one of them, and its name for an operator.
    struct Statement: Sendable, Equatable {
        var what: String
        /// `nil` when a column of it is gone.
        var sql: String?
    }

    var indexes: [Index] = []
    var permissions: [Permission] = []
    var triggers: [String] = []
    /// Whether the login sees what others were given.
    var showsPermissions = true

    // MARK: Statements

    /// What makes them on the table that a build has filled.
    func statements(on sql: ProjectionTableSQL) -> [Statement] {
        let columns = Set(sql.columns.map { $0.lowercased() })
        return indexes.map { index in
            let names = index.key.map(\.column) + index.included
            let isPossible = names.allSatisfy { columns.contains($0.lowercased()) }
            return Statement(what: "index \(index.name)", sql: isPossible ? Self.create(index, on: sql.next) : nil)
        }
            + permissions.map { permission in
                let isPossible = permission.column.map { columns.contains($0.lowercased()) } ?? true
                let verb = permission.state == "DENY" ? "denied to" : "granted to"
                return Statement(
                    what:
                        "\(permission.name)\(permission.column.map { " on \($0)" } ?? "") \(verb) \(permission.grantee)",
                    sql: isPossible ? Self.give(permission, on: sql.next) : nil)
            }
    }

    private static func create(_ index: Index, on table: String) -> String {
        // The words of the catalog: a filter is an expression there already.
        let filter = index.filter.map { " WHERE \($0)" } ?? ""
        if index.isColumnstore {
            return """
                CREATE NONCLUSTERED COLUMNSTORE INDEX \(quoted(index.name)) ON \(table) \
                (\(quotedList(index.key.map(\.column) + index.included)))\(filter)
                """
        }
        let key = index.key.map { "\(quoted($0.column))\($0.isDescending ? " DESC" : "")" }.joined(separator: ", ")
        let included = index.included.isEmpty ? "" : " INCLUDE (\(quotedList(index.included)))"
        return """
            CREATE \(index.isUnique ? "UNIQUE " : "")NONCLUSTERED INDEX \(quoted(index.name)) ON \(table) \
            (\(key))\(included)\(filter)
            """
    }

    private static func give(_ permission: Permission, on table: String) -> String {
        let isDenied = permission.state == "DENY"
        let column = permission.column.map { " (\(quoted($0)))" } ?? ""
        let further = permission.state == "GRANT_WITH_GRANT_OPTION" ? " WITH GRANT OPTION" : ""
        return """
            \(isDenied ? "DENY" : "GRANT") \(permission.name)\(column) ON \(table) TO \(quoted(permission.grantee))\(further)
            """
    }

    // MARK: Reading

    /// Nonclustered indexes, of rows (2) and columns (6), without those of primary keys. A unique constraint comes
    /// back as a unique index: names of constraints are the schema's, and the present table has it.
    /// https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-indexes-transact-sql
    static let indexesSQL = """
        SELECT i.name, i.is_unique, CAST(i.type AS int), i.filter_definition, c.name, CAST(ic.key_ordinal AS int),
            ic.is_descending_key
        FROM sys.indexes AS i
        JOIN sys.index_columns AS ic ON ic.object_id = i.object_id AND ic.index_id = i.index_id
        JOIN sys.columns AS c ON c.object_id = ic.object_id AND c.column_id = ic.column_id
        WHERE i.object_id = OBJECT_ID(?, N'U') AND i.is_primary_key = 0 AND i.type IN (2, 6)
        ORDER BY i.index_id, ic.key_ordinal, ic.index_column_id
        """

    /// https://learn.microsoft.com/sql/relational-databases/system-catalog-views/sys-database-permissions-transact-sql
    static let permissionsSQL = """
        SELECT p.state_desc, p.permission_name, d.name, c.name
        FROM sys.database_permissions AS p
        JOIN sys.database_principals AS d ON d.principal_id = p.grantee_principal_id
        LEFT JOIN sys.columns AS c ON c.object_id = p.major_id AND c.column_id = p.minor_id
        WHERE p.class = 1 AND p.major_id = OBJECT_ID(?, N'U') AND p.state <> N'R'
        ORDER BY p.minor_id, d.name, p.permission_name
        """

    /// Whoever may not view definitions sees permissions of its own only. From SQL Server 2022 on the narrower
    /// permission is enough, which earlier versions do not know.
    static let showsPermissionsSQL = """
        SELECT CASE WHEN HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'VIEW DEFINITION') = 1
            OR HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'VIEW SECURITY DEFINITION') = 1 THEN 1 ELSE 0 END
        """

    static let triggersSQL = "SELECT name FROM sys.triggers WHERE parent_id = OBJECT_ID(?, N'U') ORDER BY name"

    init(indexes: [Index] = [], permissions: [Permission] = [], triggers: [String] = []) {
        self.indexes = indexes
        self.permissions = permissions
        self.triggers = triggers
    }

    init(of table: String, _ connection: Connection) throws {
        let name: [Value] = [.string(servingTable(table))]
        for row in try connection.query(Self.indexesSQL, name).rows() {
            let index = row[0].string ?? ""
            if indexes.last?.name != index {
                indexes.append(
                    Index(
                        name: index, isUnique: row[1] == .bool(true), isColumnstore: row[2].int64 == 6,
                        filter: row[3].string))
            }
            let column = row[4].string ?? ""
            if let ordinal = row[5].int64, ordinal > 0 {
                indexes[indexes.count - 1].key.append(
                    Index.Part(column: column, isDescending: row[6] == .bool(true)))
            } else {
                indexes[indexes.count - 1].included.append(column)
            }
        }
        permissions = try connection.query(Self.permissionsSQL, name).rows().map { row in
            Permission(
                state: row[0].string ?? "", name: row[1].string ?? "", grantee: row[2].string ?? "",
                column: row[3].string)
        }
        showsPermissions = try connection.scalar(Self.showsPermissionsSQL).int64 == 1
        triggers = try connection.query(Self.triggersSQL, name).rows().compactMap { $0[0].string }
    }
}
