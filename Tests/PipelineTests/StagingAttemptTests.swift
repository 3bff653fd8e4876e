import Testing
import Tidemark

@Suite("May a transaction stage beyond the watermark?")
struct StagingAttemptTests {
    private static func lsn(_ number: UInt64) -> LSN { LSN(high: number, low: 0) }

    private static let snapshot = StagedSnapshot(lsn: lsn(7), rows: 3, token: "snapshot")

    private static func attempt(_ content: StagingAttempt.Content) -> StagingAttempt {
        StagingAttempt(content, capture: "dbo_a", source: "source1", watermark: lsn(5))
    }

    private static func at(_ watermark: UInt64, _ token: String?) -> StagingAttempt.Position {
        StagingAttempt.Position(watermark: lsn(watermark), token: token)
    }

    private static func isConflict(_ decision: StagingAttempt.Decision) -> Bool {
        if case .stop(.conflict) = decision { true } else { false }
    }

    @Test("changes go in at once when nothing is staged beyond the watermark")
    func first() {
        let attempt = Self.attempt(.changes(after: nil))
        #expect(attempt.decide(Self.at(5, nil)) == .stage(clearing: nil))
    }

    @Test("what somebody else has left beyond the watermark goes first, whoever it was")
    func leftover() {
        #expect(Self.attempt(.changes(after: nil)).decide(Self.at(5, "other")) == .stage(clearing: Self.lsn(5)))
        #expect(Self.attempt(.snapshot).decide(Self.at(5, "other")) == .stage(clearing: Self.lsn(5)))
        #expect(Self.attempt(.snapshot).decide(Self.at(5, nil)) == .stage(clearing: Self.lsn(5)))
    }

    @Test("an attempt goes on while its token stands, and still has to delete what it had not")
    func further() {
        for content in [StagingAttempt.Content.changes(after: nil), .snapshot] {
            let attempt = Self.attempt(content)
            #expect(attempt.begun(clearing: nil).decide(Self.at(5, attempt.token)) == .stage(clearing: nil))
            #expect(
                attempt.begun(clearing: Self.lsn(5)).decide(Self.at(5, attempt.token)) == .stage(clearing: Self.lsn(5)))
        }
    }

    @Test("an attempt whose token is gone or another's has lost")
    func lost() {
        for content in [StagingAttempt.Content.changes(after: nil), .changes(after: Self.snapshot), .snapshot] {
            let attempt = Self.attempt(content).begun(clearing: nil)
            for token in [nil, "other"] { #expect(Self.isConflict(attempt.decide(Self.at(5, token)))) }
        }
    }

    @Test("a moved or missing watermark is a conflict, whatever is staged")
    func watermark() {
        for content in [StagingAttempt.Content.changes(after: nil), .changes(after: Self.snapshot), .snapshot] {
            let attempt = Self.attempt(content)
            for watermark in [4, 6] as [UInt64] {
                #expect(Self.isConflict(attempt.decide(Self.at(watermark, attempt.token))))
                #expect(Self.isConflict(attempt.begun(clearing: nil).decide(Self.at(watermark, attempt.token))))
            }
            #expect(Self.isConflict(attempt.decide(nil)))
        }
    }

    @Test("changes after a snapshot go in while it is still there, in place of an earlier attempt's")
    func afterSnapshot() {
        let attempt = Self.attempt(.changes(after: Self.snapshot))
        #expect(attempt.token == "snapshot")
        #expect(attempt.decide(Self.at(5, "snapshot")) == .stage(clearing: Self.lsn(7)))
        #expect(Self.isConflict(attempt.decide(Self.at(5, "another snapshot"))))
        #expect(Self.isConflict(attempt.decide(Self.at(5, nil))))
    }

    @Test("each attempt has a token of its own")
    func tokens() {
        #expect(Self.attempt(.snapshot).token != Self.attempt(.snapshot).token)
    }

    @Test("a watermark moves over an empty window, but not over what is staged")
    func moves() {
        func conflict(_ after: UInt64, _ through: UInt64, _ present: StagingAttempt.Position?) -> TidemarkError? {
            let window = LSNWindow(after: Self.lsn(after), through: Self.lsn(through))
            return StagingAttempt.conflict(
                WatermarkMove(capture: "dbo_a", window: window), source: "source1", present)
        }
        #expect(conflict(5, 9, Self.at(5, nil)) == nil)
        #expect(conflict(5, 5, Self.at(5, "other")) == nil)
        #expect(conflict(5, 9, Self.at(5, "other")) != nil)
        #expect(conflict(5, 9, Self.at(6, nil)) != nil)
        #expect(conflict(5, 9, nil) != nil)
    }
}
