import Foundation
import ODBC
import Testing

@Suite("SQLite's driver", .enabled(if: Installed.sqlite, Installed.sqliteHint))
struct SQLiteTests {
    let directory: TemporaryDirectory
    let environment: Environment
    let connection: Connection

    init() throws {
        directory = try TemporaryDirectory()
        environment = try Environment()
        connection = try environment.connect(Self.target(directory))
    }

    private static func target(_ directory: TemporaryDirectory) -> ConnectionString {
        ConnectionString(["Driver": "SQLite3", "Database": directory.path("a.db"), "Timeout": "100"])
    }

    @Test("a connection knows its driver and database")
    func info() {
        #expect(connection.driver.driverName.contains("sqlite3odbc"))
        #expect(connection.driver.dbmsName == "SQLite")
        #expect(connection.driver.dbmsVersion.hasPrefix("3."))
        #expect(!connection.isDead)
    }

    @Test("values of each type come back as they went")
    func roundTrip() throws {
        try connection.execute(
            """
            CREATE TABLE t(b BIT, ti TINYINT, si SMALLINT, i INT, bi BIGINT, d DOUBLE, s VARCHAR(10), x BLOB, day DATE,
                at TIMESTAMP, id TEXT)
            """)
        let date = DateParts(year: 2024, month: 2, day: 29)
        let time = TimeParts(hour: 23, minute: 59, second: 58, fraction: 123_000_000)
        let id = UUID()
        let row: [Value] = [
            true, 255, -32_768, .int(Int64(Int32.min)), .int(.max), 1.5, "äöü😀\u{10ffff}", .binary([0, 255, 1]),
            .date(date),
            .timestamp(TimestampParts(date: date, time: time)), .string(id.uuidString),
        ]
        let insert = try connection.prepare("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        #expect(try insert.execute(row) == 1)
        #expect(try insert.execute(row.map { _ in .null }) == 1)
        let rows = try connection.query("SELECT * FROM t ORDER BY rowid").rows()
        #expect(rows == [row, row.map { _ in .null }])
    }

    @Test("an empty string is not NULL")
    func empty() throws {
        try connection.execute("CREATE TABLE t(s TEXT, x BLOB)")
        try connection.execute("INSERT INTO t VALUES (?, ?), (?, ?)", ["", .binary([]), .null, .null])
        #expect(try connection.query("SELECT s, x FROM t").rows().map { $0[0] } == ["", .null])
    }

    @Test("integers wider than their column's type are read whole")
    func wideIntegers() throws {
        try connection.execute("CREATE TABLE t(i INT)")
        try connection.execute("INSERT INTO t VALUES (?)", [.int(1 << 40)])
        #expect(try connection.scalar("SELECT i FROM t") == .int(1 << 40))
    }

    @Test("text longer than its column declares is read whole")
    func longText() throws {
        try connection.execute("CREATE TABLE t(s VARCHAR(10))")
        for length in [9, 10, 11, 4_095, 4_096, 4_097, 100_000] {
            let text = String(repeating: "é", count: length)
            try connection.execute("DELETE FROM t")
            try connection.execute("INSERT INTO t VALUES (?)", [.string(text)])
            #expect(try connection.scalar("SELECT s FROM t").string == text)
        }
    }

    @Test("a string with a NUL in it, which the driver would cut, is refused")
    func embeddedNUL() throws {
        try connection.execute("CREATE TABLE t(s TEXT)")
        let error = try #require(throws: ODBCError.self) {
            try connection.execute("INSERT INTO t VALUES (?)", ["a\u{0}b"])
        }
        #expect(error.description.contains("NUL"))
    }

    @Test("rows come in several blocks, the last one shorter")
    func blocks() throws {
        try connection.execute("CREATE TABLE t(n BIGINT, d DOUBLE)")
        var rows = ParameterArray([.int64, .double])
        for number in 0..<1_000 {
            try rows.append([.int(Int64(number)), number % 3 == 0 ? .null : .double(Double(number))])
        }
        #expect(try connection.transaction { try connection.execute("INSERT INTO t VALUES (?, ?)", rows) } == 1_000)
        let cursor = try connection.query("SELECT n, d FROM t ORDER BY n", options: .init(rowsPerBlock: 300))
        var counts: [Int] = []
        var next: Int64 = 0
        while try cursor.fetch() {
            counts.append(cursor.count)
            try cursor.withValues(of: Int64.self, column: 0) { numbers in
                #expect(Array(numbers) == Array(next..<next + Int64(numbers.count)))
            }
            for row in 0..<cursor.count { #expect(cursor.isNull(row: row, column: 1) == ((Int(next) + row) % 3 == 0)) }
            next += Int64(cursor.count)
        }
        #expect(counts == [300, 300, 300, 100])
    }

    @Test("a transaction rolls back when its body throws, and its error comes through")
    func rollback() throws {
        struct Stop: Error {}
        try connection.execute("CREATE TABLE t(n INT)")
        #expect(throws: Stop.self) {
            try connection.transaction {
                try connection.execute("INSERT INTO t VALUES (1)")
                throw Stop()
            }
        }
        #expect(try connection.query("SELECT n FROM t").rows() == [])
        try connection.transaction { try connection.execute("INSERT INTO t VALUES (2)") }
        #expect(try connection.query("SELECT n FROM t").rows() == [[2]])
    }

    @Test("a transaction within a transaction is refused, and both are undone")
    func nestedTransaction() throws {
        try connection.execute("CREATE TABLE t(n INT)")
        #expect(throws: ODBCError.nestedTransaction) {
            try connection.transaction {
                try connection.execute("INSERT INTO t VALUES (1)")
                try connection.transaction {}
            }
        }
        #expect(try connection.query("SELECT n FROM t").rows() == [])
    }

    @Test("a broken key is a constraint error, with the SQL and the driver's words")
    func constraint() throws {
        try connection.execute("CREATE TABLE t(n INT PRIMARY KEY)")
        let sql = "INSERT INTO t VALUES (1)"
        try connection.execute(sql)
        let error = try #require(throws: ODBCError.self) { try connection.execute(sql) }
        #expect(error.errorClass == .constraint)
        #expect(error.sql == sql)
        #expect(error.description.contains("UNIQUE constraint failed"))
    }

    @Test("a database locked by another connection is transient")
    func busy() throws {
        try connection.execute("CREATE TABLE t(n INT)")
        let other = try environment.connect(Self.target(directory))
        try connection.transaction {
            try connection.execute("INSERT INTO t VALUES (1)")
            let error = try #require(throws: ODBCError.self) { try other.execute("INSERT INTO t VALUES (2)") }
            #expect(error.errorClass == .transient)
        }
    }

    @Test("too few parameters and a parameter that is no value are refused")
    func badParameters() throws {
        try connection.execute("CREATE TABLE t(n INT, s TEXT)")
        #expect(throws: ODBCError.self) { try connection.execute("INSERT INTO t VALUES (?, ?)", [1]) }
        #expect(throws: ODBCError.self) {
            try connection.execute("INSERT INTO t VALUES (?, 'x')", [.decimal(.max, scale: 0)])
        }
        var rows = ParameterArray([.int32])
        #expect(throws: ODBCError.self) { try rows.append(["x"]) }
        #expect(throws: ODBCError.self) { try rows.append([.int(1 << 40)]) }
        #expect(throws: ODBCError.self) { try rows.append([1, 2]) }
        #expect(rows.count == 0)
    }

    @Test("a row that is refused leaves the rows before it as they were")
    func refusedRow() throws {
        try connection.execute("CREATE TABLE t(n INT, s TEXT, m INT)")
        var rows = ParameterArray([.int32, .string, .int32])
        try rows.append([1, "one", 10])
        #expect(throws: ODBCError.self) { try rows.append([2, "two", "x"]) }
        try rows.append([3, "three", 30])
        try connection.execute("INSERT INTO t VALUES (?, ?, ?)", rows)
        #expect(try connection.query("SELECT * FROM t ORDER BY n").rows() == [[1, "one", 10], [3, "three", 30]])
    }

    @Test("columns are filled at once with values that lie back to back")
    func filledColumns() throws {
        try connection.execute("CREATE TABLE t(n INT, s TEXT)")
        var rows = ParameterArray([.int32, .string])
        [Int32(7), 0, 9].withUnsafeBytes { bytes in rows.columns[0].append(fixedWidth: bytes) { $0 == 1 } }
        for text in ["a", "", "ü"] { rows.columns[1].append(text) }
        try connection.execute("INSERT INTO t VALUES (?, ?)", rows)
        #expect(
            try connection.query("SELECT n, s FROM t ORDER BY rowid").rows() == [[7, "a"], [.null, ""], [9, "ü"]])
    }

    @Test("what is closed says so, and closing twice does nothing")
    func closed() throws {
        let statement = try connection.prepare("SELECT 1")
        let cursor = try statement.query()
        cursor.close()
        cursor.close()
        #expect(throws: ODBCError.closed("cursor")) { try cursor.fetch() }
        connection.close()
        connection.close()
        connection.cancelHandle.cancel()
        #expect(connection.isDead)
        #expect(throws: ODBCError.closed("connection")) { try connection.execute("SELECT 1") }
        #expect(throws: ODBCError.closed("connection")) { try statement.query() }
    }

    @Test("a result is read as what it is, and as nothing else")
    func mismatch() throws {
        let cursor = try connection.query("SELECT 1.5 AS d, 'x' AS s")
        #expect(cursor.columns.map(\.name) == ["d", "s"])
        #expect(try cursor.fetch())
        #expect(throws: ODBCError.self) { try cursor.withValues(of: Int16.self, column: 0) { _ in } }
        #expect(throws: ODBCError.self) { try cursor.forEachDecimal(column: 1, scale: 0) { _, _ in } }
    }

    @Test("a statement without rows is no query")
    func noResult() throws {
        try connection.execute("CREATE TABLE t(n INT)")
        #expect(throws: ODBCError.noResult(sql: "INSERT INTO t VALUES (1)")) {
            try connection.query("INSERT INTO t VALUES (1)")
        }
        #expect(throws: ODBCError.noResult(sql: "SELECT n FROM t WHERE n = 2")) {
            try connection.scalar("SELECT n FROM t WHERE n = 2")
        }
    }

    @Test("a driver that is not installed is named in the error")
    func unknownDriver() throws {
        let error = try #require(throws: ODBCError.self) {
            try environment.connect("Driver=Nowhere;UID=me;PWD=geheim")
        }
        #expect(error.records.first.map { ["IM002", "01000"].contains($0.sqlState) } == true)
        #expect(error.description.contains("Driver=Nowhere;UID=me;PWD=***"))
        #expect(!"\(error)".contains("geheim") && !String(reflecting: error).contains("geheim"))
    }
}
