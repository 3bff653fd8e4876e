import Foundation
import ODBC
import TestSupport
import Testing

@Suite("PostgreSQL's driver", .enabled(if: Installed.postgreSQL, Installed.postgreSQLHint))
struct PostgreSQLTests {
    let server: PostgreSQL
    let connection: Connection

    init() throws {
        server = try PostgreSQL.shared.get()
        connection = try server.connect()
    }

    private static let date = DateParts(year: 2024, month: 2, day: 29)
    private static let time = TimeParts(hour: 23, minute: 59, second: 58, fraction: 123_456_000)

    @Test("a connection knows its driver and database")
    func info() {
        #expect(connection.driver.driverName.lowercased().contains("psqlodbc"))
        #expect(connection.driver.dbmsName == "PostgreSQL")
        #expect(connection.driver.databaseName == "postgres")
    }

    @Test(
        "values of each type come back as they went, prepared or not",
        arguments: [
            ("boolean", true), ("boolean", false), ("smallint", -32_768), ("integer", .int(Int64(Int32.min))),
            ("bigint", .int(.max)), ("bigint", .int(.min)), ("real", .float(1.5)),
            ("double precision", .double(-1.0e-300)),
            ("numeric(18,2)", .decimal(-1250, scale: 2)),
            ("numeric(38,0)", .decimal(99_999_999_999_999_999_999_999_999_999_999_999_999, scale: 0)),
            ("numeric(38,38)", .decimal(-99_999_999_999_999_999_999_999_999_999_999_999_999, scale: 38)),
            ("varchar(20)", ""), ("varchar(20)", "O'Neil \\ ? $1"), ("varchar(20)", "äöü日本😀\u{10ffff}\u{ffff}"),
            ("text", ""), ("text", "text"), ("char(3)", "ab "),
            ("bytea", .binary([])), ("bytea", .binary([0, 1, 92, 39, 255])),
            ("date", .date(date)), ("date", .date(DateParts(year: 9999, month: 12, day: 31))),
            ("date", .date(DateParts(year: 1, month: 1, day: 1))),
            ("time", .time(time)), ("time", .time(TimeParts(hour: 0, minute: 0, second: 0))),
            ("timestamp", .timestamp(TimestampParts(date: date, time: time))),
            ("timestamp", .timestamp(TimestampParts(date: DateParts(year: 1, month: 1, day: 1), time: time))),
            ("uuid", .uuid(UUID(uuidString: "01234567-89AB-CDEF-0123-456789ABCDEF") ?? UUID())),
        ] as [(String, Value)])
    func roundTrip(type: String, value: Value) throws {
        try connection.execute("CREATE TEMP TABLE t(v \(type))")
        try connection.execute("INSERT INTO t VALUES (?)", [value])
        let insert = try connection.prepare("INSERT INTO t VALUES (?)")
        #expect(try insert.execute([value]) == 1)
        #expect(try insert.execute([.null]) == 1)
        let rows = try connection.query("SELECT v FROM t").rows().map { $0[0] }
        #expect(rows == [value, value, .null])
    }

    @Test(
        "text and binary of a megabyte and more are sent and read in pieces",
        arguments: [0, 1, 65_535, 65_536, 1_048_576, 1_048_577, 3_000_001])
    func bigValues(length: Int) throws {
        try connection.execute("CREATE TEMP TABLE t(s text, x bytea)")
        // Three units a turn, so that pairs fall across the boundaries of pieces.
        let whole = String(repeating: "😀é", count: length / 3) + String(repeating: "x", count: length % 3)
        let bytes = [UInt8](unsafeUninitializedCapacity: length) { buffer, count in
            for index in 0..<length { buffer[index] = UInt8(truncatingIfNeeded: index &* 31) }
            count = length
        }
        try connection.execute("INSERT INTO t VALUES (?, ?)", [.string(whole), .binary(bytes)])
        let cursor = try connection.query("SELECT s, x FROM t")
        #expect(cursor.columns.map(\.isStreamed) == [true, true])
        #expect(try cursor.fetch())
        #expect(try cursor.value(row: 0, column: 0).string == whole)
        let isSame = try cursor.withBytes(row: 0, column: 1) { $0?.elementsEqual(bytes) }
        #expect(isSame == true)
        #expect(try cursor.fetch() == false)
    }

    @Test("a string with a NUL in it, which the driver would cut, is refused")
    func embeddedNUL() throws {
        try connection.execute("CREATE TEMP TABLE t(s text)")
        let error = try #require(throws: ODBCError.self) {
            try connection.execute("INSERT INTO t VALUES (?)", ["a\u{0}b"])
        }
        #expect(error.description.contains("NUL"))
    }

    @Test("rows come in several blocks, bound or streamed", arguments: ["varchar(12)", "text"])
    func blocks(type: String) throws {
        let cursor = try connection.query(
            """
            SELECT i::bigint, nullif(i % 7, 0)::int, ('row ' || i)::\(type), (i / 4.0)::numeric(10,2)
            FROM generate_series(1, 1000) i ORDER BY 1
            """, options: .init(rowsPerBlock: 300))
        #expect(cursor.columns[2].isStreamed == (type == "text"))
        var counts: [Int] = []
        var next = 1
        while try cursor.fetch() {
            counts.append(cursor.count)
            try cursor.withValues(of: Int64.self, column: 0) { numbers in
                #expect(numbers.map { Int($0) } == Array(next..<next + numbers.count))
            }
            cursor.withLengths(column: 1) { lengths in
                for (row, length) in lengths.enumerated() { #expect((length == -1) == ((next + row) % 7 == 0)) }
            }
            try cursor.forEachBytes(column: 2) { row, bytes in
                #expect(bytes.map { String(decoding: $0, as: UTF8.self) } == "row \(next + row)")
            }
            try cursor.forEachDecimal(column: 3, scale: 2) { row, value in
                #expect(value == Int128((next + row) * 25))
            }
            next += cursor.count
        }
        #expect(counts == [300, 300, 300, 100])
    }

    @Test("a value longer than its column says is never cut in silence")
    func truncation() throws {
        // The driver takes an expression's size to be 255 when nothing says otherwise.
        let sql = "SELECT repeat('é', 300)::varchar"
        let outcome = Result { try connection.query(sql, options: .init(boundBytes: 1 << 20)).rows() }
        switch outcome {
        case .success(let rows): #expect(rows == [[.string(String(repeating: "é", count: 300))]])
        case .failure(let error):
            guard case .truncated(sql, "repeat", _) = error as? ODBCError else { throw error }
        }
        let streamed = try connection.query(sql, options: .init(boundBytes: 0)).rows()
        #expect(streamed == [[.string(String(repeating: "é", count: 300))]])
    }

    @Test("a decimal with more digits than asked for, or none, is refused by row")
    func decimalLoss() throws {
        let cursor = try connection.query("SELECT v::numeric FROM (VALUES ('1.25'), ('NaN')) t(v)")
        #expect(try cursor.fetch())
        var seen: [Int128?] = []
        let error = try #require(throws: ODBCError.self) {
            try cursor.forEachDecimal(column: 0, scale: 2) { _, value in seen.append(value) }
        }
        #expect(seen == [125])
        #expect(error.description.contains("NaN"))
        #expect(throws: ODBCError.self) { try cursor.forEachDecimal(column: 0, scale: 1) { _, _ in } }
    }

    @Test("a prepared query is run again after it was read in part")
    func repeatedQuery() throws {
        let query = try connection.prepare("SELECT i FROM generate_series(1, ?::int) i ORDER BY i")
        for limit in [1_000, 3, 2] {
            let cursor = try query.query([.int(Int64(limit))], options: .init(rowsPerBlock: 2))
            #expect(try cursor.fetch())
            #expect(try cursor.value(row: 0, column: 0) == 1)
        }
        let first = try query.query([5])
        let second = try query.query([1])
        #expect(throws: ODBCError.closed("cursor")) { try first.fetch() }
        #expect(try second.rows() == [[1]])
    }

    @Test("a NULL is sent as the type it is said to have")
    func typedNulls() throws {
        let types: [(String, ParameterType)] = [
            ("bytea", .binary), ("text", .string), ("int", .int32), ("numeric", .decimal(precision: 38, scale: 9)),
            ("timestamp", .timestamp(scale: 6)), ("uuid", .uuid), ("boolean", .bool), ("time", .time(scale: 6)),
        ]
        for (name, type) in types {
            #expect(try connection.scalar("SELECT ?::\(name) IS NULL", [.typedNull(type)]) == true)
        }
    }

    // MARK: bulk

    @Test("many rows are stored at once, NULLs and long strings among them")
    func bulk() throws {
        try connection.execute(
            "CREATE TEMP TABLE t(n bigint, s text, d numeric(18,2), at timestamp, x bytea, b boolean)")
        var rows = ParameterArray([
            .int64, .string, .decimal(precision: 18, scale: 2), .timestamp(scale: 6), .binary, .bool,
        ])
        var expected: [[Value]] = []
        for number in 0..<1_500 {
            let text = String(repeating: "😀é", count: number % 50) + "\(number)"
            let row: [Value] = [
                .int(Int64(number)),
                number % 5 == 0 ? .null : .string(number == 700 ? String(repeating: "é", count: 20_000) : text),
                .decimal(Int128(number) - 700, scale: 2), .timestamp(TimestampParts(date: Self.date, time: Self.time)),
                number % 7 == 0 ? .null : .binary([UInt8](repeating: 7, count: number % 11)), .bool(number % 2 == 0),
            ]
            expected.append(row)
            try rows.append(row)
        }
        let stored = try connection.transaction {
            try connection.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", rows)
        }
        #expect(stored == 1_500)
        #expect(try connection.query("SELECT * FROM t ORDER BY n").rows() == expected)
    }

    @Test("no rows are no work")
    func emptyBulk() throws {
        try connection.execute("CREATE TEMP TABLE t(n int)")
        #expect(try connection.execute("INSERT INTO t VALUES (?)", ParameterArray([.int32])) == 0)
    }

    @Test("columns of different length are refused before anything is sent")
    func unevenBulk() throws {
        try connection.execute("CREATE TEMP TABLE t(n int, m int)")
        var rows = ParameterArray([.int32, .int32])
        rows.columns[0].append(Int32(1))
        let error = try #require(throws: ODBCError.self) { try connection.execute("INSERT INTO t VALUES (?, ?)", rows) }
        guard case .parameter(_, 2, _) = error else { throw error }
    }

    @Test("a row that breaks a key fails the whole array in a transaction, and is pointed out")
    func failingBulk() throws {
        try connection.execute("CREATE TEMP TABLE t(n int PRIMARY KEY)")
        var rows = ParameterArray([.int32])
        for number in [1, 2, 3, 2, 5] { try rows.append([.int(Int64(number))]) }
        let error = try #require(throws: ODBCError.self) {
            try connection.transaction { try connection.execute("INSERT INTO t VALUES (?)", rows) }
        }
        #expect(error.errorClass == .constraint)
        if case .rows(_, let positions, _) = error { #expect(positions.contains(3)) } else { throw error }
        #expect(try connection.query("SELECT n FROM t").rows() == [])
    }

    // MARK: errors

    @Test(
        "failures are sorted by what a caller can do",
        arguments: [
            ("SELEC 1", ErrorClass.syntax, "42601"), ("SELECT * FROM nowhere", .syntax, "42P01"),
            ("INSERT INTO t VALUES (1), (1)", .constraint, "23505"),
            ("INSERT INTO t VALUES (NULL)", .constraint, "23502"),
            ("SELECT 1 / 0", .permanent, "22012"),
            ("SET ROLE nobody_at_all", .permanent, "22023"),
            ("DO $$ BEGIN RAISE serialization_failure; END $$", .transient, "40001"),
            ("DO $$ BEGIN RAISE insufficient_privilege; END $$", .permission, "42501"),
        ])
    func errors(sql: String, expected: ErrorClass, state: String) throws {
        try connection.execute("CREATE TEMP TABLE t(n int PRIMARY KEY)")
        let error = try #require(throws: ODBCError.self) { try connection.execute(sql) }
        #expect(error.errorClass == expected)
        #expect(error.records.first?.sqlState == state)
        #expect(error.sql == sql)
        #expect(!connection.isDead)
        #expect(try connection.scalar("SELECT 1") == 1)
    }

    @Test("notices are warnings, all of them, and do not fail the statement")
    func warnings() throws {
        try connection.execute("DO $$ BEGIN RAISE NOTICE 'first one'; RAISE WARNING 'second one'; END $$")
        let messages = connection.warnings.map(\.message).joined(separator: "\n")
        #expect(messages.contains("first one") && messages.contains("second one"))
        #expect(!connection.warnings.map(\.isWarning).contains(false))
        try connection.execute("SELECT 1")
        #expect(connection.warnings.isEmpty)
    }

    @Test("a message longer than any buffer is kept whole")
    func longMessage() throws {
        // psqlODBC itself keeps 4095 bytes of a message.
        let error = try #require(throws: ODBCError.self) {
            try connection.execute("DO $$ BEGIN RAISE EXCEPTION '%', repeat('é', 2000) || 'end'; END $$")
        }
        #expect(error.records.first?.message.contains(String(repeating: "é", count: 2_000) + "end") == true)
    }

    @Test("of two transactions that wait for each other one is the victim, and transient")
    func deadlock() async throws {
        try connection.execute("DROP TABLE IF EXISTS deadlock; CREATE TABLE deadlock(n int PRIMARY KEY, v int)")
        try connection.execute("INSERT INTO deadlock VALUES (1, 0), (2, 0)")
        let arrivals = [DispatchSemaphore(value: 0), DispatchSemaphore(value: 0)]
        let sessions = [try await server.session(), try await server.session()]
        let outcomes = await withTaskGroup(of: ErrorClass?.self) { group in
            for me in 0...1 {
                let (first, second, session) = (me + 1, 2 - me, sessions[me])
                group.addTask {
                    do {
                        try await session.run { connection in
                            try connection.transaction {
                                try connection.execute(
                                    "UPDATE deadlock SET v = v + 1 WHERE n = ?", [.int(Int64(first))])
                                arrivals[1 - me].signal()
                                #expect(arrivals[me].wait(timeout: .now() + 20) == .success)
                                try connection.execute(
                                    "UPDATE deadlock SET v = v + 1 WHERE n = ?", [.int(Int64(second))])
                            }
                        }
                        return nil
                    } catch {
                        return (error as? ODBCError)?.errorClass ?? .permanent
                    }
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(Set(outcomes) == [nil, .transient])
        #expect(try connection.query("SELECT v FROM deadlock ORDER BY n").rows() == [[1], [1]])
        try connection.execute("DROP TABLE deadlock")
    }

    // MARK: time and cancellation

    @Test("a statement that takes longer than its timeout fails as transient, and the connection goes on")
    func queryTimeout() throws {
        connection.queryTimeout = .milliseconds(200)  // counts as a second
        let start = ContinuousClock.now
        let error = try #require(throws: ODBCError.self) { try connection.execute("SELECT pg_sleep(30)") }
        #expect(error.errorClass == .transient)
        #expect(ContinuousClock.now - start < .seconds(10))
        connection.queryTimeout = nil
        #expect(try connection.scalar("SELECT 1") == 1)
    }

    @Test("cancelling from another thread stops a statement, and the connection goes on")
    func cancel() async throws {
        let session = try await server.session()
        let handle = try await session.run { $0.cancelHandle }
        handle.cancel()
        #expect(try await session.run { try $0.scalar("SELECT 1") } == 1)
        let sql = "SELECT pg_sleep(30) AS cancelled"
        let task = Task { try await session.run { connection in _ = try connection.execute(sql) } }
        try await waitUntil("the statement runs") {
            try connection.query("SELECT pid FROM pg_stat_activity WHERE query = '\(sql)' AND state = 'active'").rows()
                .count == 1
        }
        let start = ContinuousClock.now
        handle.cancel()
        await #expect(throws: ODBCError.cancelled(sql: sql)) { try await task.value }
        #expect(ContinuousClock.now - start < .seconds(10))
        #expect(try await session.run { try $0.scalar("SELECT 2") } == 2)
        await session.close()
    }

    // MARK: losing the connection

    @Test("a connection the server ends fails as transient, and is dead from then on")
    func terminated() throws {
        let other = try server.connect()
        let pid = try #require(try other.scalar("SELECT pg_backend_pid()").int64)
        try connection.execute("SELECT pg_terminate_backend(?::int)", [.int(pid)])
        let error = try #require(throws: ODBCError.self) { try other.execute("SELECT 1") }
        #expect(error.errorClass == .transient)
        #expect(other.isDead)
        #expect(throws: ODBCError.self) { try other.execute("SELECT 1") }
        other.close()
    }

    @Test("a transaction on a connection that is cut throws the first error")
    func terminatedInTransaction() throws {
        let other = try server.connect()
        let pid = try #require(try other.scalar("SELECT pg_backend_pid()").int64)
        let error = try #require(throws: ODBCError.self) {
            try other.transaction {
                try other.execute("CREATE TEMP TABLE t(n int)")
                try connection.execute("SELECT pg_terminate_backend(?::int)", [.int(pid)])
                try other.execute("INSERT INTO t VALUES (1)")
            }
        }
        #expect(error.errorClass == .transient)
        #expect(error.sql == "INSERT INTO t VALUES (1)")
        #expect(other.isDead)
    }

    @Test("a network cut under a running statement is transient, and a new connection works")
    func cutWhileRunning() async throws {
        let proxy = try Proxy(port: server.port)
        let environment = try Environment()
        let session = try await Session(environment, server.target(port: proxy.port))
        let sql = "SELECT pg_sleep(30) AS cut"
        let task = Task {
            try await session.run { connection in
                let error = try #require(throws: ODBCError.self) { try connection.execute(sql) }
                return (error.errorClass, connection.isDead)
            }
        }
        try await waitUntil("the statement runs") {
            try connection.query("SELECT pid FROM pg_stat_activity WHERE query = '\(sql)' AND state = 'active'").rows()
                .count == 1
        }
        proxy.cut()
        let (errorClass, isDead) = try await task.value
        #expect(errorClass == .transient)
        #expect(isDead)
        await session.close()
        let again = try environment.connect(server.target(port: proxy.port))
        #expect(try again.scalar("SELECT 1") == 1)
    }

    @Test("a network cut between a transaction's statements loses the transaction, not the error")
    func cutInTransaction() throws {
        let proxy = try Proxy(port: server.port)
        let other = try Environment().connect(server.target(port: proxy.port))
        try connection.execute("DROP TABLE IF EXISTS cut; CREATE TABLE cut(n int)")
        let error = try #require(throws: ODBCError.self) {
            try other.transaction {
                try other.execute("INSERT INTO cut VALUES (1)")
                proxy.cut()
                try other.execute("INSERT INTO cut VALUES (2)")
            }
        }
        #expect(error.errorClass == .transient)
        #expect(other.isDead)
        #expect(try connection.query("SELECT n FROM cut").rows() == [])
        try connection.execute("DROP TABLE cut")
    }

    @Test("a network cut before the commit makes the commit fail as transient")
    func cutBeforeCommit() throws {
        let proxy = try Proxy(port: server.port)
        let other = try Environment().connect(server.target(port: proxy.port))
        let error = try #require(throws: ODBCError.self) {
            try other.transaction {
                try other.execute("CREATE TABLE never(n int)")
                proxy.cut()
            }
        }
        #expect(error.errorClass == .transient)
        #expect(other.isDead)
    }

    @Test("a wrong password is a matter of permission, and stays out of the error")
    func wrongPassword() throws {
        let error = try #require(throws: ODBCError.self) {
            try Environment().connect(server.target(password: "geheimnis"))
        }
        #expect([.permission, .transient].contains(error.errorClass))
        #expect(error.description.contains("password authentication failed"))
        #expect(error.description.contains("UID=tester;") && error.description.contains("PWD=***"))
        #expect(!String(reflecting: error).contains("geheimnis"))
    }

    @Test("a server that is not there is transient")
    func unreachable() throws {
        let port = try Listener().port  // closed again by now
        let error = try #require(throws: ODBCError.self) { try Environment().connect(server.target(port: port)) }
        #expect(error.errorClass == .transient)
        #expect(!error.description.contains(PostgreSQL.password))
    }
}

/// Waits for a condition, at most 20 seconds, and lets other tasks run meanwhile.
func waitUntil(_ what: Comment, _ condition: () throws -> Bool) async throws {
    let end = ContinuousClock.now + .seconds(20)
    while try !condition() {
        try #require(ContinuousClock.now < end, what)
        await Task.yield()
    }
}
