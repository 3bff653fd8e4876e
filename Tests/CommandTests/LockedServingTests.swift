import GRDB
import TestSupport
import Testing

extension Commands {
    @Suite("A serving database that another program has locked")
    struct LockedServingTests {
        let place: Workplace

        init() async throws { place = try await .bootstrapped() }

        /// Runs `body` while another program writes to the serving database.
        private func whileLocked(_ body: () async throws -> Void) async throws {
            let lock = try place.connect("data/serving.db")
            try await lock.writeWithoutTransaction { try $0.execute(sql: "BEGIN IMMEDIATE") }
            try await body()
            try await lock.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
        }

        @Test("a standby waits for the other pipeline, and writes nothing before it is its turn")
        func standby() async throws {
            let first = try await place.startPipeline()
            var second: Workplace.Running?
            try await whileLocked {
                let standby = try place.start("run", environment: ["STATE_DIR": "data/state2"])
                try await standby.logs("another pipeline works on this serving database; waiting for it to end")
                second = standby
            }
            try await first.stop()
            let standby = try #require(second)
            try await standby.logs("taking over")
            try place.source("INSERT INTO customers VALUES (1, 'RETAIL', 1, '2026-01-01 00:00:00')")
            try await place.caughtUp()
            try await standby.stop()
        }

        @Test("a pipeline that starts meanwhile waits, says so, and goes on when the lock is gone")
        func start() async throws {
            var run: Workplace.Running?
            try await whileLocked {
                let waiting = try place.start("run")
                try await waiting.logs("trying again")
                #expect(waiting.errors.contains("is locked by another program"))
                run = waiting
            }
            let waiting = try #require(run)
            try await waiting.logs("running")
            try await place.caughtUp()
            try await waiting.stop()
        }

        @Test("status reads it, and rebuild ends with exit 69 and the reason after a wait")
        func commands() async throws {
            try await whileLocked {
                #expect(try await place.run("status").end == .exit(0))
                let rebuild = try await place.run("rebuild", "orders_latest")
                #expect(rebuild.end == .exit(69))
                #expect(rebuild.errors.contains("is locked by another program"), "\(rebuild.errors)")
                #expect(rebuild.errorLines.count == 1)
            }
        }
    }
}
