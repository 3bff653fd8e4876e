import ODBC
import Synchronization
public import Tidemark

extension SQLServerSource {
    /// - Throws: `TidemarkError.unavailable` when change data capture is off, hidden from the login, or captures nothing.
    public func catalog() async throws -> SourceCatalog {
        let entries = try await database.run { connection in
            try Self.explaining(connection) {
                if let problem = try Self.databaseProblem(connection) { throw problem.error }
                let entries = try Self.entries(connection)
                if entries.isEmpty {
                    let name = try connection.scalar("SELECT DB_NAME()").string
                    throw CaptureProblem.noTables(name ?? "the source database").error
                }
                return entries
            }
        }
        let choice = CaptureChoice(entries, excluded: options.excludedColumns, filter: options.filter)
        state.withLock { state in
            state.entries = Dictionary(entries.map { ($0.instance, $0) }, uniquingKeysWith: { $1 })
        }
        for warning in choice.warnings { warn(warning) }
        return choice.catalog
    }

    /// Runs `body` with what the catalog says about a capture, read again after each failure: grants and columns change.
    func reading<Success>(
        _ capture: Capture, _ connection: Connection, _ body: (CaptureEntry) throws -> Success
    ) throws -> Success {
        try Self.explaining(connection, instance: capture.instance) {
            do {
                return try body(entry(capture.instance, connection))
            } catch let error as ODBCError {
                state.withLock { $0.entries[capture.instance] = nil }
                throw error
            }
        }
    }

    private func entry(_ instance: String, _ connection: Connection) throws -> CaptureEntry {
        if let known = state.withLock({ $0.entries[instance] }) { return known }
        guard let entry = try Self.entries(connection, instance: instance).first else {
            throw CaptureProblem.unknown(instance).error
        }
        state.withLock { $0.entries[instance] = entry }
        return entry
    }

    /// Reads the catalog: all capture instances, or one.
    ///
    /// Simple queries, put together here: a server that keeps its catalog in views joins them slowly.
    static func entries(_ connection: Connection, instance: String? = nil) throws -> [CaptureEntry] {
        let tables = try connection.query(
            tablesSQL(instance.map { "WHERE t.capture_instance = \(literal($0))" } ?? "")
        ).rows()
        guard !tables.isEmpty else { return [] }
        let columns = try SystemColumns(connection, of: tables.flatMap { [$0[1].int64 ?? 0, $0[2].int64 ?? 0] })
        let captured = Dictionary(
            grouping: try connection.query(columnsSQL).rows(), by: { $0[0].int64 ?? 0 })
        return try tables.map { row in
            let (id, sourceID) = (row[1].int64 ?? 0, row[2].int64 ?? 0)
            return CaptureEntry(
                instance: row[0].string ?? "", sourceID: sourceID, source: objectName(row[3], row[4]),
                changeTable: objectName(row[5], row[6]), created: row[7].string ?? "", startLSN: try row[8].lsn(),
                minLSN: try row[9].lsn(), role: row[10].string, mayReadChangeTable: row[11].int64 == 1,
                hasCommandID: columns.has("__$command_id", of: id),
                columns: captured[id, default: []].map { column in
                    let name = column[1].string ?? ""
                    return CaptureEntry.Column(
                        name: name, type: columns.type(name, of: id) ?? columns.type(name, of: sourceID),
                        isComputed: column[2].int64 == 1 || columns.isComputed(name, of: sourceID),
                        isMasked: row[12].int64 != 1 && columns.isMasked(name, of: sourceID),
                        keyOrdinal: column[3].int64)
                })
        }
    }

    private static func objectName(_ schema: Value, _ name: Value) -> ObjectName? {
        guard let schema = schema.string, let name = name.string else { return nil }
        return ObjectName(schema: schema, name: name)
    }

    /// A role is told only when the login lacks it.
    static func tablesSQL(_ filter: String) -> String {
        """
        SELECT t.capture_instance, CAST(t.object_id AS bigint) AS change_id,
            CAST(t.source_object_id AS bigint) AS source_id,
            OBJECT_SCHEMA_NAME(t.source_object_id) AS source_schema, OBJECT_NAME(t.source_object_id) AS source_table,
            OBJECT_SCHEMA_NAME(t.object_id) AS change_schema, OBJECT_NAME(t.object_id) AS change_table,
            CONVERT(nvarchar(30), t.create_date, 126) AS created, CAST(t.start_lsn AS varbinary(10)) AS start_lsn,
            CAST(sys.fn_cdc_get_min_lsn(t.capture_instance) AS varbinary(10)) AS min_lsn,
            CASE WHEN IS_ROLEMEMBER(t.role_name) = 0 THEN t.role_name END AS missing_role,
            HAS_PERMS_BY_NAME(
                QUOTENAME(OBJECT_SCHEMA_NAME(t.object_id)) + N'.' + QUOTENAME(OBJECT_NAME(t.object_id)),
                N'OBJECT', N'SELECT') AS may_read,
            HAS_PERMS_BY_NAME(QUOTENAME(DB_NAME()), N'DATABASE', N'UNMASK') AS may_unmask
        FROM cdc.change_tables AS t
        \(filter)
        ORDER BY t.capture_instance
        """
    }

    /// `object_id` of `cdc.captured_columns` is that of the change table, whatever its page says.
    static let columnsSQL = """
        SELECT CAST(c.object_id AS bigint) AS change_id, c.column_name, CAST(c.is_computed AS int) AS is_computed,
            CAST(k.index_ordinal AS int) AS key_ordinal
        FROM cdc.captured_columns AS c
            LEFT JOIN cdc.index_columns AS k ON k.object_id = c.object_id AND k.column_name = c.column_name
        ORDER BY c.object_id, c.column_ordinal
        """
}

/// What `sys.columns` and `sys.types` say about the columns of some tables. Tables the login may not see have none.
///
/// A captured column's type is that of the change table, which the capture job alters when the source's is altered; the
/// source table stands in when the login does not see the change table.
private struct SystemColumns {
    private struct Column {
        let type: SQLServerType
        let isComputed: Bool
        let isMasked: Bool
    }

    private var tables: [Int64: [String: Column]] = [:]

    init(_ connection: Connection, of ids: [Int64]) throws {
        let types = try connection.query("SELECT CAST(user_type_id AS int) AS id, name FROM sys.types").rows()
        let names = Dictionary(types.map { ($0[0].int64, $0[1].string ?? "") }, uniquingKeysWith: { $1 })
        let columns = try connection.query(
            """
            SELECT CAST(object_id AS bigint) AS id, name, CAST(system_type_id AS int) AS system_type_id,
                CAST(user_type_id AS int) AS user_type_id, CAST(max_length AS int) AS max_length,
                CAST(precision AS int) AS precision, CAST(scale AS int) AS scale,
                CAST(is_computed AS int) AS is_computed, CAST(is_masked AS int) AS is_masked
            FROM sys.columns WHERE object_id IN (\(ids.map { "\($0)" }.joined(separator: ", ")))
            """)
        for row in try columns.rows() {
            // An alias type's base, such as nvarchar for sysname, is the type whose user_type_id is the column's
            // system_type_id; CLR types have a name of their own only.
            let type = SQLServerType(
                name: names[row[2].int64] ?? names[row[3].int64] ?? "", maxLength: Int(row[4].int64 ?? 0),
                precision: Int(row[5].int64 ?? 0), scale: Int(row[6].int64 ?? 0))
            tables[row[0].int64 ?? 0, default: [:]][row[1].string ?? ""] = Column(
                type: type, isComputed: row[7].int64 == 1, isMasked: row[8].int64 == 1)
        }
    }

    func has(_ column: String, of table: Int64) -> Bool { tables[table]?[column] != nil }
    func type(_ column: String, of table: Int64) -> SQLServerType? { tables[table]?[column]?.type }
    func isComputed(_ column: String, of table: Int64) -> Bool { tables[table]?[column]?.isComputed ?? false }
    func isMasked(_ column: String, of table: Int64) -> Bool { tables[table]?[column]?.isMasked ?? false }
}
