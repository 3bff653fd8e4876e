import Foundation
import Logging
import ODBC
import SQLServer
import Tidemark

/// Reading changes from SQL Server as the pipeline does, against the bare driver's block cursor over the same
/// statement, which fetches into bound memory and looks at nothing.
///
/// Runs when TIDEMARK_BENCH_SOURCE_DSN names a database in which `orders` is captured and has changes; one is made, and
/// measured, by `TIDEMARK_BENCH_CHANGES=200000 swift test --filter ReadBenchmarkTests`.
enum ReadBenchmark {
    static let variable = "TIDEMARK_BENCH_SOURCE_DSN"
    private static let rounds = 5

    static func run() async throws {
        guard let text = ProcessInfo.processInfo.environment[variable] else {
            say("\nreading changes: skipped, \(variable) is not set")
            return
        }
        guard let dsn = try SQLServerDSN(text) else { throw TidemarkError.configuration("\(variable) is no DSN") }
        let database = try SQLServerDatabase(dsn, role: "source")
        let source = SQLServerSource(database, options: .init(logger: Logger(label: "tidemark.bench")))
        guard let orders = try await source.captures().first(where: { $0.table == "orders" }) else {
            throw TidemarkError.unavailable("\(dsn) captures no table orders")
        }
        let (sql, parameters) = try await source.changesStatement(of: orders)
        let window = LSNWindow(after: .zero, through: try await source.bounds().maxLSN)
        var bare: [Double] = []
        var product: [Double] = []
        var rows = 0
        // In turns, so that both meet the same machine.
        for _ in 0..<rounds {
            let start = ContinuousClock.now
            rows = try await database.run { connection in
                try database.data(connection) {
                    let cursor = try connection.query(sql, parameters, options: .init(rowsPerBlock: BlockLimits.rows))
                    var count = 0
                    while try cursor.fetch() { count += cursor.count }
                    return count
                }
            }
            bare.append((ContinuousClock.now - start) / .seconds(1))
            let middle = ContinuousClock.now
            let reader = try await source.changes(of: orders, in: window, expecting: [], limits: .standard)
            let read = try await Task.detached {
                var count = 0
                while let block = try reader.next() { count += block.count }
                return count
            }.value
            product.append((ContinuousClock.now - middle) / .seconds(1))
            guard read == rows else { throw TidemarkError.schema("read \(read) changes, the bare cursor \(rows)") }
        }
        let (slow, fast) = (product.sorted()[rounds / 2], bare.sorted()[rounds / 2])
        say("\nreading changes: \(rows) changes of orders, medians of \(rounds)")
        say("  bare block cursor \(Int(Double(rows) / fast)) changes/s, pipeline \(Int(Double(rows) / slow)) changes/s")
        say("  ratio \((fast / slow * 100).rounded() / 100)")
    }
}
