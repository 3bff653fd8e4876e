import Foundation
import Testing
import Tidemark

/// The oracle: random lives of a pipeline, checked against a model of the shop after every commit.
///
///     TIDEMARK_ORACLE_SEED=17        replays one seed
///     TIDEMARK_ORACLE_SCHEDULES=5000 runs the seeds from 0 on
///     TIDEMARK_ORACLE_FIRST=100000   starts at another seed
@Suite("The oracle")
struct OracleTests {
    /// Schedules by default: enough to meet each kind of step in each kind of state many times.
    private static let schedules = 200
    /// Schedules at a time.
    private static let width = 2

    @Test("after every commit a projection equals its query over the source as of its LSN, whatever happens")
    func random() async throws {
        let environment = ProcessInfo.processInfo.environment
        let seeds: Range<UInt64>
        if let seed = environment["TIDEMARK_ORACLE_SEED"].flatMap(UInt64.init) {
            seeds = seed..<seed + 1
        } else {
            let first = environment["TIDEMARK_ORACLE_FIRST"].flatMap(UInt64.init) ?? 0
            let count = environment["TIDEMARK_ORACLE_SCHEDULES"].flatMap(UInt64.init) ?? UInt64(Self.schedules)
            seeds = first..<first + count
        }
        var tally = Schedule.Tally()
        var failures: [String] = []
        try await withThrowingTaskGroup(of: Result<Schedule.Tally, any Error>.self) { group in
            var waiting = seeds.makeIterator()
            func startNext() {
                guard let seed = waiting.next() else { return }
                group.addTask {
                    do { return .success(try await Schedule.run(seed: seed)) } catch { return .failure(error) }
                }
            }
            for _ in 0..<Self.width { startNext() }
            for try await result in group {
                switch result {
                case .success(let done): tally += done
                case .failure(let error): failures.append("\(error)")
                }
                // A handful says enough.
                if failures.count < 5 { startNext() }
            }
        }
        for failure in failures { Issue.record("\(failure)") }
        print("oracle: \(seeds.count) schedules, \(tally)")
    }
}
