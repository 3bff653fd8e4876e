import Foundation
import Testing

@testable import SQLServer

/// Makes a database for `tidemark-bench reading`, runs it there, and prints what it says. Nothing is asserted of times.
@Suite(
    "The read benchmark",
    .enabled(
        if: ProcessInfo.processInfo.environment["TIDEMARK_BENCH_CHANGES"] != nil,
        "TIDEMARK_BENCH_CHANGES is not set to a number of changes"),
    .enabled(if: TestServer.source != nil, TestServer.sourceIsMissing))
struct ReadBenchmarkTests {
    @Test("runs over so many changes of orders")
    func run() async throws {
        let count = try #require(ProcessInfo.processInfo.environment["TIDEMARK_BENCH_CHANGES"].flatMap(Int.init))
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        try await SQLServerSourceFixture.withShop { fixture in
            for start in stride(from: 1, through: count, by: 5_000) {
                // A VALUES list has a thousand rows at most.
                let statements = stride(from: start, to: min(start + 5_000, count + 1), by: 1_000).map { first in
                    let rows = (first..<min(first + 1_000, count + 1)).map { id in
                        """
                        (\(id), \(id % 977), '\(id % 1_000).\(10 + id % 90)', N'NEW', '2026-01-31 10:00:00.123', \
                        '2026-01-31 10:00:00.456')
                        """
                    }
                    return "INSERT INTO orders VALUES \(rows.joined(separator: ", "))"
                }
                try await fixture.transaction(statements)
            }
            let bench = Process()
            bench.executableURL = root.appending(path: ".build/release/tidemark-bench")
            bench.arguments = ["reading"]
            bench.environment = ProcessInfo.processInfo.environment
                .merging(["TIDEMARK_BENCH_SOURCE_DSN": fixture.database.dsn.text]) { $1 }
            try bench.run()
            bench.waitUntilExit()
            #expect(bench.terminationStatus == 0)
        }
    }
}
