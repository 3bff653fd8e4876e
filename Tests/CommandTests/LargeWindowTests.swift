import Foundation
import TestSupport
import Testing

extension Commands {
    /// One transaction of the source that is several transactions of the serving database.
    @Suite("A window larger than a transaction")
    struct LargeWindowTests {
        let place: Workplace

        /// 6,000 rows of 20 KB are four transactions of 32 MiB.
        private static let rows = 6_000

        init() async throws {
            // What is staged is what this is about.
            place = try await .bootstrapped(environment: [
                "ENABLE_PROJ_ORDERS_LATEST": "false", "ENABLE_PROJ_ORDERS_KPI_BY_MINUTE_SEGMENT": "false",
            ])
            try place.serving("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        }

        private func insert(_ first: Int) throws {
            try place.source(
                """
                WITH RECURSIVE n(i) AS (SELECT \(first) UNION ALL SELECT i + 1 FROM n WHERE i < \(first + Self.rows - 1))
                INSERT INTO orders SELECT i, i % 100, '1.00', i || replace(hex(zeroblob(10000)), '0', 'x'),
                    '2026-01-01 10:00:00', '2026-01-01 10:00:00' FROM n
                """)
        }

        /// The watermark, and whether something is staged beyond it, at one moment.
        private func standing() throws -> (watermark: String, isBeyond: Bool) {
            let text = try place.servingValue(
                """
                SELECT hex(last_ingested_lsn) || ' ' || EXISTS (
                    SELECT 1 FROM stg_cdc_orders WHERE lsn > last_ingested_lsn)
                FROM ctl_ingestion_watermarks WHERE capture_instance = 'dbo_orders'
                """)
            let parts = try #require(text).split(separator: " ")
            return (String(parts[0]), parts[1] == "1")
        }

        /// Waits until a part of a window is staged whose watermark has not moved.
        private func partlyStaged(_ run: Workplace.Running) async throws {
            let before = try standing().watermark
            var last = (watermark: before, isBeyond: false)
            try await eventually("a part of the window is staged, or all of it") {
                last = try standing()
                return last.isBeyond || last.watermark != before
            }
            try #require(last.isBeyond && last.watermark == before, "the window appeared as one transaction")
        }

        @Test("another program can write the serving database while a large transaction is staged")
        func othersWrite() async throws {
            let run = try await place.startPipeline()
            try insert(1)
            try await partlyStaged(run)
            // Its write waits for one transaction at most: the window is not done when it is.
            try place.serving("INSERT INTO notes VALUES (1, 'meanwhile')")
            let standing = try standing()
            #expect(standing.isBeyond, "the write waited for the whole window")
            try await place.caughtUp()
            try await eventually("the window is staged") { try !self.standing().isBeyond }
            try await staged(Self.rows)
            try await run.stop()
        }

        @Test("killed in the middle of a large transaction, nothing of it is lost or there twice")
        func killed() async throws {
            for round in 0..<2 {
                let run = try await place.startPipeline()
                try insert(round * Self.rows + 1)
                let before = try standing().watermark
                try await partlyStaged(run)
                try await run.process.killAndWait()
                let after = try standing()
                #expect(after.isBeyond)
                #expect(after.watermark == before)
                let again = try await place.startPipeline()
                try await staged((round + 1) * Self.rows)
                try await again.stop()
            }
        }

        /// Waits until all changes are staged, and the watermark tells so.
        private func staged(_ count: Int) async throws {
            try await eventually("all changes are staged") {
                try place.servingValue(
                    "SELECT rows_ingested FROM ctl_ingestion_watermarks WHERE capture_instance = 'dbo_orders'")
                    == "\(count)"
            }
            // Comparing rows of 20 KB takes SQLite minutes; these sums are theirs alone.
            let sums = """
                SELECT count(*) || ' ' || count(DISTINCT order_id) || ' ' || sum(order_id) || ' ' || sum(length(status)) || ' '
                    || sum(unicode(substr(status, 1 + order_id % 20000))) FROM
                """
            let expected = try place.sourceValue("\(sums) cdc_dbo_orders_CT")
            #expect(try place.servingValue("\(sums) stg_cdc_orders") == expected)
            #expect(expected?.hasPrefix("\(count) \(count) ") == true)
            #expect(try !standing().isBeyond)
        }
    }
}
