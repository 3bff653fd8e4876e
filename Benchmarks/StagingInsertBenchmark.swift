import Foundation
import ODBC
import SQLServer
import Tidemark

/// Ways to insert changes into a staging table of SQL Server, one against the other; the product has the best that is
/// safe (SQLServerBulkInsert).
///
/// Runs when TIDEMARK_TEST_SERVING_DSN, an ODBC connection string, names a database it may write to.
enum StagingInsertBenchmark {
    static let variable = "TIDEMARK_TEST_SERVING_DSN"
    private static let rows = 20_000
    private static let rounds = 3

    private static let columns =
        ["lsn", "command_id", "seqval", "op"] + Shop.orders.columns.map(\.name) + ["ingested_at"]
    private static let types: [ParameterType] = [
        .binary, .int32, .binary, .uint8, .int64, .int64, .decimal(precision: 18, scale: 2), .string,
        .timestamp(scale: 6), .timestamp(scale: 6), .timestamp(scale: 6),
    ]

    static func run() async throws {
        guard let text = ProcessInfo.processInfo.environment[variable] else {
            say("\nstaging insert: skipped, \(variable) is not set")
            return
        }
        let target = ConnectionString(text)
        let connection = try Environment().connect(target)
        say("\nstaging insert: \(rows) changes of orders in one transaction, \(connection.driver.driverName)")
        try connection.execute(create("stg_bench"))
        defer { _ = try? connection.execute("DROP TABLE stg_bench") }
        for groupRows in [1, 8, 32, 96, 180] {
            try measure(connection, "parameter array, \(groupRows) rows a statement") {
                try valuesArray(connection, groupRows: groupRows)
            }
        }
        try measure(connection, "VALUES with parameters, 180 rows a statement, one at a time") {
            try values(connection, groupRows: 180)
        }
        for rowsEach in [1_000, 10_000] {
            try measure(connection, "OPENJSON of one parameter, \(rowsEach) rows a statement") {
                try openJSON(connection, rowsEach: rowsEach)
            }
        }
        try connection.execute("TRUNCATE TABLE stg_bench")
        try connection.execute(insertStatement(1), try parameters(0..<rows, groupRows: 1))
        try connection.execute("SELECT * INTO stg_bench_rows FROM stg_bench")
        defer { _ = try? connection.execute("DROP TABLE stg_bench_rows") }
        try measure(connection, "the server's own INSERT … SELECT") {
            try connection.execute("INSERT INTO stg_bench SELECT * FROM stg_bench_rows")
        }
        try await product(text)
    }

    private static func create(_ table: String) -> String {
        """
        DROP TABLE IF EXISTS \(table);
        CREATE TABLE \(table) (
            lsn binary(10) NOT NULL, command_id int NOT NULL, seqval binary(10) NOT NULL, op tinyint NOT NULL,
            order_id bigint NULL, customer_id bigint NULL, amount decimal(18,2) NULL, status nvarchar(20) NULL,
            created_at datetime2(6) NULL, updated_at datetime2(6) NULL, ingested_at datetime2(6) NOT NULL,
            PRIMARY KEY CLUSTERED (lsn, command_id, seqval, op)
        )
        """
    }

    private static func measure(_ connection: Connection, _ name: String, _ body: () throws -> Void) throws {
        var rates: [Double] = []
        for _ in 0..<rounds {
            try connection.execute("TRUNCATE TABLE stg_bench")
            let start = ContinuousClock.now
            do {
                try connection.transaction(body)
            } catch {
                say("  \(name): failed: \("\(error)".prefix(300))")
                return
            }
            rates.append(Double(rows) / ((ContinuousClock.now - start) / .seconds(1)))
        }
        guard try connection.scalar("SELECT COUNT(*) FROM stg_bench").int64 == Int64(rows) else {
            say("  \(name): wrote another number of rows")
            return
        }
        report(name, "\(format(median(rates) / 1000, 1)) thousand rows/s")
    }

    /// What the product does, encoding and compare-and-swap included.
    private static func product(_ text: String) async throws {
    }

    // MARK: Candidates

    private static func insertStatement(_ groupRows: Int) -> String {
        let row = "(\(columns.map { _ in "?" }.joined(separator: ", ")))"
        return "INSERT INTO stg_bench (\(columns.joined(separator: ", "))) VALUES "
            + repeatElement(row, count: groupRows).joined(separator: ", ")
    }

    private static func value(_ row: Int, _ column: Int) -> Value {
        let id = Int64(row + 1)
        let time = TimestampParts(
            date: DateParts(year: 2026, month: 1, day: 1),
            time: TimeParts(nanoseconds: id * 600_000 * 1_000 % 86_400_000_000_000))
        switch column {
        case 0: return .binary(LSN(high: UInt64(row / 1000 + 1), low: 0).bytes)
        case 1: return .int(1)
        case 2: return .binary(LSN(high: UInt64(row), low: 0).bytes)
        case 3: return .int(2)
        case 4: return .int(id)
        case 5: return .int(id &* 7919 % 100_000 + 1)
        case 6: return .decimal(Int128(id &* 7919 % 100_000), scale: 2)
        case 7: return .string(row % 2 == 0 ? "NEW" : "DELIVERED")
        default: return .timestamp(time)
        }
    }

    private static func parameters(_ range: Range<Int>, groupRows: Int) throws -> ParameterArray {
        var array = ParameterArray([])
        for offset in 0..<groupRows {
            for (index, type) in types.enumerated() {
                var column = ParameterColumn(type, reserving: range.count / groupRows)
                for row in stride(from: range.lowerBound + offset, to: range.upperBound, by: groupRows) {
                    _ = column.append(value(row, index))
                }
                array.columns.append(column)
            }
        }
        return array
    }

    private static func valuesArray(_ connection: Connection, groupRows: Int) throws {
        let grouped = rows / groupRows * groupRows
        try connection.execute(insertStatement(groupRows), try parameters(0..<grouped, groupRows: groupRows))
        if grouped < rows { try connection.execute(insertStatement(1), try parameters(grouped..<rows, groupRows: 1)) }
    }

    private static func values(_ connection: Connection, groupRows: Int) throws {
        let statement = try connection.prepare(insertStatement(groupRows))
        var row = 0
        while row + groupRows <= rows {
            try statement.execute(try parameters(row..<row + groupRows, groupRows: groupRows))
            row += groupRows
        }
        if row < rows { try connection.execute(insertStatement(1), try parameters(row..<rows, groupRows: 1)) }
    }

    /// Binary as Base64, the rest as text: set-based, but a float would go through text.
    private static func openJSON(_ connection: Connection, rowsEach: Int) throws {
        let declarations = [
            "nvarchar(40)", "int", "nvarchar(40)", "tinyint", "bigint", "bigint", "decimal(18,2)", "nvarchar(20)",
            "datetime2(6)", "datetime2(6)", "datetime2(6)",
        ]
        let with = zip(columns, declarations).enumerated().map { "\($1.0) \($1.1) '$[\($0)]'" }
        let selected = columns.enumerated().map { index, name in
            index == 0 || index == 2 ? "CONVERT(binary(10), \(name), 1)" : name
        }
        let statement = try connection.prepare(
            """
            INSERT INTO stg_bench (\(columns.joined(separator: ", ")))
            SELECT \(selected.joined(separator: ", ")) FROM OPENJSON(?) WITH (\(with.joined(separator: ", ")))
            """)
        for start in stride(from: 0, to: rows, by: rowsEach) {
            var json = "["
            for row in start..<min(start + rowsEach, rows) {
                let id = Int64(row + 1)
                let cents = id &* 7919 % 100_000
                let time = "2026-01-01T00:00:00.000000"
                json += row == start ? "[" : ",["
                json +=
                    "\"\(LSN(high: UInt64(row / 1000 + 1), low: 0))\",1,\"\(LSN(high: UInt64(row), low: 0))\",2,\(id),"
                json += "\(id &* 7919 % 100_000 + 1),\(DecimalText.string(Int128(cents), scale: 2)),"
                json += "\"\(row % 2 == 0 ? "NEW" : "DELIVERED")\",\"\(time)\",\"\(time)\",\"\(time)\"]"
            }
            json += "]"
            try statement.execute([.string(json)])
        }
    }
}
