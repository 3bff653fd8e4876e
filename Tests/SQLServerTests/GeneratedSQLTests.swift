import Foundation
import TestSupport
import Testing
import Tidemark

@testable import SQLServer

private enum TSQLParser {
    /// Where `make lint` has put it; `nil` when it has not.
    static let repository: URL? = {
        let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let python = repository.appending(path: ".deps/lint/bin/python")
        return FileManager.default.isExecutableFile(atPath: python.path) ? repository : nil
    }()
}

/// The statements the pipeline puts together, through the parser that also reads the scripts of `sql/`.
@Suite(
    "T-SQL that is put together",
    .enabled(if: TSQLParser.repository != nil, "make lint has not installed the parser of T-SQL"))
struct GeneratedSQLTests {
    private static let types: [LogicalType] = [
        .bool, .uint8, .int16, .int32, .int64, .float, .double, .decimal(precision: 38, scale: 10), .string, .binary,
        .date, .time, .timestamp, .timestampTZ, .uuid,
    ]
    /// Names that would not parse unquoted; the parser itself knows none with a ']', nor functions with a blank.
    private static let columns =
        [
            Column(name: "order", type: .int64, isNullable: false),
            Column(name: "a-b c", type: .string, isNullable: false),
        ]
        + types.enumerated().map { Column(name: "c\($0)", type: $1) }
    private static let capture = Capture(
        instance: "dbo_odd", table: "odd name", columns: columns, key: ["order", "a-b c"])

    private static func entry(readable: Bool) -> CaptureEntry {
        CaptureEntry(
            instance: capture.instance, sourceID: 1, source: ObjectName(schema: "dbo", name: "odd name"),
            changeTable: ObjectName(schema: "cdc", name: "dbo_odd name_CT"), created: "", startLSN: .first,
            minLSN: .first,
            role: nil, mayReadChangeTable: readable, hasCommandID: true,
            columns: columns.map { column in
                .init(
                    name: column.name, type: SQLServerType(column.type, maxLength: nil), isComputed: false,
                    isMasked: false,
                    keyOrdinal: capture.key.firstIndex(of: column.name).map { Int64($0 + 1) })
            })
    }

    private static func source() throws -> [String] {
        try [true, false].flatMap { readable in
            let entry = entry(readable: readable)
            return [SQLServerSource.windowEndSQL(entry), try SQLServerSource.changesSQL(capture, entry)]
        } + [
            SQLServerSource.boundsSQL, SQLServerSource.tablesSQL(""), SQLServerSource.columnsSQL,
            SQLServerSource.agentSQL,
            SQLServerSource.jobSQL, SQLServerSource.errorSQL, SQLServerSource.notBegunSQL, SQLServerSource.ageSQL,
        ]
    }

    private static func staging() throws -> [String] {
        let table = try StagingTable(capture)
        let shape = ServingTableShape(columns: [])
        let sources = table.sources(ChangeBatch(columns: columns), shape, at: .now())
        return [
            table.create, table.select(shape), table.delete(rows: BlockLimits.transactionRows),
            SQLServerServing.moveSQL(keepsToken: true), SQLServerServing.moveSQL(keepsToken: false),
            SQLServerBulkInsert.jsonStatement(into: table.name, table.columns, sources),
        ]
    }

    private static func projection() -> [String] {
        let sql = ProjectionTableSQL(ProjectionTable(projection: "odd name", columns: columns, key: capture.key))
        return [
            sql.create(sql.shape(like: nil)), sql.addKey(to: sql.next), sql.makeTemporary("#rows", columns.map(\.name)),
            sql.delete(keysIn: "#rows"), sql.delete(keysNotIn: "#rows"), sql.insert(from: "#rows"),
        ] + sql.swap + [sql.update(from: "#rows")].compactMap { $0 } + additions(sql)
            + [
                TableAdditions.indexesSQL, TableAdditions.permissionsSQL, TableAdditions.showsPermissionsSQL,
                TableAdditions.triggersSQL,
            ]
    }

    private static func additions(_ sql: ProjectionTableSQL) -> [String] {
        typealias Index = TableAdditions.Index
        typealias Permission = TableAdditions.Permission
        return TableAdditions(
            indexes: [
                Index(
                    name: "by-order", isUnique: true,
                    key: [.init(column: "order"), .init(column: "c1", isDescending: true)],
                    included: ["a-b c"], filter: "([c2]>(1))"),
                Index(name: "columns", isColumnstore: true, key: [.init(column: "c3")]),
            ],
            permissions: [
                Permission(state: "GRANT", name: "SELECT", grantee: "reader-1", column: "a-b c"),
                Permission(state: "DENY", name: "UPDATE", grantee: "public"),
                Permission(state: "GRANT_WITH_GRANT_OPTION", name: "VIEW DEFINITION", grantee: "lead"),
            ]
        ).statements(on: sql).compactMap(\.sql)
    }

    @Test("parses, whatever the columns are named and of whatever type they are")
    func parses() async throws {
        let repository = try #require(TSQLParser.repository)
        let statements = try Self.source() + Self.staging() + Self.projection()
        let file = FileManager.default.temporaryDirectory.appending(path: "tidemark-\(UUID().uuidString).sql")
        defer { try? FileManager.default.removeItem(at: file) }
        // The parser knows no parameters of ODBC.
        let text = statements.map { $0.replacing("?", with: "@parameter") }.joined(separator: "\nGO\n")
        try text.write(to: file, atomically: true, encoding: .utf8)
        func check(_ file: URL) throws -> (status: Int32, messages: String) {
            let process = Process()
            process.executableURL = repository.appending(path: ".deps/lint/bin/python")
            process.arguments = [repository.appending(path: "scripts/lint/check_tsql.py").path, file.path]
            let messages = Pipe()
            process.standardError = messages
            try process.run()
            let data = messages.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            return (process.terminationStatus, String(decoding: data, as: UTF8.self))
        }
        let result = try check(file)
        #expect(result.status == 0, "\(result.messages)")
        // And the parser would have found something.
        try (text + "\nGO\nSELECT FROM WHERE (").write(to: file, atomically: true, encoding: .utf8)
        #expect(try check(file).status == 1)
    }
}
