import Foundation
import TestSupport
import Testing

#if os(Linux)
extension Commands {
    /// What the service takes of memory does not follow what the tables hold. `make bench` has the large figures.
    @Suite("The memory of tidemark run")
    struct MemoryTests {
        private static let megabyte = 1_000_000
        /// `MEMORY_LIMIT`: 200 MB for DuckDB, and the rest of 300 MB.
        private static let whole = 500

        let place: Workplace

        init() async throws {
            place = try await .bootstrapped(environment: ["MEMORY_LIMIT": "\(Self.whole)MB"])
        }

        private func expectWithinLimit(_ run: Workplace.Running, _ when: String) throws {
            let peak = try run.process.peakMemory()
            #expect(peak < Self.whole * Self.megabyte, "\(peak / Self.megabyte) MB at the most, \(when)")
            #expect(!run.errors.contains("ERROR"), "\(run.errors)")
        }

        @Test("stays within MEMORY_LIMIT while wide rows come in, and while one transaction changes all of them")
        func wideRows() async throws {
            let run = try await place.startPipeline()
            // 200 MB, all in one transaction.
            try place.source(
                """
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
                INSERT INTO orders SELECT i, i % 100, '1.00', i || replace(hex(zeroblob(10000)), '0', 'x'),
                    '2026-01-01 10:00:00', '2026-01-01 10:00:00' FROM n
                """)
            try await place.caughtUp()
            try expectWithinLimit(run, "with 10,000 rows of 20 KB")
            try place.source("UPDATE orders SET status = 'y' || status, amount = '2.00'")
            try await place.caughtUp()
            try expectWithinLimit(run, "with 10,000 updates of 20 KB in one transaction")
            try await run.stop()
            // Comparing rows of 20 KB takes SQLite minutes; these sums are theirs alone.
            let sums = """
                SELECT count(*) || ' ' || sum(order_id) || ' ' || sum(length(status)) || ' ' || sum(amount) || ' '
                    || sum(unicode(status)) FROM
                """
            #expect(try place.servingValue("\(sums) proj_orders_latest") == place.sourceValue("\(sums) orders"))
        }

        @Test("stays within MEMORY_LIMIT while one transaction updates 200,000 rows")
        func massUpdate() async throws {
            let run = try await place.startPipeline()
            try place.source(
                """
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
                INSERT INTO orders SELECT i, i % 100, '1.00', 'NEW', datetime('2026-01-01', '+' || i || ' seconds'),
                    '2026-01-01 10:00:00' FROM n
                """)
            try await place.caughtUp()
            try place.source("UPDATE orders SET status = 'PAID', amount = '2.00'")
            try await place.caughtUp()
            try expectWithinLimit(run, "with 200,000 updates in one transaction")
            try await run.stop()
            #expect(try Truth(place: place).complaints() == [])
        }
    }
}

extension ChildProcess {
    /// The most memory the process has held at once, in bytes.
    fileprivate func peakMemory() throws -> Int {
        let status = try String(contentsOfFile: "/proc/\(identifier)/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") })
        return try #require(line.split(separator: " ").dropFirst().first.flatMap { Int($0) }) * 1_024
    }
}
#endif
