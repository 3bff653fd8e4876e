import Foundation
import GRDB
import TestSupport
import Testing

extension Commands {
    /// A source that is put back from a backup, exchanged for another, or renamed in the settings.
    @Suite("A source's history")
    struct SourceHistoryTests {
        let place: Workplace

        init() async throws { place = try await .bootstrapped() }

        // MARK: The test's hands

        /// Lets `count` orders be committed one by one, each at a position of its own.
        private func write(orders ids: ClosedRange<Int>) async throws {
            for id in ids {
                try place.source(
                    "INSERT INTO orders VALUES (\(id), 1, '\(id).00', 'NEW', '2026-01-01 00:00:00', '2026-01-01 00:00:00')"
                )
                _ = try await place.run("status")
            }
        }

        /// Copies the source as a backup does, and puts it back.
        private func backUp(to name: String) throws {
            try place.connect("data/source.db").backup(to: place.connect(name))
        }

        private func putBack(_ name: String) throws {
            for suffix in ["-wal", "-shm"] {
                try? FileManager.default.removeItem(atPath: place.file("data/source.db\(suffix)"))
            }
            try backUpFile(name, to: "data/next.db")
            try #require(rename(place.file("data/next.db"), place.file("data/source.db")) == 0)
        }

        /// A copy that is one file, whatever lies in the WAL.
        private func backUpFile(_ name: String, to copy: String) throws {
            try? FileManager.default.removeItem(atPath: place.file(copy))
            try place.connect(name).writeWithoutTransaction {
                try $0.execute(sql: "VACUUM INTO ?", arguments: [place.file(copy)])
            }
        }

        private func status() async throws -> Status { try Status(try await place.run("status", "--json").output) }

        private func watermark() async throws -> String {
            try #require(try await status().captures.map(\.lastIngestedLsn).max())
        }

        private func isLatched() async throws -> Bool {
            let captures = try await status().captures
            return captures.allSatisfy { $0.status == "ERROR" && ($0.lastError ?? "").contains("tidemark resync") }
        }

        private func runToTheEnd() async throws {
            let run = try await place.startPipeline()
            try await place.caughtUp()
            try await run.stop()
        }

        /// Waits until the pipeline has looked at the source some more times.
        private func letItPoll(_ run: Workplace.Running) async throws {
            let before = try place.sourceValue("SELECT max(seen_at) FROM cdc_readers")
            for _ in 0..<5 { _ = try await place.run("status") }
            #expect(run.process.ended == nil)
            #expect(before == (try place.sourceValue("SELECT max(seen_at) FROM cdc_readers")))
        }

        private func expectRight(_ comment: Comment) async throws {
            #expect(try Truth(place: place).complaints(staging: false) == [], comment)
            let verified = try await place.run("verify")
            #expect(verified.end == .exit(0), "\(comment): \(verified.output)\(verified.errors)")
        }

        // MARK: Tests

        @Test(
            "a source put back from a backup stays an ERROR however far it goes on, and resync reads it anew",
            arguments: [1, 12])
        func restored(age: Int) async throws {
            try await write(orders: 1...3)
            try backUp(to: "backup.db")
            try await write(orders: 4...(3 + age))
            try await runToTheEnd()
            let watermark = try await watermark()

            try putBack("backup.db")
            let run = try await place.startPipeline()
            // Other orders than those that are lost, until the log has passed the watermark.
            var id = 100
            while try await status().sourceMaxLsn <= watermark || id < 103 {
                try await write(orders: id...id)
                id += 1
            }
            try await eventually("the captures are ERROR") { try await isLatched() }
            try await letItPoll(run)
            #expect(try await isLatched())
            #expect(try await self.watermark() == watermark)
            #expect(try place.servingValue("SELECT count(*) FROM proj_orders_latest") == "\(3 + age)")

            let one = try await place.run("resync", "orders")
            #expect(one.end == .exit(69) && one.errors.contains("one table alone cannot be read anew"))
            let resync = try await place.run("resync")
            #expect(resync.end == .exit(0), "\(resync.errors)")
            #expect(resync.output == "read all tables of source1 anew\n")
            try await place.caughtUp()
            try await run.stop()
            try await expectRight("after resync")
            #expect(try place.servingValue("SELECT count(*) FROM proj_orders_latest") == "\(3 + id - 100)")
        }

        @Test("with CDC_ON_GAP=snapshot a source put back from a backup is read anew by itself")
        func snapshotPolicy() async throws {
            try await write(orders: 1...3)
            try backUp(to: "backup.db")
            try await write(orders: 4...9)
            try await runToTheEnd()
            try putBack("backup.db")
            try await write(orders: 20...35)

            let run = try await place.startPipeline(environment: ["CDC_ON_GAP": "snapshot"])
            try await place.caughtUp()
            #expect(run.errors.contains("put back from a backup"))
            try await run.stop()
            try await expectRight("read anew at the start")
        }

        @Test(
            "a source put back while the pipeline runs is noticed, by a file that takes its place or in the file itself"
        )
        func whileRunning() async throws {
            for isNewFile in [true, false] {
                try await write(orders: isNewFile ? 1...3 : 51...53)
                try backUp(to: "backup-\(isNewFile).db")
                let run = try await place.startPipeline()
                try await write(orders: isNewFile ? 4...9 : 54...59)
                try await place.caughtUp()

                if isNewFile {
                    try putBack("backup-true.db")
                } else {
                    try place.connect("backup-false.db").backup(to: place.connect("data/source.db"))
                }
                try await write(orders: isNewFile ? 20...35 : 70...85)
                try await eventually("the captures are ERROR") { try await isLatched() }
                let resync = try await place.run("resync")
                #expect(resync.end == .exit(0), "\(resync.errors)")
                try await place.caughtUp()
                try await run.stop()
                try await expectRight("a new file: \(isNewFile)")
            }
        }

        @Test("the right source in its place again ends the error without an answer")
        func putRight() async throws {
            try await write(orders: 1...3)
            try backUp(to: "backup.db")
            try await write(orders: 4...6)
            try await runToTheEnd()
            try backUp(to: "right.db")

            try putBack("backup.db")
            try await write(orders: 20...30)
            let run = try await place.startPipeline()
            try await eventually("the captures are ERROR") { try await isLatched() }
            try putBack("right.db")
            try await run.logs("the source has the history again")
            try await place.caughtUp()
            try await eventually("the captures are OK") { try await status().captures.allSatisfy { $0.status == "OK" } }
            try await run.stop()
            #expect(try Truth(place: place).complaints() == [])
        }

        @Test("another database under the source's path is told by its identity, also where its log goes further")
        func anotherDatabase() async throws {
            try await write(orders: 1...3)
            try await runToTheEnd()
            let other = try await Workplace.bootstrapped()
            try other.source(
                "INSERT INTO orders VALUES (1, 1, '7.00', 'NEW', '2026-01-01 00:00:00', '2026-01-01 00:00:00')")
            for id in 2...20 {
                try other.source("UPDATE orders SET amount = '\(id).00'")
                _ = try await other.run("status")
            }
            try other.connect("data/source.db").backup(to: place.connect("other.db"))
            try putBack("other.db")

            let run = try await place.startPipeline()
            try await eventually("the captures are ERROR") { try await isLatched() }
            let error = try await status().capture("dbo_orders").lastError ?? ""
            #expect(error.contains("source source1 is another database"), "\(error)")
            try await run.stop()

            let resync = try await place.run("resync")
            #expect(resync.output == "no pipeline is running; the next tidemark run reads all tables of source1 anew\n")
            try await runToTheEnd()
            try await expectRight("the other database, on purpose")
            #expect(try place.servingValue("SELECT amount FROM proj_orders_latest") == "20.00")
        }

        @Test("another SOURCE_NAME over staged changes is refused by run and bootstrap, and nothing is lost")
        func otherName() async throws {
            try await write(orders: 1...3)
            try await runToTheEnd()
            for command in ["run", "bootstrap"] {
                let outcome = try await place.run(command, environment: ["SOURCE_NAME": "shop"])
                #expect(outcome.end == .exit(78), "\(command): \(outcome.errors)")
                #expect(outcome.errors.contains("set SOURCE_NAME=source1"), "\(command): \(outcome.errors)")
            }
            try await write(orders: 4...5)
            try await runToTheEnd()
            #expect(try Truth(place: place).complaints() == [])
        }

        @Test("changes that a capture has not read are kept past their retention")
        func unreadChanges() async throws {
            try await write(orders: 1...3)
            try await runToTheEnd()
            try place.source("UPDATE cdc_jobs SET retention = 0")
            // What cannot be read holds the capture up.
            try place.source("UPDATE orders SET amount = 'much' WHERE order_id = 1")
            try await write(orders: 4...20)

            let run = try await place.startPipeline()
            try await eventually("the capture is ERROR") { try await status().capture("dbo_orders").status == "ERROR" }
            // The cleanup comes right after this.
            try await eventually("the pipeline told the source how far it is") {
                try place.sourceValue("SELECT count(*) FROM cdc_readers") == "3"
            }
            try await write(orders: 21...23)
            try place.source(
                """
                UPDATE cdc_dbo_orders_CT SET amount = '1.00' WHERE amount = 'much';
                UPDATE orders SET amount = '1.00' WHERE order_id = 1;
                """)
            try await run.stop()
            try await runToTheEnd()
            #expect(try Truth(place: place).complaints(staging: false) == [])
            #expect(try place.servingValue("SELECT count(*) FROM proj_orders_latest") == "23")
        }

        @Test("a first start with a retention of nothing reads every row")
        func firstStart() async throws {
            try place.source("UPDATE cdc_jobs SET retention = 0")
            try await write(orders: 1...3)
            try place.source(
                """
                WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
                INSERT INTO orders SELECT i, 1, '1.00', 'NEW', '2026-01-01 00:00:00', '2026-01-01 00:00:00' FROM n
                """)
            try await write(orders: 5...6)
            try await runToTheEnd()
            #expect(try Truth(place: place).complaints(staging: false) == [])
        }

        @Test("a table whose changes went missing is read anew by resync, with and without a pipeline")
        func resyncTable() async throws {
            try await write(orders: 1...3)
            try await runToTheEnd()
            func loseOne(_ id: Int) async throws {
                try place.source("UPDATE orders SET amount = '99.00' WHERE order_id = \(id)")
                try place.source("DELETE FROM cdc_dbo_orders_CT WHERE amount = '99.00' AND order_id = \(id)")
            }
            try await loseOne(1)
            try await runToTheEnd()
            #expect(try await place.run("verify").end == .exit(1))

            let missing = try await place.run("resync", "ordres")
            #expect(missing.end == .exit(78) && missing.errors.contains("there is no capture of ordres"))
            let asked = try await place.run("resync", "orders")
            #expect(asked.output == "no pipeline is running; the next tidemark run reads dbo_orders anew\n")
            try await runToTheEnd()
            try await expectRight("at the next start")

            let run = try await place.startPipeline()
            try await loseOne(2)
            let done = try await place.run("resync", "orders")
            #expect(done.end == .exit(0), "\(done.errors)")
            #expect(done.output == "read dbo_orders anew\n")
            try await place.caughtUp()
            try await run.stop()
            try await expectRight("by the running pipeline, on an idle source")
        }

        @Test("a definition that adds a capture which is stuck leaves the table at what readers have seen")
        func stuckCapture() async throws {
            func define(_ captures: String, _ query: String) throws {
                try place.write(
                    "name: names\ncaptures: \(captures)\nkey: [order_id]\n", to: "mine/names/projection.yml")
                try place.write(query, to: "mine/names/query.sql")
            }
            let mine = ["PROJECTIONS_DIR": "mine"]
            try define("[orders]", "SELECT order_id, amount FROM orders")
            try place.source("INSERT INTO customers VALUES (1, 'A', 1, '2026-01-01 00:00:00')")
            let first = try await place.startPipeline(environment: mine)
            try await place.caughtUp(environment: mine)
            try place.source("UPDATE customers SET is_active = 7")
            try await eventually("the capture is ERROR") {
                try await status().capture("dbo_customers").status == "ERROR"
            }
            try await write(orders: 1...8)
            try await place.caughtUp(environment: mine)
            try await first.stop()
            let seen = "SELECT hex(as_of_lsn) FROM ctl_projection_metadata WHERE projection_name = 'names'"
            let before = try #require(try place.servingValue(seen))

            try define(
                "[orders, customers]",
                "SELECT order_id, amount, segment FROM orders LEFT JOIN customers USING (customer_id)")
            let second = try await place.startPipeline(environment: mine)
            try await write(orders: 9...10)
            try await eventually("the orders are staged") {
                try place.servingValue("SELECT count(*) FROM stg_cdc_orders") == "10"
            }
            #expect(try place.servingValue("SELECT count(*) FROM proj_names") == "8")
            #expect(try place.servingValue(seen) == before)

            try place.source(
                "UPDATE cdc_dbo_customers_CT SET is_active = 1; UPDATE customers SET is_active = 1")
            try await eventually("it is built once the capture has caught up", within: .seconds(60)) {
                try place.servingValue(
                    "SELECT count(*) FROM sqlite_schema WHERE name = 'proj_names' AND sql LIKE '%segment%'")
                    == "1" && place.servingValue("SELECT count(*) FROM proj_names") == "10"
            }
            try await second.stop()
            #expect(try place.servingValue("SELECT min(segment) FROM proj_names") == "A")
            #expect(try #require(try place.servingValue(seen)) > before)
        }
    }
}
