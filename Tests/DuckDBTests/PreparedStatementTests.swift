import DuckDB
import Testing

@Suite("PreparedStatement")
struct PreparedStatementTests {
    let connection: Connection

    init() throws {
        connection = try Database().connect()
    }

    @Test(
        "every kind of value binds and comes back as it was",
        arguments: [
            ("BOOLEAN", Value.bool(true)), ("BIGINT", .int(.min)), ("UBIGINT", .uint64(.max)),
            ("HUGEINT", .hugeint(.min)), ("HUGEINT", .hugeint(.max)),
            ("UHUGEINT", .uhugeint(.max)), ("FLOAT", .float(.leastNonzeroMagnitude)),
            ("DOUBLE", .double(.greatestFiniteMagnitude)),
            ("DECIMAL(38,10)", .decimal(-99_999_999_999_999_999_999_999_999_999_999_999_999, scale: 10)),
            ("VARCHAR", "with\0NUL, Ünïcödé and 🦆"), ("VARCHAR", ""), ("BLOB", .blob([0, 1, 255])), ("BLOB", .blob([])),
            ("DATE", .date(-719_162)), ("TIME", .time(86_399_999_999)), ("TIMESTAMP", .timestamp(-1)),
            ("TIMESTAMPTZ", .timestampTZ(1_700_000_000_000_001)),
            ("UUID", .uuid("00112233-4455-6677-8899-aabbccddeeff")),
            ("UUID", .uuid("ffffffff-ffff-ffff-ffff-ffffffffffff")), ("INTEGER", .null),
        ])
    func roundTrip(type: String, value: Value) throws {
        #expect(try connection.scalar("SELECT $1::\(type)", [value]) == value)
    }

    @Test("a bound value keeps its own type")
    func boundTypes() throws {
        #expect(try connection.scalar("SELECT typeof($1)", [.decimal(1, scale: 2)]) == "DECIMAL(38,2)")
        #expect(try connection.scalar("SELECT typeof($1)", [.timestampTZ(0)]) == "TIMESTAMP WITH TIME ZONE")
        #expect(try connection.scalar("SELECT typeof($1)", [.uuid("00112233445566778899aabbccddeeff")]) == "UUID")
        #expect(try connection.scalar("SELECT $1::VARCHAR", [.decimal(-5, scale: 2)]) == "-0.05")
    }

    @Test("positional parameters are written ? or $1, and one used twice is one")
    func positional() throws {
        #expect(try connection.query("SELECT ?, ?", [1, "a"]).rows() == [[1, "a"]])
        let statement = try connection.prepare("SELECT $1::BIGINT + $1::BIGINT")
        #expect(statement.parameterCount == 1)
        #expect(try statement.query([21]).rows() == [[.int(42)]])
    }

    @Test("named parameters bind by name, in any order")
    func named() throws {
        let statement = try connection.prepare("SELECT $low::BIGINT, $high::BIGINT, $low::BIGINT")
        #expect(statement.parameterNames.sorted() == ["high", "low"])
        #expect(try statement.query(named: ["high": 2, "low": 1]).rows() == [[1, 2, 1]])
        #expect(try connection.query("SELECT $x::VARCHAR", named: ["x": "a"]).rows() == [["a"]])
    }

    @Test("a statement runs again with other parameters")
    func again() throws {
        try connection.execute("CREATE TABLE t(n BIGINT, s VARCHAR)")
        let insert = try connection.prepare("INSERT INTO t VALUES ($1, $2)")
        for number in 1...3 {
            #expect(try insert.execute([.int(Int64(number)), nil]) == 1)
        }
        try insert.bind(4, at: 1)
        try insert.bind("four", at: 2)
        try insert.execute()
        #expect(
            try connection.query("SELECT * FROM t ORDER BY n").rows() == [
                [1, nil], [2, nil], [3, nil], [4, "four"],
            ])
    }

    @Test("too few, too many or misnamed parameters are refused with the SQL")
    func wrongParameters() throws {
        let statement = try connection.prepare("SELECT $1::BIGINT, $2::BIGINT")
        for parameters: [Value] in [[], [1], [1, 2, 3]] {
            let error = try #require(throws: DuckDBError.self) { try statement.query(parameters) }
            #expect(error.description.contains("takes 2 parameters"))
            #expect(error.sql == statement.sql)
        }
        #expect(throws: DuckDBError.self) { try statement.bind(1, at: 0) }
        #expect(throws: DuckDBError.self) { try statement.bind(1, at: 3) }
        let named = try connection.prepare("SELECT $a::BIGINT, $b::BIGINT")
        let unknown = try #require(throws: DuckDBError.self) { try named.query(named: ["c": 1]) }
        #expect(unknown.description.contains("$c"))
        #expect(throws: DuckDBError.self) { try named.query(named: ["a": 1]) }
    }

    @Test(
        "a decimal of 39 digits and a malformed UUID are refused, not changed",
        arguments: [
            Value.decimal(.max, scale: 0), .decimal(1, scale: 39), .uuid("not a uuid"),
            .uuid("+0112233445566778899aabbccddeeff"), .uuid("00112233-4455-6677-8899-aabbccddeefg"),
        ])
    func invalid(value: Value) throws {
        #expect(throws: DuckDBError.self) { try connection.scalar("SELECT $1", [value]) }
    }

    @Test("two statements cannot be prepared as one")
    func twoStatements() throws {
        #expect(throws: DuckDBError.self) { try connection.prepare("SELECT 1; SELECT 2") }
    }
}
