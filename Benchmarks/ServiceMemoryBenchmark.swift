import Foundation
import GRDB

/// How much memory `tidemark run` takes as a whole, with both shipped projections.
enum ServiceMemoryBenchmark {
    /// DuckDB's part, and what the service may take besides, in MB.
    private static let duckDB = 1_000
    private static let rest = 300

    static func run(in folder: URL) async throws {
        let tidemark = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
            .deletingLastPathComponent().appending(path: "tidemark")
        guard FileManager.default.isExecutableFile(atPath: tidemark.path) else {
            say("\nservice: left out, as there is no \(tidemark.path); make release builds it")
            return
        }
        for (name, insert) in [
            (
                "60,000 rows of 20 KB",
                """
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
                INSERT INTO orders SELECT i, i % 100, '1.00', i || replace(hex(zeroblob(10000)), '0', 'x'),
                    '2026-01-01 10:00:00', '2026-01-01 10:00:00' FROM n
                """
            ),
            (
                "1,000,000 rows",
                """
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
                INSERT INTO orders SELECT i, i % 100, '1.00', 'NEW', datetime('2026-01-01', '+' || i || ' seconds'),
                    '2026-01-01 10:00:00' FROM n
                """
            ),
        ] {
            say("\nservice: \(name), then updated in one transaction; DUCKDB_MEMORY_LIMIT \(duckDB) MB")
            let place = folder.appending(path: "service-\(UUID().uuidString.prefix(8))")
            try FileManager.default.createDirectory(
                at: place.appending(path: "data"), withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: place) }
            try start(tidemark, ["bootstrap"], in: place).waitUntilExit()
            let source = try DatabaseQueue(path: place.appending(path: "data/source.db").path)
            let service = try start(tidemark, ["run"], in: place)
            defer {
                service.terminate()
                service.waitUntilExit()
            }
            for (step, sql) in [
                ("inserted", insert), ("updated", "UPDATE orders SET status = 'y' || status, amount = '2.00'"),
            ] {
                try await source.writeWithoutTransaction { try $0.execute(sql: sql) }
                let took = try await seconds { try await caughtUp(tidemark, place, service) }
                report(
                    "peak memory, \(step)", "\(peak(service) / 1_000_000) MB, in step after \(format(took, 1)) s",
                    target: "below \(duckDB + rest) MB")
            }
        }
    }

    private static func start(_ program: URL, _ arguments: [String], in place: URL, output: Any? = nil) throws
        -> Process
    {
        let process = Process()
        process.executableURL = program
        process.arguments = arguments
        process.currentDirectoryURL = place
        process.environment = ["DUCKDB_MEMORY_LIMIT": "\(duckDB)MB", "LOG_LEVEL": "error"]
        if let output { process.standardOutput = output }
        try process.run()
        return process
    }

    /// Waits until both projections are true at the end of the source's log.
    private static func caughtUp(_ program: URL, _ place: URL, _ service: Process) async throws {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        while service.isRunning {
            let pipe = Pipe()
            let status = try start(program, ["status", "--json"], in: place, output: pipe)
            let data = pipe.fileHandleForReading.readDataToEndOfFile()
            status.waitUntilExit()
            if let status = try? decoder.decode(Status.self, from: data),
                status.projections.allSatisfy({ $0.status == "OK" && $0.asOfLsn == status.sourceMaxLsn })
            {
                return
            }
            try await Task.sleep(for: .milliseconds(250))
        }
        throw CocoaError(.executableLoad)
    }

    /// What is needed of `tidemark status --json`.
    private struct Status: Decodable {
        struct Projection: Decodable {
            let status: String
            let asOfLsn: String?
        }
        let sourceMaxLsn: String
        let projections: [Projection]
    }

    private static func peak(_ process: Process) -> Int {
        Machine.peakMemory(of: "\(process.processIdentifier)").map { $0 * 1_048_576 } ?? 0
    }
}
