import Foundation
import TestSupport
import Testing

extension Commands {
    /// Invariant 3: killed at any point and started again, nothing is lost, nothing is counted twice, and nobody has to
    /// do anything.
    ///
    /// The moments are drawn from a seed that is printed; `TIDEMARK_TEST_SEED` draws the same again.
    @Suite("Killed with SIGKILL")
    struct KillTests {
        let place: Workplace

        init() async throws { place = try await .bootstrapped() }

        private static let rounds = 24

        /// Each start may be in another time zone, which nothing may depend on.
        private static let zones = ["UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Kiritimati"]

        private enum Victim: CaseIterable {
            /// The service, while it starts.
            case starting
            /// The service, while it works.
            case working
            /// The service, while it rebuilds a projection that was asked for.
            case rebuildingPipeline
            /// `tidemark rebuild`, with no service.
            case rebuildingAlone
        }

        @Test("the pipeline and rebuilds, again and again under load: nothing lost, nothing doubled")
        func kill() async throws {
            let seed =
                ProcessInfo.processInfo.environment["TIDEMARK_TEST_SEED"].flatMap(UInt64.init)
                ?? .random(in: 1...999_999)
            print("killing with seed \(seed) (TIDEMARK_TEST_SEED=\(seed) draws the same moments)")
            var random = Random(state: seed)
            // Enough history for a build to take a while.
            try place.source(Self.history)
            let load = try place.start("loadgen", "--rate", "300")
            var killed = 0

            for round in 0..<Self.rounds {
                if Int.random(in: 0..<4, using: &random) == 0 {
                    try? FileManager.default.removeItem(atPath: place.file("data/state"))
                }
                switch Victim.allCases[round % Victim.allCases.count] {
                case .starting:
                    let run = try place.start("run", environment: ["TZ": Self.zones.randomElement(using: &random)!])
                    try await Task.sleep(for: .milliseconds(Int.random(in: 5...400, using: &random)))
                    killed += try await kill(run)
                case .working:
                    let run = try place.start("run", environment: ["TZ": Self.zones.randomElement(using: &random)!])
                    try await run.logs(["running", "ingested", "projected"].randomElement(using: &random)!)
                    try await Task.sleep(for: .milliseconds(Int.random(in: 0...400, using: &random)))
                    killed += try await kill(run)
                case .rebuildingPipeline:
                    let run = try await place.startPipeline(
                        environment: ["TZ": Self.zones.randomElement(using: &random)!])
                    let rebuild = try place.start("rebuild", "orders_latest")
                    // A projection that was not built before, or by the time of the request, is built for that reason.
                    try await eventually("orders_latest is built in full") {
                        run.errors.contains("building in full") || rebuild.process.ended != nil
                    }
                    try await Task.sleep(for: .milliseconds(Int.random(in: 0...150, using: &random)))
                    killed += try await kill(run)
                    // Whoever asked for it gets it all the same, or is killed too.
                    if Bool.random(using: &random) {
                        _ = try await kill(rebuild)
                    } else {
                        let outcome = try await rebuild.ended()
                        #expect(outcome.end == .exit(0), "seed \(seed), round \(round): \(outcome.errors)")
                    }
                case .rebuildingAlone:
                    let projections = ["orders_latest", "orders_kpi_by_minute_segment"]
                    let rebuild = try place.start("rebuild", projections.randomElement(using: &random)!)
                    try await Task.sleep(for: .milliseconds(Int.random(in: 100...500, using: &random)))
                    killed += try await kill(rebuild)
                }
            }
            #expect(killed >= 18, "most processes were still at work when they were killed")

            load.process.send(SIGTERM)
            let loaded = try await load.ended()
            #expect(loaded.end == .exit(0), "\(loaded.errors)")
            let run = try await place.startPipeline()
            try await place.caughtUp()
            try await run.stop()

            let verified = try await place.run("verify")
            #expect(verified.end == .exit(0), "seed \(seed): \(verified.output)\(verified.errors)")
            let truth = Truth(place: place)
            #expect(try truth.complaints() == [], "seed \(seed)")
            #expect(try truth.changeCount() > 20_000)
        }

        /// Kills a command; 1 when it was still running.
        private func kill(_ running: Workplace.Running) async throws -> Int {
            running.process.send(SIGKILL)
            let outcome = try await running.ended()
            if outcome.end != .signal(SIGKILL) {
                #expect(outcome.end == .exit(0), "\(outcome.errors)")
                return 0
            }
            return 1
        }

        private static let history = """
            BEGIN;
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
            INSERT INTO customers SELECT i, iif(i % 7 = 0, NULL, 'S' || (i % 5)), 1, '2026-01-01 00:00:00' FROM n;
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 15000)
            INSERT INTO orders SELECT i, i % 120, printf('%d.%02d', i % 900, i % 100), 'NEW',
                datetime('2026-01-01', '+' || (i * 13) || ' seconds'), '2026-01-01 00:00:00' FROM n;
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000)
            INSERT INTO payments SELECT i, i * 2, printf('%d.%02d', i % 700, i % 100),
                datetime('2026-01-02', '+' || (i * 17) || ' seconds') FROM n;
            COMMIT;
            """
    }
}

/// SplitMix64, so that a seed draws the same numbers everywhere.
private struct Random: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
