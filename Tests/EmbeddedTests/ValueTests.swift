import ContractTests
import Embedded
import Foundation
import GRDB
import Testing
import Tidemark

@Suite("Values and files of SQLite")
struct ValueTests {
    @Test(
        "a value that does not fit its column's type is an error that names it",
        arguments: [
            ("INTEGER", "'text'", "text"), ("INTEGER", "1.5", "floating-point"), ("INTEGER", "x'00'", "blob"),
            ("TINYINT", "300", "range 0 to 255"), ("TINYINT", "-1", "range"), ("SMALLINT", "32768", "range"),
            ("MEDIUMINT", "2147483648", "range"), ("BOOLEAN", "2", "boolean"), ("BOOLEAN", "'true'", "text"),
            ("REAL", "'one'", "text"), ("TEXT", "x'41'", "blob"), ("TEXT", "CAST(x'ff41' AS TEXT)", "UTF-8"),
            ("TEXT", "CAST(x'eda080' AS TEXT)", "UTF-8"), ("BLOB", "'text'", "text"),
            ("DATE", "'2026-02-30'", "not a date"), ("DATE", "20260101", "integer"),
            ("DATE", "'0000-01-01'", "not a date"), ("TIME", "'24:00:00'", "not a time"),
            ("DATETIME", "'2026-01-31 10:00:00.1234567'", "timestamp"), ("DATETIME", "'2026-01'", "timestamp"),
            ("DATETIME", "'2026-01-31 10'", "timestamp"), ("DATETIME", "'2026-01-31 10:00 x'", "timestamp"),
            ("DATETIME", "'2026-01-31 10:00:00+25:00'", "timestamp"), ("DATETIME", "'2026-02-30'", "timestamp"),
            ("DATETIME", "'0001-01-01 00:00+01:00'", "between the years"), ("DATETIME", "'now'", "timestamp"),
            ("DATETIME", "1767225600", "write it as text"), ("TIMESTAMP", "2461041.5", "write it as text"),
            ("DATETIMEOFFSET", "1767225600", "write it as text"), ("JSON", "9e999", "no number of JSON"),
            ("JSON", "x'41'", "blob"), ("UUID", "'abc'", "not a UUID"),
            ("UUID", "x'00'", "16"), ("DECIMAL_TEXT(5,2)", "'1000.00'", "within the 5 digits"),
            ("DECIMAL_TEXT(5,2)", "'1.005'", "exact with 2 digits"), ("DECIMAL_TEXT(5,2)", "'abc'", "decimal number"),
            ("DECIMAL_TEXT(5,2)", "''", "decimal number"), ("DECIMAL(5,2)", "1000", "more digits"),
            ("DECIMAL(18,2)", "'9999999999999999.99'", "DECIMAL_TEXT(18,2)"),
            ("DECIMAL(18,2)", "'1000000000000000.01'", "DECIMAL_TEXT(18,2)"),
            ("DECIMAL(18,2)", "0.125", "DECIMAL_TEXT(18,2)"),
        ])
    func misfit(type: String, literal: String, reason: String) async throws {
        let source = try await SQLiteSource(schema: "CREATE TABLE t (id INTEGER PRIMARY KEY, v \(type))")
        try source.execute("INSERT INTO t VALUES (1, \(literal))")
        do {
            let changes = try await source.changes("t")
            Issue.record("accepted as \(changes)")
        } catch let error as TidemarkError {
            guard case .value("t", "v", LSN(high: 2, low: 0), let found) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(found.contains(reason), "\(found)")
        }
    }

    @Test(
        "a value that fits is read as what it is",
        arguments: [
            ("INT", "-9223372036854775808", "-9223372036854775808"), ("TINYINT", "255", "255"),
            ("BIT", "1", "1"), ("REAL", "3", "3.0"), ("DOUBLE PRECISION", "1e308", "1e+308"),
            ("DECIMAL(18,2)", "12.5", "12.50"), ("DECIMAL(18,2)", "-7", "-7.00"),
            ("DECIMAL(18,2)", "0.1 + 0.2", "0.30"), ("DECIMAL(18,0)", "1e14", "100000000000000"),
            (
                "DECIMAL_TEXT(38,10)", "'-1234567890123456789012345678.0123456789'",
                "-1234567890123456789012345678.0123456789"
            ),
            ("DECIMAL_TEXT(6,2)", "'+1.5000'", "1.50"), ("DECIMAL", "12", "12"), ("NUMERIC(4, 1)", "'9'", "9.0"),
            ("DATETIME", "'2024-02-29T23:59:59.5Z'", "2024-02-29 23:59:59.500000"),
            ("DATETIME", "'2026-01-31'", "2026-01-31 00:00:00"), ("DATETIME", "'2026-01-31 '", "2026-01-31 00:00:00"),
            ("DATETIME", "'2026-01-31 10:05'", "2026-01-31 10:05:00"),
            ("DATETIME", "'2026-01-31T10:05'", "2026-01-31 10:05:00"),
            ("DATETIME", "'2026-01-31T10:05z'", "2026-01-31 10:05:00"),
            ("DATETIME", "'2026-01-31  10:05:06.123456000 +02:30'", "2026-01-31 07:35:06.123456"),
            ("TIMESTAMP", "'2025-12-31 22:00-05:00'", "2026-01-01 03:00:00"),
            ("DATETIMEOFFSET", "'2026-01-31 10:00:00'", "2026-01-31 10:00:00"),
            ("DATETIMEOFFSET", "'2026-01-31'", "2026-01-31 00:00:00"), ("TIME", "'10:05'", "36300000000"),
            ("JSON", "'{\"a\": [1, 2.50]}'", "{\"a\": [1, 2.50]}"), ("JSON", "'12'", "12"), ("JSON", "0.1", "0.1"),
            ("JSON", "'\"x\"'", "\"x\""),
            ("DATETIMEOFFSET", "'2026-01-01 01:00:00 +02:00'", "2025-12-31 23:00:00"),
            ("VARCHAR(20)", "'a' || char(0) || 'b'", "a\0b"), ("NVARCHAR(20)", "''", ""),
            ("VARBINARY(4)", "x'00ff'", "0 ff"), ("BLOB", "x''", ""), ("DATE", "'1970-01-02'", "1"),
            ("TIME", "'00:00:01'", "1000000"),
            ("UUID", "'80000000-0000-0000-0000-000000000001'", "1"),
            ("UNIQUEIDENTIFIER", "x'80000000000000000000000000000002'", "2"),
        ])
    func fit(type: String, literal: String, expected: String) async throws {
        let source = try await SQLiteSource(schema: "CREATE TABLE t (id INTEGER PRIMARY KEY, v \(type))")
        try source.execute("INSERT INTO t VALUES (1, \(literal))")
        #expect(try await source.changes("t").map { $0.values[1] } == [expected])
    }

    @Test("a NULL in a key column is an error")
    func nullKey() async throws {
        let source = try await SQLiteSource(schema: "CREATE TABLE t (id TEXT PRIMARY KEY, v INT)")
        try source.execute("INSERT INTO t VALUES (NULL, 1)")
        do {
            _ = try await source.changes("t")
            Issue.record("a NULL key was accepted")
        } catch let error as TidemarkError {
            #expect("\(error)".contains("t.id"), "\(error)")
        }
    }

    @Test("changes go from the source to staging and back unchanged")
    func throughStaging() async throws {
        let source = try await SQLiteSource.shop()
        let serving = try await SQLiteServing()
        try await source.transaction([
            """
            INSERT INTO orders VALUES
                (-9223372036854775808, NULL, '-9999999999999999.99', '', '0001-01-01 00:00:00',
                 '9999-12-31 23:59:59.999999'),
                (9223372036854775807, 0, NULL, 'ŝ👟' || char(0) || '''', NULL, '1969-12-31 23:59:59.000001')
            """,
            "UPDATE orders SET status = 'x' WHERE order_id > 0",
            "DELETE FROM orders WHERE order_id < 0",
        ])
        let capture = try await source.capture("orders")
        let window = LSNWindow(after: .zero, through: try await source.embedded.bounds().maxLSN)
        let store = serving.embedded
        try await store.prepareStaging(for: capture, source: "s")
        let reader = try await source.embedded.changes(of: capture, in: window, blockRows: 2)
        #expect(
            try await store.ingest(capture, source: "s", window: window, commitTime: nil, from: reader) == 4)
        let back = try await store.staged(capture, in: window, blockRows: 10).blocks().flatMap(\.readable)
        #expect(try await source.changes("orders") == back)
        #expect(back[1].values[3] == "ŝ👟\0'")
        // Whoever reads staging with plain SQL sees plain values.
        let plain = try DatabaseQueue(path: serving.path)
        let texts = try await plain.read { db in
            try String.fetchAll(
                db, sql: "SELECT hex(lsn) || ' ' || amount || ' ' || created_at FROM stg_cdc_orders WHERE op = 1")
        }
        #expect(texts == ["00000000000000020000 -9999999999999999.99 0001-01-01 00:00:00"])
    }

    @Test("a table left over from a build that was cut short is replaced")
    func buildLeftovers() async throws {
        let serving = try await SQLiteServing()
        try await serving.embedded.execute(
            script: "CREATE TABLE ctl_build_p (other TEXT); INSERT INTO ctl_build_p VALUES ('x')")
        let table = ProjectionTable(
            projection: "p", columns: [Tidemark.Column(name: "id", type: .int64)], key: ["id"])
        var rows = RowBatch(columns: table.columns)
        for id in 0..<50_000 as Range<Int64> { rows.columns[0].append(id) }
        try await serving.embedded.execute(script: "CREATE VIEW report AS SELECT * FROM proj_p")
        for hash in ["a", "b"] {
            let build = ProjectionBuild(
                table: table, replacing: try await serving.embedded.projection("p"), asOf: LSN(high: 1, low: 0),
                asOfTime: nil, captures: ["c"], definitionHash: hash)
            #expect(try await serving.embedded.build(build, rows: ListReader([rows])) == 50_000)
        }
        let plain = try DatabaseQueue(path: serving.path)
        #expect(try await plain.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM report") } == 50_000)
        #expect(try await plain.read { try !$0.tableExists("ctl_build_p") })
    }

    @Test("a value SQLite cannot hold is refused, not changed")
    func notANumber() async throws {
        let serving = try await SQLiteServing()
        let table = ProjectionTable(
            projection: "p",
            columns: [Tidemark.Column(name: "id", type: .int64), Tidemark.Column(name: "x", type: .double)],
            key: ["id"])
        var rows = RowBatch(columns: table.columns)
        rows.columns[0].append(Int64(1))
        rows.columns[1].append(Double.nan)
        let build = ProjectionBuild(
            table: table, replacing: nil, asOf: LSN(high: 1, low: 0), asOfTime: nil, captures: ["c"],
            definitionHash: "a")
        await #expect(throws: TidemarkError.projection(name: "p", reason: "column x: NaN cannot be stored in SQLite")) {
            _ = try await serving.embedded.build(build, rows: ListReader([rows]))
        }
    }

    @Test("a captured column with the name of one of staging's own is refused")
    func reservedNames() async throws {
        let serving = try await SQLiteServing()
        let capture = Capture(
            instance: "dbo_t", table: "t", columns: [Tidemark.Column(name: "OP", type: .int64)], key: ["OP"])
        await #expect(throws: TidemarkError.self) {
            try await serving.embedded.prepareStaging(for: capture, source: "s")
        }
    }

    @Test("a file that cannot be opened is one clear sentence")
    func unavailable() throws {
        let directory = try TemporaryDirectory()
        let missing = directory.file("missing/source.db")
        do {
            _ = try EmbeddedSource(path: missing)
            Issue.record("the file was opened")
        } catch let error as TidemarkError {
            #expect("\(error)".contains("there is no directory"), "\(error)")
        }
        try Data("this is no database, whatever its name may say".utf8)
            .write(to: URL(fileURLWithPath: directory.file("text.db")))
        do {
            _ = try EmbeddedServing(path: directory.file("text.db"))
            Issue.record("the file was opened")
        } catch let error as TidemarkError {
            #expect("\(error)".contains("is not an SQLite database"), "\(error)")
        }
    }
}
