import Testing
import Tidemark

private func lsn(_ number: UInt64) -> LSN { LSN(high: number, low: 0) }

@Suite("Why a projection waits")
struct ProjectionWaitTests {
    private func watermarks(_ lsns: [String: UInt64], failed: Set<String> = [], completeFrom: UInt64 = 0)
        -> [String: Watermark]
    {
        lsns.reduce(into: [:]) { all, item in
            all[item.key] = Watermark(
                lastIngestedLSN: lsn(item.value), completeFrom: item.key == "a" ? lsn(completeFrom) : .zero,
                lastCommitTime: nil, rowsIngested: 0, status: failed.contains(item.key) ? .error : .ok, lastError: nil,
                updatedAt: Timestamp(microseconds: 0))
        }
    }

    private func state(at number: UInt64, status: ProjectionState.Status = .ok) -> ProjectionState {
        ProjectionState(
            checkpoints: ["a": lsn(number), "b": lsn(number)], status: status, asOfLSN: lsn(number), asOfTime: nil,
            builtAt: nil, definitionHash: "x", rowsWritten: 0, lastError: nil)
    }

    private func reason(
        _ state: ProjectionState?, _ watermarks: [String: Watermark], replicaBase: UInt64 = 0
    ) -> ProjectionWait? {
        .reason(
            name: "p", state: state, captures: ["a", "b"], watermarks: watermarks, replicaBase: lsn(replicaBase))
    }

    @Test("captures of which nothing has been ingested are named, missing ones too")
    func nothing() {
        #expect(reason(nil, [:]) == .nothingIngested([.init("a", hasFailed: false), .init("b", hasFailed: false)]))
        let some = reason(nil, watermarks(["a": 5, "b": 0], failed: ["b"]))
        #expect(some == .nothingIngested([.init("b", hasFailed: true)]))
        #expect(some.map { "\($0)" } == "nothing of b (ERROR) has been ingested yet")
    }

    @Test("at the cutoff it waits for nothing, unless a failed capture holds the cutoff")
    func atCutoff() {
        #expect(reason(state(at: 5), watermarks(["a": 5, "b": 5])) == nil)
        #expect(reason(state(at: 5), watermarks(["a": 5, "b": 6])) == nil)
        #expect(
            reason(state(at: 5), watermarks(["a": 5, "b": 6], failed: ["a"]))
                == .heldBack(by: [.init("a", hasFailed: true)], at: lsn(5), until: lsn(6)))
        // The failure of the one that is further holds nothing.
        #expect(reason(state(at: 5), watermarks(["a": 5, "b": 6], failed: ["b"])) == nil)
    }

    @Test("behind the cutoff the next step is due")
    func due() {
        #expect(reason(state(at: 4), watermarks(["a": 5, "b": 5])) == .due(lsn(5)))
        #expect(reason(nil, watermarks(["a": 5, "b": 5])) == .due(lsn(5)))
        // Unless the last one failed, which its error says.
        #expect(reason(state(at: 4, status: .error), watermarks(["a": 5, "b": 5])) == nil)
        #expect(reason(state(at: 5, status: .initial), watermarks(["a": 5, "b": 5])) == .due(lsn(5)))
    }

    @Test("a state that cannot be shown is waited for, and the captures that are to come to it are named")
    func incomplete() {
        let behind = watermarks(["a": 9, "b": 5], completeFrom: 8)
        for present in [nil, state(at: 4)] {
            let wait = reason(present, behind)
            guard case .heldBack(let holders, lsn(5), let until) = wait else {
                Issue.record("\(String(describing: wait))")
                continue
            }
            #expect(holders.map(\.instance) == ["b"])
            #expect(until == lsn(8))
        }
        #expect(
            reason(nil, watermarks(["a": 9, "b": 5]), replicaBase: 7)
                == .heldBack(by: [.init("b", hasFailed: false)], at: lsn(5), until: lsn(7)))
        // Where the replica is not known, what the others have come to is what is waited for at most.
        #expect(
            reason(nil, watermarks(["a": 9, "b": 5])).map { "\($0)" }
                == "b holds it back at LSN \(lsn(5)); it waits for LSN \(lsn(9))")
    }
}
