import DuckDB
import Testing

@Suite("DataChunk and Appender")
struct DataChunkTests {
    let connection: Connection

    init() throws {
        connection = try Database().connect()
    }

    /// Writes `values` and a NULL through a chunk and an appender, and returns the table's result.
    private func write<Element: VectorElement>(
        _ type: DuckDBType, _ values: [Element], sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> QueryResult {
        try connection.execute("CREATE OR REPLACE TABLE t(v \(type))")
        let appender = try connection.appender(table: "t")
        try #require(appender.columnTypes == [type], sourceLocation: sourceLocation)
        let chunk = appender.makeChunk()
        try chunk.withMutableValues(of: Element.self, column: 0) { elements in
            for (row, value) in values.enumerated() { elements[row] = value }
        }
        chunk.setNull(row: values.count, column: 0)
        chunk.count = values.count + 1
        try appender.append(chunk)
        try appender.close()
        return try connection.query("SELECT v FROM t")
    }

    private func expectRoundTrip<Element: VectorElement & Equatable>(
        _ type: DuckDBType, _ values: [Element], texts: [String], sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let chunk = try #require(try write(type, values).nextChunk(), sourceLocation: sourceLocation)
        #expect(chunk.count == values.count + 1, sourceLocation: sourceLocation)
        try chunk.withValues(of: Element.self, column: 0) { elements in
            #expect(Array(elements.prefix(values.count)) == values, sourceLocation: sourceLocation)
        }
        for row in values.indices {
            #expect(chunk.isValid(row: row, column: 0), sourceLocation: sourceLocation)
            #expect(try chunk.value(row: row, column: 0).description == texts[row], sourceLocation: sourceLocation)
        }
        #expect(!chunk.isValid(row: values.count, column: 0), sourceLocation: sourceLocation)
        #expect(try chunk.value(row: values.count, column: 0) == .null, sourceLocation: sourceLocation)
        // DuckDB's own text of what is stored.
        #expect(
            try connection.query("SELECT v::VARCHAR FROM t").rows()
                == texts.map { [.string($0)] } + [[.null]], sourceLocation: sourceLocation)
    }

    private func expectRoundTrip<Element: VectorElement & FixedWidthInteger>(
        integers type: DuckDBType, _: Element.Type, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let values: [Element] = [.min, 0, 1, .max]
        try expectRoundTrip(type, values, texts: values.map { "\($0)" }, sourceLocation: sourceLocation)
    }

    @Test("integers of every width keep their extremes")
    func integers() throws {
        try expectRoundTrip(integers: .int8, Int8.self)
        try expectRoundTrip(integers: .int16, Int16.self)
        try expectRoundTrip(integers: .int32, Int32.self)
        try expectRoundTrip(integers: .int64, Int64.self)
        try expectRoundTrip(integers: .hugeint, Int128.self)
        try expectRoundTrip(integers: .uint8, UInt8.self)
        try expectRoundTrip(integers: .uint16, UInt16.self)
        try expectRoundTrip(integers: .uint32, UInt32.self)
        try expectRoundTrip(integers: .uint64, UInt64.self)
        try expectRoundTrip(integers: .uhugeint, UInt128.self)
    }

    @Test("booleans and floating point numbers keep their values, infinity included")
    func booleansAndFloats() throws {
        try expectRoundTrip(.bool, [true, false], texts: ["true", "false"])
        try expectRoundTrip(
            .float, [Float(1.5), -.infinity, .greatestFiniteMagnitude], texts: ["1.5", "-inf", "3.4028235e+38"])
        try expectRoundTrip(.double, [0.1, .infinity, -2.5], texts: ["0.1", "inf", "-2.5"])
        let zeroes = try #require(try write(.double, [-0.0, .nan, .leastNonzeroMagnitude]).nextChunk())
        try zeroes.withValues(of: Double.self, column: 0) {
            #expect($0[0].sign == .minus && $0[0] == 0)
            #expect($0[1].isNaN)
            #expect($0[2] == .leastNonzeroMagnitude)
        }
    }

    @Test(
        "decimals of all four widths keep every digit",
        arguments: [
            (1, 0), (4, 2), (5, 2), (9, 9), (10, 0), (18, 2), (19, 2), (38, 0), (38, 2), (38, 38),
        ])
    func decimals(width: Int, scale: Int) throws {
        let largest = (0..<width).reduce(Int128(0)) { number, _ in number * 10 + 9 }
        let values: [Int128] = [largest, -largest, 0, 1, -1]
        let type = DuckDBType.decimal(width: width, scale: scale)
        try connection.execute("CREATE TABLE t(v \(type))")
        let appender = try connection.appender(table: "t")
        let chunk = appender.makeChunk()
        for (row, value) in values.enumerated() { try chunk.setDecimal(value, row: row, column: 0) }
        chunk.setNull(row: values.count, column: 0)
        chunk.count = values.count + 1
        #expect(throws: DuckDBError.self) { try chunk.setDecimal(largest + 1, row: 0, column: 0) }
        #expect(throws: DuckDBError.self) { try chunk.setDecimal(-largest - 1, row: 0, column: 0) }
        try appender.append(chunk)
        try appender.close()

        let read = try #require(try connection.query("SELECT v FROM t").nextChunk())
        #expect(read.types == [type])
        try read.withDecimals(column: 0) { #expect(Array($0.prefix(values.count)) == values) }
        for (row, value) in values.enumerated() {
            #expect(try read.decimal(row: row, column: 0) == value)
            #expect(try read.value(row: row, column: 0) == .decimal(value, scale: scale))
        }
        #expect(!read.isValid(row: values.count, column: 0))
        let texts = try connection.query("SELECT v::VARCHAR FROM t").rows().map(\.[0])
        // DuckDB leaves out the zero before the point when the type has no digit there.
        let expected = values.map { value in
            let text = Value.decimal(value, scale: scale).description
            return width == scale ? text.replacing("0.", with: ".", maxReplacements: 1) : text
        }
        #expect(texts == expected.map { .string($0) } + [.null])
    }

    @Test("dates, times and timestamps keep their extremes and print as DuckDB prints them")
    func datesAndTimes() throws {
        // 0001-01-01, 9999-12-31, the day before the epoch, a leap day, a year of five digits, a year before Christ.
        try expectRoundTrip(
            .date, [Int32(-719_162), 2_932_896, -1, 19_782, 2_932_897, -719_163, .max, -.max],
            texts: [
                "0001-01-01", "9999-12-31", "1969-12-31", "2024-02-29", "10000-01-01", "0001-12-31 (BC)", "infinity",
                "-infinity",
            ])
        try expectRoundTrip(
            .time, [Int64(0), 86_399_999_999, 3_600_000_000, 1],
            texts: ["00:00:00", "23:59:59.999999", "01:00:00", "00:00:00.000001"])
        let timestamps: [Int64] = [
            -62_135_596_800_000_000, 253_402_300_799_999_999, -1, 0, 1_700_000_000_500_000, .max, -.max,
        ]
        let texts = [
            "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999", "1970-01-01 00:00:00",
            "2023-11-14 22:13:20.5", "infinity", "-infinity",
        ]
        try expectRoundTrip(.timestamp, timestamps, texts: texts)
        try connection.execute("SET TimeZone = 'UTC'")
        try expectRoundTrip(
            .timestampTZ, timestamps, texts: texts.map { $0.hasSuffix("infinity") ? $0 : $0 + "+00" })
    }

    @Test("UUIDs keep their bits, though DuckDB stores the top one flipped")
    func uuids() throws {
        let numbers: [UInt128] = [.min, .max, 1 << 127, 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff]
        let texts = [
            "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "80000000-0000-0000-0000-000000000000", "00112233-4455-6677-8899-aabbccddeeff",
        ]
        try connection.execute("CREATE TABLE t(v UUID)")
        let appender = try connection.appender(table: "t")
        let chunk = appender.makeChunk()
        for (row, number) in numbers.enumerated() { try chunk.setUUID(number, row: row, column: 0) }
        chunk.count = numbers.count
        try appender.append(chunk)
        try appender.close()
        #expect(try connection.query("SELECT v::VARCHAR FROM t").rows().map(\.[0]) == texts.map { .string($0) })
        let read = try #require(try connection.query("SELECT v FROM t").nextChunk())
        for row in numbers.indices {
            #expect(try read.uuid(row: row, column: 0) == numbers[row])
            #expect(try read.value(row: row, column: 0) == .uuid(texts[row]))
        }
    }

    @Test("strings keep every byte: empty, 12 and 13 bytes, NUL, Unicode, long")
    func strings() throws {
        let strings = [
            "", "a", "exactly12byt", "thirteen byte", "with\0NUL", "\0", "a longer one\0with NUL", "é", "e\u{301}",
            "🦆🦆🦆", "🦆🦆🦆a", "日本語のテキスト", String(repeating: "x", count: 100_000),
        ]
        try connection.execute("CREATE TABLE t(v VARCHAR)")
        let appender = try connection.appender(table: "t")
        let chunk = appender.makeChunk()
        for (row, string) in strings.enumerated() { try chunk.setString(string, row: row, column: 0) }
        chunk.setNull(row: strings.count, column: 0)
        chunk.count = strings.count + 1
        try appender.append(chunk)
        try appender.close()
        let read = try #require(try connection.query("SELECT v FROM t").nextChunk())
        var seen: [[UInt8]?] = []
        try read.forEachBytes(column: 0) { _, bytes in seen.append(bytes.map { [UInt8]($0) }) }
        #expect(seen == strings.map { Array($0.utf8) } + [nil])
        for (row, string) in strings.enumerated() {
            try read.withBytes(row: row, column: 0) { #expect([UInt8]($0) == Array(string.utf8)) }
            #expect(try read.string(row: row, column: 0) == string)
        }
        #expect(
            try connection.scalar("SELECT sum(strlen(v)) FROM t")
                == .hugeint(Int128(strings.map(\.utf8.count).reduce(0, +))))
    }

    @Test("blobs keep every byte, of any length")
    func blobs() throws {
        let blobs: [[UInt8]] = [[], [0], Array(0..<12), Array(0..<13), Array(0...255), [0xff, 0xfe, 0x80]]
        try connection.execute("CREATE TABLE t(v BLOB)")
        let appender = try connection.appender(table: "t")
        let chunk = appender.makeChunk()
        for (row, blob) in blobs.enumerated() {
            try blob.withUnsafeBytes { try chunk.setBytes($0, row: row, column: 0) }
        }
        chunk.count = blobs.count
        try appender.append(chunk)
        try appender.close()
        let result = try connection.query("SELECT v, v::VARCHAR FROM t").rows()
        #expect(result.map(\.[0]) == blobs.map { .blob($0) })
        for row in result { #expect(Value.string(row[0].description) == row[1]) }
    }

    @Test("bytes that are not UTF-8 are refused in a VARCHAR, never turned into NULL")
    func invalidUTF8() throws {
        let chunk = DataChunk([.varchar])
        let error = try #require(throws: DuckDBError.self) {
            try [UInt8]([0x61, 0xff]).withUnsafeBytes { try chunk.setBytes($0, row: 3, column: 0) }
        }
        #expect(error.kind == .invalidInput)
        #expect(error.description.contains("row 3"))
    }

    @Test("every type holds NULL and a value beside it")
    func nulls() throws {
        let types: [DuckDBType] = [
            .bool, .int8, .int16, .int32, .int64, .uint8, .uint16, .uint32, .uint64, .hugeint, .uhugeint, .float,
            .double,
            .decimal(width: 4, scale: 1), .decimal(width: 9, scale: 1), .decimal(width: 18, scale: 1),
            .decimal(width: 38, scale: 1), .varchar, .blob, .date, .time, .timestamp, .timestampTZ, .uuid,
        ]
        let columns = types.indices.map { "c\($0) \(types[$0])" }.joined(separator: ", ")
        try connection.execute("CREATE TABLE t(\(columns))")
        let appender = try connection.appender(table: "t")
        #expect(appender.columnTypes == types)
        let chunk = appender.makeChunk()
        chunk.count = 2
        for column in types.indices {
            chunk.setNull(row: 0, column: column)
            chunk.setNull(row: 1, column: column)
        }
        try appender.append(chunk)
        try appender.close()
        let rows = try connection.query("FROM t").rows()
        #expect(rows == [[Value](repeating: .null, count: types.count), [Value](repeating: .null, count: types.count)])
    }

    @Test("a validity bitmap is set and read in words of 64 rows")
    func validityBitmap() throws {
        let words: [UInt64] = [0xffff_ffff_ffff_fffe, 0, .max, 0b101]
        let count = 3 * 64 + 3
        try connection.execute("CREATE TABLE t(v BIGINT)")
        let appender = try connection.appender(table: "t")
        let chunk = appender.makeChunk()
        chunk.count = count
        try chunk.withMutableValues(of: Int64.self, column: 0) { values in
            for row in 0..<count { values[row] = Int64(row) }
        }
        chunk.withValidity(column: 0) { #expect($0 == nil) }
        chunk.setValidity(words, column: 0)
        try appender.append(chunk)
        try appender.close()
        let read = try #require(try connection.query("SELECT v FROM t").nextChunk())
        let expected = (0..<count).filter { words[$0 / 64] >> UInt64($0 % 64) & 1 == 1 }
        #expect((0..<count).filter { read.isValid(row: $0, column: 0) } == expected)
        read.withValidity(column: 0) { #expect($0?.count == 4) }
        #expect(try connection.scalar("SELECT count(v) FROM t") == .int(Int64(expected.count)))
    }

    @Test("5000 rows take three chunks, whether materialised or streamed", arguments: [false, true])
    func manyRows(streaming: Bool) throws {
        let total = 5_000
        try connection.execute("CREATE TABLE t(id BIGINT, name VARCHAR, amount DECIMAL(38,2))")
        let appender = try connection.appender(table: "t")
        let chunk = appender.makeChunk()
        for start in stride(from: 0, to: total, by: DataChunk.capacity) {
            chunk.reset()
            let count = min(DataChunk.capacity, total - start)
            chunk.count = count
            try chunk.withMutableValues(of: Int64.self, column: 0) { ids in
                for row in 0..<count { ids[row] = Int64(start + row) }
            }
            try chunk.withMutableValues(of: Int128.self, column: 2) { amounts in
                for row in 0..<count { amounts[row] = Int128(start + row) * 1_000_000_000_000_000_000_000 }
            }
            for row in 0..<count {
                let id = start + row
                if id.isMultiple(of: 7) {
                    chunk.setNull(row: row, column: 1)
                } else {
                    try chunk.setString("the name of row \(id)", row: row, column: 1)
                }
            }
            try appender.append(chunk)
        }
        try appender.close()

        let result = try connection.query("SELECT * FROM t", streaming: streaming)
        var next = 0
        while let chunk = try result.nextChunk() {
            try chunk.withValues(of: Int64.self, column: 0) { ids in
                #expect(Array(ids) == (next..<next + chunk.count).map { Int64($0) })
            }
            try chunk.withValues(of: Int128.self, column: 2) { amounts in
                #expect(amounts.last == Int128(next + chunk.count - 1) * 1_000_000_000_000_000_000_000)
            }
            try chunk.forEachBytes(column: 1) { row, bytes in
                let id = next + row
                let expected = id.isMultiple(of: 7) ? nil : "the name of row \(id)"
                #expect(bytes.map { String(decoding: $0, as: UTF8.self) } == expected)
            }
            next += chunk.count
        }
        #expect(next == total)
        #expect(try result.nextChunk() == nil)
    }

    @Test("a chunk outlives its result, connection and database")
    func chunkLifetime() throws {
        func chunk() throws -> DataChunk? {
            let connection = try Database().connect()
            return try connection.query("SELECT 'a string beyond twelve bytes ' || i FROM range(3) t(i)").nextChunk()
        }
        let orphan = try #require(try chunk())
        #expect(try orphan.string(row: 2, column: 0) == "a string beyond twelve bytes 2")
    }

    @Test("a streamed result cut off by another statement ends or says so, and does not crash")
    func streamCutOff() throws {
        let result = try connection.query("SELECT i FROM range(1000000) t(i)", streaming: true)
        _ = try result.nextChunk()
        var rows = 0
        do {
            // DuckDB 1 cuts the result off here; DuckDB 2 refuses the statement while the result is open.
            try connection.execute("SELECT 1")
            while let chunk = try result.nextChunk() { rows += chunk.count }
        } catch is DuckDBError {}
        #expect(rows < 1_000_000)
    }

    @Test("an error in the middle of a streamed result is thrown, not taken for its end")
    func streamError() throws {
        let sql = "SELECT CASE WHEN i < 500000 THEN i ELSE error('boom') END FROM range(1000000) t(i)"
        let error = try #require(throws: DuckDBError.self) {
            let result = try connection.query(sql, streaming: true)
            while try result.nextChunk() != nil {}
        }
        #expect(error.description.contains("boom"))
        #expect(error.sql == sql)
    }

    @Test("asking for values of another element type is refused")
    func typeMismatch() throws {
        let chunk = DataChunk([.int32, .varchar])
        let expected = DuckDBError.typeMismatch(column: 0, type: .int32, requested: "Int64")
        #expect(throws: expected) { try chunk.withValues(of: Int64.self, column: 0) { _ in } }
        #expect(throws: expected) { try chunk.withMutableValues(of: Int64.self, column: 0) { _ in } }
        #expect(throws: DuckDBError.self) { try chunk.withValues(of: Int64.self, column: 1) { _ in } }
        #expect(throws: DuckDBError.self) { try chunk.setString("a", row: 0, column: 0) }
        #expect(throws: DuckDBError.self) { try chunk.setDecimal(1, row: 0, column: 0) }
    }

    @Test("an appender for some columns leaves the others at their default")
    func columnList() throws {
        try connection.execute("CREATE SCHEMA s; CREATE TABLE s.t(a BIGINT DEFAULT 7, b BIGINT, c BIGINT)")
        let appender = try connection.appender(schema: "s", table: "t", columns: ["c", "b"])
        let chunk = appender.makeChunk()
        try chunk.withMutableValues(of: Int64.self, column: 0) { $0[0] = 3 }
        try chunk.withMutableValues(of: Int64.self, column: 1) { $0[0] = 2 }
        chunk.count = 1
        try appender.append(chunk)
        try appender.flush()
        #expect(try connection.query("FROM s.t").rows() == [[7, 2, 3]])
        try appender.close()
        try appender.close()
        #expect(throws: DuckDBError.self) { try appender.append(chunk) }
    }

    @Test("an appender to a missing table or column says so")
    func missingTable() throws {
        let error = try #require(throws: DuckDBError.self) { try connection.appender(table: "nowhere") }
        #expect(error.description.contains("nowhere"))
        #expect(error.kind == .catalog || error.kind == .binder)
        try connection.execute("CREATE TABLE t(a BIGINT)")
        #expect(throws: DuckDBError.self) { try connection.appender(table: "t", columns: ["b"]) }
    }

    @Test("rows that break a constraint are refused with DuckDB's message, and none of them stays")
    func appenderConstraint() throws {
        try connection.execute("CREATE TABLE t(id BIGINT PRIMARY KEY)")
        let appender = try connection.appender(table: "t")
        let chunk = appender.makeChunk()
        try chunk.withMutableValues(of: Int64.self, column: 0) { for row in 0..<3 { $0[row] = [1, 2, 1][row] } }
        chunk.count = 3
        try appender.append(chunk)
        let error = try #require(throws: DuckDBError.self) { try appender.flush() }
        #expect(error.kind == .constraint)
        #expect(error.description.contains("t: "))
        #expect(error.description.lowercased().contains("duplicate key") || error.description.contains("PRIMARY KEY"))
        #expect(throws: DuckDBError.closed("appender to t")) { try appender.flush() }
        #expect(try connection.scalar("SELECT count(*) FROM t") == 0)
    }

    @Test("rows appended in a transaction go with it")
    func appenderRollback() throws {
        struct Stop: Error {}
        try connection.execute("CREATE TABLE t(id BIGINT)")
        #expect(throws: Stop.self) {
            try connection.transaction {
                let appender = try connection.appender(table: "t")
                let chunk = appender.makeChunk()
                try chunk.withMutableValues(of: Int64.self, column: 0) { $0[0] = 1 }
                chunk.count = 1
                try appender.append(chunk)
                try appender.close()
                throw Stop()
            }
        }
        #expect(try connection.scalar("SELECT count(*) FROM t") == 0)
    }

    @Test("an appender that is dropped without closing writes nothing")
    func droppedAppender() throws {
        try connection.execute("CREATE TABLE t(id BIGINT)")
        do {
            let appender = try connection.appender(table: "t")
            let chunk = appender.makeChunk()
            chunk.count = 10
            try appender.append(chunk)
        }
        #expect(try connection.scalar("SELECT count(*) FROM t") == 0)
    }

    @Test("a chunk of a result can be appended to another table")
    func copyChunk() throws {
        try connection.execute(
            "CREATE TABLE a AS SELECT i, 'text of row ' || i AS s FROM range(3000) t(i); CREATE TABLE b AS FROM a LIMIT 0"
        )
        let result = try connection.query("FROM a")
        let appender = try connection.appender(table: "b")
        while let chunk = try result.nextChunk() { try appender.append(chunk) }
        try appender.close()
        #expect(try connection.scalar("SELECT count(*) FROM (FROM a EXCEPT FROM b)") == 0)
        #expect(try connection.scalar("SELECT count(*) FROM b") == 3_000)
    }
}
