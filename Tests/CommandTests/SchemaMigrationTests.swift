import Foundation
import GRDB
import TestSupport
import Testing

extension Commands {
    /// The source's schema changes while a pipeline runs, or while none does.
    @Suite("Migrations of the source")
    struct SchemaMigrationTests {
        let place: Workplace

        init() async throws {
            place = try await .bootstrapped()
            let load = try await place.run("loadgen", "--rate", "400", "--duration", "500ms")
            try #require(load.end == .exit(0))
        }

        /// As Django, Alembic and Rails change a table on SQLite: one transaction, in which rows change too.
        private static func rebuild(columns: String = "status TEXT, note TEXT") -> String {
            """
            BEGIN IMMEDIATE;
            CREATE TABLE new__orders (
                order_id INTEGER PRIMARY KEY, customer_id INTEGER, amount DECIMAL_TEXT(18,2), \(columns),
                created_at DATETIME, updated_at DATETIME);
            INSERT INTO new__orders (order_id, customer_id, amount, created_at, updated_at\(columns.contains("status") ? ", status" : ""))
                SELECT order_id, customer_id, amount, created_at, updated_at\(columns.contains("status") ? ", status" : "")
                FROM orders WHERE order_id % 7 > 0;
            DROP TABLE orders;
            ALTER TABLE new__orders RENAME TO orders;
            UPDATE orders SET amount = '77.77' WHERE order_id % 5 = 0;
            INSERT INTO orders (order_id, customer_id, amount, created_at)
                VALUES (500001, 1, '5.00', '2026-01-01 00:00:00');
            COMMIT;
            """
        }

        /// Right after it.
        private static let later = """
            UPDATE orders SET amount = '88.88' WHERE order_id % 11 = 0;
            DELETE FROM orders WHERE order_id % 13 = 0;
            INSERT INTO orders (order_id, customer_id, amount, created_at) VALUES (500002, 2, '6.00', '2026-01-01 00:01:00')
            """

        /// Has the serving database keep every state that readers of the control table could see.
        private func watch() throws {
            try place.serving(
                """
                CREATE TABLE seen (n INTEGER PRIMARY KEY, capture TEXT, status TEXT, lsn TEXT, error TEXT);
                CREATE TRIGGER watch AFTER UPDATE ON ctl_ingestion_watermarks BEGIN
                    INSERT INTO seen (capture, status, lsn, error)
                    VALUES (NEW.capture_instance, NEW.status, hex(NEW.last_ingested_lsn), NEW.last_error);
                END
                """)
        }

        private func isSound() async throws {
            try await eventually("every capture is OK") {
                let status = try Status(try await place.run("status", "--json").output)
                return status.captures.allSatisfy { $0.status == "OK" && $0.lastIngestedLsn == status.sourceMaxLsn }
            }
            try await place.caughtUp()
            let verify = try await place.run("verify")
            #expect(verify.end == .exit(0), "\(verify.output)\(verify.errors)")
            // Staging has differences where changes were not captured.
            #expect(try Truth(place: place).complaints().filter { !$0.hasPrefix("stg_cdc_") } == [])
        }

        @Test("a table rebuilt by a migration is read anew, and nothing is lost")
        func rebuilt() async throws {
            let run = try await place.startPipeline()
            try await place.caughtUp()
            try watch()
            try place.source(Self.rebuild())
            try place.source(Self.later)
            try await run.logs("capture dbo_orders has lost its insert, update, delete triggers")
            try await isSound()
            #expect(try place.sourceValue("SELECT count(*) FROM orders WHERE amount IN ('77.77', '88.88')") != "0")

            // From the error to the end of the read nothing looked sound, and the error went by itself.
            let restart = try #require(
                try place.sourceValue(
                    "SELECT printf('%016X0000', restart_lsn) FROM cdc_change_tables WHERE capture_instance = 'dbo_orders'"
                ))
            let error = try #require(
                try place.servingValue(
                    "SELECT n FROM seen WHERE capture = 'dbo_orders' AND status = 'ERROR' ORDER BY n"))
            #expect(
                try place.servingValue("SELECT error FROM seen WHERE n = \(error)")?.contains(
                    "the table's column note is not captured. It is complete again from LSN") == true)
            let tooEarly = try place.servingValue(
                """
                SELECT count(*) FROM seen
                WHERE capture = 'dbo_orders' AND n > \(error) AND status <> 'ERROR' AND lsn < '\(restart)'
                """)
            #expect(tooEarly == "0")
            #expect(
                try place.servingValue("SELECT count(*) FROM seen WHERE capture <> 'dbo_orders' AND status = 'ERROR'")
                    == "0")

            // And it goes on.
            try place.source("UPDATE orders SET status = 'LATER' WHERE order_id = 500002")
            try await isSound()
            try await run.stop()
        }

        @Test("a migration while the pipeline is stopped is found at once: by status, by verify, and at the next start")
        func whileStopped() async throws {
            let first = try await place.startPipeline()
            try await place.caughtUp()
            try await first.stop()
            try place.source(Self.rebuild())
            try place.source(Self.later)

            let status = try Status(try await place.run("status", "--json").output)
            let orders = try status.capture("dbo_orders")
            #expect(orders.status == "ERROR")
            #expect(
                orders.lastError?.contains("capture dbo_orders has lost its insert, update, delete triggers") == true)
            #expect(try status.capture("dbo_customers").status == "OK")
            let verify = try await place.run("verify")
            #expect(verify.end == .exit(1))
            #expect(verify.lines.contains { $0.hasPrefix("FAILED  source table  orders") }, "\(verify.output)")
            #expect(
                verify.output.contains("source table orders cannot be compared:\n  capture dbo_orders has lost its"))
            #expect(verify.output.contains("the table is being read anew. Nothing needs to be done"))

            let second = try await place.startPipeline()
            try await isSound()
            // A second rebuild, by a program that puts the triggers back as they were.
            try await second.stop()
            let triggers = try place.sourceValue(
                """
                SELECT group_concat(sql, ';') FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'orders'
                """)
            try place.source(
                Self.rebuild().replacing("COMMIT;", with: "\(triggers ?? "");COMMIT;").replacing("50000", with: "60000")
            )
            let third = try await place.startPipeline()
            try await third.logs("capture dbo_orders had triggers that were dropped and made again by somebody else")
            try await isSound()
            try await third.stop()
        }

        @Test("tables rebuilt again and again under load lose nothing, with the pipeline killed in between")
        func underLoad() async throws {
            var run = try await place.startPipeline()
            for round in 0..<4 {
                let load = try place.start("loadgen", "--rate", "300", "--duration", "1s")
                try place.source(Self.rebuild(columns: "status TEXT").replacing("500001", with: "-\(round + 1)"))
                if round % 2 == 1 {
                    try await run.process.killAndWait()
                    run = try await place.startPipeline()
                }
                #expect(try await load.ended().end == .exit(0))
            }
            try await isSound()
            try await run.stop()
        }

        @Test(
            "a captured column that a migration takes away stops that capture by name until it is back; the others go on"
        )
        func columnGone() async throws {
            let run = try await place.startPipeline()
            try await place.caughtUp()
            try place.source(Self.rebuild(columns: "state TEXT"))
            try await eventually("the capture says so") {
                try await place.run("status").output.contains(
                    "dbo_orders: table orders has no column status any more, which is captured. Bring the column back")
            }
            try place.source("INSERT INTO customers VALUES (900000, 'GOLD', 1, '2026-01-01 00:00:00')")
            try await eventually("customers go on") {
                try place.servingValue("SELECT count(*) FROM stg_cdc_customers WHERE customer_id = 900000") == "1"
            }
            let verify = try await place.run("verify")
            #expect(verify.end == .exit(1))
            #expect(verify.output.contains("table orders has no column status any more"))
            let bootstrap = try await place.run("bootstrap")
            #expect(bootstrap.end == .exit(0))
            #expect(bootstrap.output.contains("table orders has no column status any more"), "\(bootstrap.output)")

            // The restart finds it too, and the error goes when its cause does.
            try await run.stop()
            let again = try await place.startPipeline()
            try place.source("ALTER TABLE orders RENAME COLUMN state TO status")
            try await isSound()
            try await again.stop()
        }

        @Test("a table that is dropped stops its capture; made again, it is read anew")
        func dropped() async throws {
            let run = try await place.startPipeline()
            try await place.caughtUp()
            let definition = try #require(
                try place.sourceValue("SELECT sql FROM sqlite_schema WHERE name = 'payments'"))
            try place.source("DROP TABLE payments")
            try await eventually("the capture says so") {
                try await place.run("status").output.contains(
                    "dbo_payments: table payments of capture dbo_payments is gone")
            }
            try place.source(
                "\(definition); INSERT INTO payments VALUES (1, 1, '1.00', '2026-01-01 00:00:00')")
            try await isSound()
            try await run.stop()
        }

        @Test("what a trigger's RAISE(IGNORE) hides, and what REPLACE takes away with the row it updates, is not lost")
        func triggersAndCascades() async throws {
            try place.source(
                """
                CREATE TABLE nodes (
                    id INTEGER PRIMARY KEY, code TEXT UNIQUE, parent INTEGER REFERENCES nodes ON DELETE CASCADE);
                INSERT INTO nodes VALUES (1, 'a', NULL), (2, 'b', 1), (3, 'c', NULL)
                """)
            #expect(try await place.run("bootstrap").end == .exit(0))
            let run = try await place.startPipeline()
            try await place.caughtUp()
            try place.source("PRAGMA foreign_keys = ON; UPDATE OR REPLACE nodes SET code = 'a' WHERE id = 2")
            #expect(try place.sourceValue("SELECT group_concat(id) FROM nodes") == "3")
            try await isSound()

            try place.source(
                """
                CREATE TRIGGER quiet AFTER UPDATE ON nodes BEGIN SELECT RAISE(IGNORE); END;
                UPDATE nodes SET code = 'hidden' WHERE id = 3
                """)
            try await run.logs("had the trigger quiet of table nodes run before its own")
            try await isSound()
            try place.source("UPDATE nodes SET code = 'seen' WHERE id = 3")
            try await isSound()
            let bootstrap = try await place.run("bootstrap")
            #expect(bootstrap.output.contains("source: trigger quiet on table nodes runs RAISE(IGNORE) or RAISE(FAIL)"))
            try await run.stop()
        }
    }
}
