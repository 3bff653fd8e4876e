import DuckDB
import Testing

@Suite("Database")
struct DatabaseTests {
    @Test("the library says which version it is")
    func version() {
        #expect(Database.version.wholeMatch(of: /v[0-9]+\.[0-9]+\.[0-9]+.*/) != nil)
    }

    @Test("what was written is there after closing and opening the file again")
    func reopen() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path("a.duckdb")
        do {
            let connection = try Database(path: path).connect()
            try connection.execute("CREATE TABLE t AS SELECT 42 AS n")
        }
        let connection = try Database(path: path).connect()
        #expect(try connection.scalar("SELECT n FROM t") == 42)
    }

    @Test("options reach DuckDB")
    func options() throws {
        let connection = try Database(options: ["threads": "1"]).connect()
        #expect(try connection.scalar("SELECT current_setting('threads')") == 1)
    }

    @Test("an unknown option is refused by name")
    func unknownOption() throws {
        let error = try #require(throws: DuckDBError.self) { try Database(options: ["no_such_option": "1"]) }
        #expect(error.description.contains("no_such_option"))
    }

    @Test("a path that cannot be opened is an IO error naming the path")
    func badPath() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path("missing/a.duckdb")
        let error = try #require(throws: DuckDBError.self) { try Database(path: path) }
        #expect(error.kind == .io)
        #expect(error.description.contains(path))
    }

    @Test("two connections of one database see each other's commits")
    func twoConnections() throws {
        let database = try Database()
        let writer = try database.connect()
        let reader = try database.connect()
        try writer.execute("CREATE TABLE t(n INTEGER); INSERT INTO t VALUES (1)")
        #expect(try reader.scalar("SELECT count(*) FROM t") == 1)
    }
}
