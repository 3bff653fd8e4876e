import DuckDB
import Testing

@Suite("Connection")
struct ConnectionTests {
    let connection: Connection

    init() throws {
        connection = try Database().connect()
    }

    @Test("several statements run in one call, and the last one's changed rows are counted")
    func severalStatements() throws {
        let changed = try connection.execute("CREATE TABLE t(n INTEGER); INSERT INTO t VALUES (1), (2), (3)")
        #expect(changed == 3)
        #expect(try connection.execute("UPDATE t SET n = n + 1 WHERE n > 1") == 2)
        #expect(try connection.query("DELETE FROM t").rowsChanged == 3)
    }

    @Test("text without a statement does nothing", arguments: ["", "  ", "-- nothing", ";"])
    func noStatement(sql: String) throws {
        #expect(try connection.execute(sql) == 0)
    }

    @Test("PREPARE, EXECUTE and PRAGMA work as they do in DuckDB's shell")
    func sessionStatements() throws {
        try connection.execute("CREATE TABLE t(n INTEGER); PREPARE p AS INSERT INTO t VALUES ($1); EXECUTE p(5)")
        #expect(try connection.scalar("SELECT n FROM t") == 5)
        #expect(try connection.query("PRAGMA table_info('t')").rows().count == 1)
    }

    @Test("a result knows its columns' names and types")
    func columns() throws {
        let result = try connection.query("SELECT 1::BIGINT AS a, 'x' AS b, 1.5::DECIMAL(10,2) AS c")
        #expect(result.columns.map(\.name) == ["a", "b", "c"])
        #expect(result.columns.map(\.type) == [.int64, .varchar, .decimal(width: 10, scale: 2)])
    }

    @Test("a syntax error carries the SQL and DuckDB's message")
    func syntaxError() throws {
        for run in [{ _ = try connection.execute("SELEC 1") }, { _ = try connection.query("SELEC 1") }] {
            let error = try #require(throws: DuckDBError.self) { try run() }
            #expect(error.kind == .parser)
            #expect(error.sql == "SELEC 1")
            #expect(error.description.contains("syntax error"))
            #expect(error.description.contains("SELEC 1"))
        }
    }

    @Test("an unknown table is a catalog error, an unknown column a binder error")
    func nameErrors() throws {
        try connection.execute("CREATE TABLE t(n INTEGER)")
        #expect(try #require(throws: DuckDBError.self) { try connection.query("FROM nowhere") }.kind == .catalog)
        #expect(try #require(throws: DuckDBError.self) { try connection.query("SELECT m FROM t") }.kind == .binder)
    }

    @Test("a failed conversion while running is a conversion error")
    func conversionError() throws {
        let sql = "SELECT s::INTEGER FROM (VALUES ('x')) v(s)"
        let error = try #require(throws: DuckDBError.self) { try connection.query(sql) }
        #expect(error.kind == .conversion)
        #expect(error.sql == sql)
    }

    @Test("a broken constraint is a constraint error")
    func constraintError() throws {
        try connection.execute("CREATE TABLE t(n INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
        let error = try #require(throws: DuckDBError.self) { try connection.execute("INSERT INTO t VALUES (1)") }
        #expect(error.kind == .constraint)
    }

    @Test(
        "a column of an unsupported type is refused by name, with a remedy",
        arguments: [
            ("INTERVAL 1 DAY", "INTERVAL"), ("[1, 2]", "LIST"), ("{'a': 1}", "STRUCT"),
            ("'2020-01-01'::TIMESTAMP_S", "TIMESTAMP_S"), ("'2020-01-01'::TIMESTAMP_NS", "TIMESTAMP_NS"),
            ("'a'::ENUM('a', 'b')", "ENUM"),
        ])
    func unsupportedType(expression: String, name: String) throws {
        let error = try #require(throws: DuckDBError.self) { try connection.query("SELECT \(expression) AS odd") }
        #expect(error.description.contains("\"odd\" has the DuckDB type \(name),"))
        #expect(error.description.contains("cast it"))
    }

    @Test("a scalar of no row is an error, of NULL it is null")
    func scalar() throws {
        #expect(try connection.scalar("SELECT NULL::INTEGER") == .null)
        #expect(throws: DuckDBError.noRow(sql: "SELECT 1 WHERE false")) {
            try connection.scalar("SELECT 1 WHERE false")
        }
    }

    @Test("a transaction commits when its body returns")
    func commit() throws {
        let answer = try connection.transaction {
            try connection.execute("CREATE TABLE t(n INTEGER); INSERT INTO t VALUES (1)")
            return "done"
        }
        #expect(answer == "done")
        #expect(try connection.scalar("SELECT count(*) FROM t") == 1)
    }

    @Test("a transaction rolls back when its body throws, and its error comes through")
    func rollback() throws {
        struct Stop: Error {}
        try connection.execute("CREATE TABLE t(n INTEGER)")
        #expect(throws: Stop.self) {
            try connection.transaction {
                try connection.execute("INSERT INTO t VALUES (1)")
                throw Stop()
            }
        }
        #expect(try connection.scalar("SELECT count(*) FROM t") == 0)
    }

    @Test("a rollback that fails does not hide the first error")
    func failedRollback() throws {
        struct First: Error {}
        #expect(throws: First.self) {
            try connection.transaction {
                try connection.execute("ROLLBACK")
                throw First()
            }
        }
        try connection.transaction {}
    }

    @Test("a transaction whose commit fails reports why and leaves the connection usable")
    func failedCommit() throws {
        let database = try Database()
        let one = try database.connect()
        let other = try database.connect()
        try one.execute("CREATE TABLE t(n INTEGER PRIMARY KEY)")
        let error = try #require(throws: DuckDBError.self) {
            try one.transaction {
                try one.execute("INSERT INTO t VALUES (1)")
                try other.execute("INSERT INTO t VALUES (1)")
            }
        }
        #expect(error.kind == .constraint || error.kind == .transaction)
        try one.transaction { try one.execute("INSERT INTO t VALUES (2)") }
        #expect(try one.scalar("SELECT count(*) FROM t") == 2)
    }

    @Test("a transaction within a transaction is refused, and both are undone")
    func nestedTransaction() throws {
        try connection.execute("CREATE TABLE t(n INTEGER)")
        let error = try #require(throws: DuckDBError.self) {
            try connection.transaction {
                try connection.execute("INSERT INTO t VALUES (1)")
                try connection.transaction {}
            }
        }
        #expect(error.kind == .transaction)
        #expect(try connection.scalar("SELECT count(*) FROM t") == 0)
    }

    @Test("a closed connection says so")
    func closed() throws {
        let statement = try connection.prepare("SELECT 1")
        connection.close()
        connection.close()
        connection.interruptHandle.interrupt()
        #expect(throws: DuckDBError.closed("connection")) { try connection.execute("SELECT 1") }
        #expect(throws: DuckDBError.closed("connection")) { try statement.query() }
    }

    @Test("what is left of a closed connection refuses work and goes quietly")
    func leftovers() throws {
        try connection.execute("CREATE TABLE t(n BIGINT)")
        let appender = try connection.appender(table: "t")
        let chunk = appender.makeChunk()
        chunk.count = 1
        try appender.append(chunk)
        let result = try connection.query("SELECT i FROM range(5000) r(i)")
        let stream = try connection.query("SELECT i FROM range(1000000) r(i)", streaming: true)
        _ = try stream.nextChunk()
        connection.close()
        #expect(throws: DuckDBError.closed("connection")) { try appender.append(chunk) }
        #expect(throws: DuckDBError.closed("connection")) { try appender.close() }
        #expect(throws: DuckDBError.closed("connection")) { try result.nextChunk() }
        #expect(throws: DuckDBError.closed("connection")) { try stream.nextChunk() }
    }

    @Test("a long statement is shortened in the description and whole in the error")
    func longStatement() throws {
        let sql = "SELECT nothing -- " + String(repeating: "x", count: 5_000)
        let error = try #require(throws: DuckDBError.self) { try connection.query(sql) }
        #expect(error.sql == sql)
        #expect(error.description.count < 2_000)
    }
}
