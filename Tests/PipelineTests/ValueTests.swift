import ContractTests
import DuckDBEngine
import Embedded
import Foundation
import GRDB
import Testing
import Tidemark

/// Invariant 5: no value changes on the way from the source through staging and replica to the projection.
@Suite("Values")
struct ValueTests {
    private static let schema = """
        CREATE TABLE things (
            id INTEGER PRIMARY KEY, flag BOOLEAN, tiny TINYINT, small SMALLINT, medium MEDIUMINT, big BIGINT,
            real DOUBLE, money DECIMAL_TEXT(18,2), huge DECIMAL_TEXT(38,0), fine DECIMAL_TEXT(38,38), text NVARCHAR(100),
            data BLOB, day DATE, hour TIME, at DATETIME, instant DATETIMEOFFSET, tag UUID);
        """

    private static let rows = [
        """
        1, 0, 0, -32768, -2147483648, -9223372036854775808, -1.7976931348623157e308, '-9999999999999999.99', \
        '-99999999999999999999999999999999999999', '-0.99999999999999999999999999999999999999', '', X'', '0001-01-01', \
        '00:00:00', '0001-01-01 00:00:00', '0001-01-01 00:00:00+00:00', '00000000-0000-0000-0000-000000000000'
        """,
        """
        2, 1, 255, 32767, 2147483647, 9223372036854775807, 1.7976931348623157e308, '9999999999999999.99', \
        '99999999999999999999999999999999999999', '0.00000000000000000000000000000000000001', \
        'é e\u{301} 日本語 👩‍👩‍👧 '' \\', X'00FF00', '9999-12-31', '23:59:59.999999', '9999-12-31 23:59:59.999999', \
        '9999-12-31 23:59:59.999999+00:00', 'ffffffff-ffff-ffff-ffff-ffffffffffff'
        """,
        "3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
        """
        4, 1, 1, 1, 1, 1, 0.1, '0.10', '0', '0.00000000000000000000000000000000000000', 'a' || char(0) || 'b', X'61', \
        '1969-12-31', '00:00:00.000001', '1969-12-31 23:59:59.999999', '2000-02-29 12:00:00+00:00', \
        '01234567-89ab-cdef-0123-456789abcdef'
        """,
    ]

    /// Every column's type and bytes, as SQLite has them.
    private static func dump(_ table: String, _ columns: [String]) -> String {
        let values = columns.map { "typeof(\"\($0)\"), hex(\"\($0)\")" }.joined(separator: ", ")
        return "SELECT \(values) FROM \"\(table)\" ORDER BY id"
    }

    @Test("every type's extremes, NULL, empty and Unicode texts reach staging and the projection unchanged")
    func roundTrip() async throws {
        let bench = try await Bench(schema: Self.schema)
        let columns = try #require(bench.captures.first).columns.map(\.name)
        let all = ProjectionDefinition(
            name: "all_things", captures: [.init(name: "things")], key: ["id"],
            query: "SELECT \(columns.map { "\"\($0)\"" }.joined(separator: ", ")) FROM things")
        try await bench.openProjections([all])
        // The first half by a build, the second by an incremental step; then through the base of the replica.
        for half in [Self.rows.prefix(2), Self.rows.suffix(2)] {
            try bench.write(half.map { "INSERT INTO things VALUES (\($0))" }.joined(separator: ";"))
            try await bench.ingestAll()
            try await bench.project("all_things")
        }
        let source = try bench.application.inDatabase { try Bench.rows($0, Self.dump("things", columns)) }
        #expect(source.count == 4)
        #expect(try bench.rows(Self.dump("stg_cdc_things", columns)) == source)
        #expect(try bench.rows(Self.dump("proj_all_things", columns)) == source)

        try await bench.serving.execute(script: "DELETE FROM proj_all_things")
        try await bench.serving.requestRebuild(projection: "all_things")
        try await bench.openProjections([all], foldLimits: .init(threshold: 0))
        try await bench.project("all_things")
        #expect(try bench.rows(Self.dump("proj_all_things", columns)) == source)
    }

    @Test(
        "a key may hold any text, a NUL character included",
        arguments: ["a\u{0}b", "'", "\\", "\"", "\u{FEFF}", "--\n;"])
    func keyText(text: String) async throws {
        let bench = try await Bench()
        let name = "orders_kpi_by_minute_segment"
        try await bench.openProjections([Bench.shipped(name)])
        try await bench.ingestAll()
        try await bench.project(name)
        let hex = text.utf8.map { Text.hex($0) }.joined()
        for id in 1...2 {
            try bench.write(
                "INSERT INTO customers VALUES (\(id), CAST(X'\(hex)' AS TEXT), 1, '2026-01-01 00:00:00')",
                "INSERT INTO orders VALUES (\(id), \(id), '1.00', 'NEW', '2026-01-01 10:00:00', '2026-01-01 10:00:00')")
            try await bench.ingestAll()
            #expect(try await bench.project(name)?.buildReason == nil)
            #expect(try bench.rows("SELECT hex(segment), orders_count FROM proj_\(name)") == [[hex, "\(id)"]])
        }
    }

    @Test(
        "a key of any type is kept up by affected.sql",
        arguments: [
            ("flag", ["0", "1"]), ("tiny", ["0", "255"]), ("small", ["-32768", "32767"]),
            ("medium", ["-2147483648", "2147483647"]),
            ("big", ["-9223372036854775808", "9223372036854775807", "9223372036854775806"]),
            ("real", ["-1.5e300", "0.1", "1e-300"]), ("money", ["'-9999999999999999.99'", "'0.01'"]),
            (
                "huge",
                ["'99999999999999999999999999999999999999'", "'99999999999999999999999999999999999998'", "'0'"]
            ),
            ("text", ["''", "'b'", "'B'"]), ("data", ["X''", "X'00'", "X'FF00'"]),
            ("day", ["'0001-01-01'", "'9999-12-31'"]),
            ("hour", ["'00:00:00'", "'23:59:59.999999'"]),
            ("at", ["'0001-01-01 00:00:00'", "'9999-12-31 23:59:59.999999'"]),
            ("instant", ["'0001-01-01 00:00:00+00:00'", "'9999-12-31 23:59:59.999999+00:00'"]),
            ("tag", ["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"]),
        ])
    func keyTypes(column: String, values: [String]) async throws {
        let bench = try await Bench(schema: Self.schema)
        let counts = ProjectionDefinition(
            name: "counts", captures: [.init(name: "things", columns: [column])], key: [column],
            query: """
                SELECT "\(column)", count(*)::BIGINT AS n FROM things
                WHERE "\(column)" IS NOT NULL AND affected_\(column)("\(column)") GROUP BY 1
                """,
            affected: "SELECT \"\(column)\" FROM changed_things WHERE \"\(column)\" IS NOT NULL")
        try await bench.openProjections([counts])
        try await bench.ingestAll()
        try await bench.project("counts")
        func step() async throws {
            try await bench.ingestAll()
            #expect(try await bench.project("counts")?.buildReason == nil)
            let dump = "SELECT hex(\(column)), n FROM"
            let expected = try bench.application.inDatabase { db in
                try Bench.rows(
                    db,
                    "\(dump) (SELECT \(column), count(*) AS n FROM things WHERE \(column) IS NOT NULL GROUP BY 1) ORDER BY 1"
                )
            }
            #expect(try bench.rows("\(dump) proj_counts ORDER BY 1") == expected)
        }
        for (id, value) in (values + values + ["NULL"]).enumerated() {
            try bench.write("INSERT INTO things (id, \(column)) VALUES (\(id), \(value))")
        }
        try await step()
        try bench.write(
            "UPDATE things SET \(column) = NULL WHERE id = 0", "UPDATE things SET \(column) = \(values[0]) WHERE id = 1"
        )
        try await step()
        try bench.write("DELETE FROM things WHERE id >= 1")
        try await step()
    }
}
