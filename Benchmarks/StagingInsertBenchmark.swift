import Foundation
import ODBC
import SQLServer
import Tidemark

/// Ways to insert changes into a staging table of SQL Server, one against the other; the product has the best that is
/// safe (SQLServerBulkInsert).
///
/// Runs when TIDEMARK_TEST_SERVING_DSN names a server, in a database of its own.
enum StagingInsertBenchmark {
    static let variable = "TIDEMARK_TEST_SERVING_DSN"
    private static let rows = 20_000
    private static let rounds = 3
    private static let longRound: Duration = .seconds(4)

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
        guard let dsn = try SQLServerDSN(text) else { throw TidemarkError.configuration("\(variable) is no DSN") }
        let drivers = try SQLServerDrivers.ofThisMachine()
        let master = try Environment().connect(dsn.with(database: "master").connectionString(drivers: drivers))
        let name = "tidemark_bench_\(UInt32.random(in: 0 ... .max))"
        try master.execute("CREATE DATABASE \(name)")
        defer { drop(name, master) }
        try await run(dsn.with(database: name).connectionString(drivers: drivers))
    }

    /// Connections that were let go of end on threads of their own, so it may take some attempts.
    private static func drop(_ name: String, _ master: Connection) {
        for attempt in 1...50 {
            do {
                try master.execute("DROP DATABASE \(name)")
                return
            } catch {
                guard attempt < 50 else { return say("  \(name) is left: \(error)") }
                Thread.sleep(forTimeInterval: 0.2)
            }
        }
    }

    private static func run(_ target: ConnectionString) async throws {
        let connection = try Environment().connect(target)
        say("\nstaging insert: \(rows) changes of orders in one transaction, \(connection.driver.driverName)")
        try connection.execute(create("stg_bench"))
        for groupRows in [1, 8, 32, 96, 180] {
            try measure(connection, "parameter array, \(groupRows) rows a statement") {
                try valuesArray(connection, groupRows: groupRows)
            }
        }
        try measure(connection, "VALUES with parameters, 180 rows a statement, one at a time") {
            try values(connection, groupRows: 180)
        }
        for rowsEach in [100, 250, 500, 1_000, 2_000, 5_000, 20_000] {
            try measure(connection, "OPENJSON of one parameter, \(rowsEach) rows a statement") {
                try openJSON(connection, rowsEach: rowsEach)
            }
        }
        try connection.execute("TRUNCATE TABLE stg_bench")
        try connection.execute(insertStatement(1), try parameters(0..<rows, groupRows: 1))
        try connection.execute("DROP TABLE IF EXISTS stg_bench_rows; SELECT * INTO stg_bench_rows FROM stg_bench")
        try measure(connection, "the server's own INSERT … SELECT") {
            try connection.execute("INSERT INTO stg_bench SELECT * FROM stg_bench_rows")
        }
        try await product(target)
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
            let time = ContinuousClock.now - start
            rates.append(Double(rows) / (time / .seconds(1)))
            // One round tells enough of what is that slow.
            if time > longRound { break }
        }
        guard try connection.scalar("SELECT COUNT(*) FROM stg_bench").int64 == Int64(rows) else {
            say("  \(name): wrote another number of rows")
            return
        }
        report(name, "\(format(median(rates) / 1000, 1)) thousand rows/s")
    }

    /// What the product does, from batches of values: the watermark's compare-and-swap, encoding, insert.
    private static func product(_ target: ConnectionString) async throws {
        let serving = SQLServerServing(
            try SQLServerDatabase(target, role: "serving"), scripts: try scripts())
        try await serving.bootstrap()
        let capture = Capture(
            instance: "dbo_bench", table: "bench", columns: Shop.orders.columns, key: Shop.orders.key)
        let database = try Environment().connect(target)
        func clean() throws {
            try database.execute("DROP TABLE IF EXISTS stg_cdc_bench")
            try database.execute("DELETE FROM ctl_ingestion_watermarks WHERE capture_instance = N'dbo_bench'")
        }
        for count in [rows, 50] {
            var times: [Double] = []
            for _ in 0..<rounds {
                try clean()
                try await serving.prepareStaging(for: capture, source: "bench")
                _ = try await serving.ingest(
                    capture, source: "bench", window: LSNWindow(after: .zero, through: .first), commitTime: .now(),
                    from: Blocks { nil })
                let batch = Shop.changes(
                    of: Shop.orders, ids: Int64(1)...Int64(count), operation: .insert,
                    lsn: { LSN(high: UInt64($0 / 1_000 + 1), low: 0) }, version: 0)
                let through = LSN(high: UInt64(count / 1_000 + 1), low: 0)
                times.append(
                    try await seconds {
                        _ = try await serving.ingest(
                            capture, source: "bench", window: LSNWindow(after: .first, through: through),
                            commitTime: .now(), from: Shop.once(batch))
                    })
            }
            report(
                "the product's ingest of \(count) changes",
                "\(format(Double(count) / median(times) / 1000, 1)) thousand rows/s, \(format(median(times) * 1000, 0)) ms"
            )
        }
    }

    private static func scripts() throws -> [(name: String, text: String)] {
        try FileManager.default.contentsOfDirectory(atPath: "sql/serving").sorted().filter {
            !$0.hasSuffix("_database.sql") && !$0.hasSuffix("_roles.sql")
        }.map { name in
            (name, try String(contentsOfFile: "sql/serving/\(name)", encoding: .utf8))
        }
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

    /// Binary values in a parameter of their own, the rest as JSON text.
    private static func openJSON(_ connection: Connection, rowsEach: Int) throws {
        let declarations = [
            "int", "int", "int", "tinyint", "bigint", "bigint", "decimal(18,2)", "nvarchar(max)", "datetime2(6)",
            "datetime2(6)", "datetime2(6)",
        ]
        let with = declarations.enumerated().map { "c\($0) \($1) '$[\($0)]'" }
        let selected = columns.indices.map { $0 == 0 || $0 == 2 ? "SUBSTRING(p.b, r.c\($0), 10)" : "r.c\($0)" }
        let statement = try connection.prepare(
            """
            INSERT INTO stg_bench (\(columns.joined(separator: ", "))) SELECT \(selected.joined(separator: ", "))
            FROM (SELECT CAST(? AS nvarchar(max)) AS j, CAST(? AS varbinary(max)) AS b) AS p
            CROSS APPLY OPENJSON(p.j) WITH (\(with.joined(separator: ", "))) AS r
            """)
        for start in stride(from: 0, to: rows, by: rowsEach) {
            var json = "["
            var binaries: [UInt8] = []
            for row in start..<min(start + rowsEach, rows) {
                let id = Int64(row + 1)
                let place = binaries.count + 1
                binaries += LSN(high: UInt64(row / 1000 + 1), low: 0).bytes + LSN(high: UInt64(row), low: 0).bytes
                let amount = DecimalText.string(Int128(id &* 7919 % 100_000), scale: 2)
                let time = "\"2026-01-01T00:00:00.123456\""
                json += row == start ? "[" : ",["
                json += "\(place),1,\(place + 10),2,\(id),\(id &* 7919 % 100_000 + 1),\"\(amount)\","
                json += "\"\(row % 2 == 0 ? "NEW" : "DELIVERED")\",\(time),\(time),\(time)]"
            }
            try statement.execute([.string(json + "]"), .binary(binaries)])
        }
    }
}
