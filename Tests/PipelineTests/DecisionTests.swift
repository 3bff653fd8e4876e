import Testing
import Tidemark

private func lsn(_ number: UInt64) -> LSN { LSN(high: number, low: 0) }

@Suite("What an ingestor does next")
struct IngestDecisionTests {
    private func decide(
        _ watermark: UInt64, max: UInt64, min: UInt64? = 1, beginning: IngestDecision.Beginning = .complete,
        onGap: GapPolicy = .stop, isResyncRequested: Bool = false, restart: UInt64? = nil, fault: TidemarkError? = nil
    ) -> IngestDecision {
        let own = CaptureBounds(
            minLSN: min.map(lsn), restartedAt: restart.map(lsn), restartReason: "lost its triggers", fault: fault)
        let bounds = SourceBounds(maxLSN: lsn(max), maxCommitTime: nil, captures: ["dbo_orders": own])
        return .next(
            capture: "dbo_orders", watermark: lsn(watermark), bounds: bounds, beginning: beginning, onGap: onGap,
            isResyncRequested: isResyncRequested)
    }

    private func read(_ after: UInt64, _ through: UInt64, from: UInt64, isBounded: Bool = true) -> IngestDecision {
        .read(LSNWindow(after: lsn(after), through: lsn(through)), from: lsn(from), isBounded: isBounded)
    }

    @Test("a watermark at the end of the log has nothing to read")
    func idle() {
        #expect(decide(7, max: 7) == .idle)
        #expect(decide(0, max: 0) == .idle)
        #expect(decide(7, max: 7, min: 7, beginning: .unknown) == .idle)
    }

    @Test("changes after the watermark are read up to the end of the log, rows or no rows")
    func read() {
        #expect(decide(3, max: 7) == read(3, 7, from: 3))
        #expect(decide(3, max: 7, min: 3, beginning: .unknown) == read(3, 7, from: 3))
    }

    @Test("a new capture is looked at first, and a complete log read from its beginning, whatever its min LSN")
    func start() {
        #expect(decide(0, max: 7, beginning: .unknown) == .inspect)
        #expect(decide(0, max: 7) == read(0, 7, from: 0))
        #expect(decide(0, max: 7, min: 5) == read(0, 7, from: 0))
    }

    @Test("a new capture with older rows stages them where the log stands, above zero also when it is empty")
    func snapshot() {
        #expect(decide(0, max: 7, min: 5, beginning: .incomplete) == .snapshot(at: lsn(7)))
        #expect(decide(0, max: 0, min: 0, beginning: .incomplete) == .snapshot(at: .first))
    }

    @Test("a new capture that lies beyond the end of the log waits for it, and stages older rows where it begins")
    func beyondTheLog() {
        for max in 0...4 as ClosedRange<UInt64> {
            #expect(decide(0, max: max, min: 5) == .idle)
            #expect(decide(0, max: max, min: 5, beginning: .incomplete) == .snapshot(at: lsn(5)))
            #expect(decide(0, max: max, min: 5, beginning: .staged(at: lsn(5), hasPassed: true)) == .idle)
        }
        #expect(decide(0, max: 5, min: 5) == read(0, 5, from: 0))
    }

    @Test("a capture of which the source tells no min LSN yet waits for it")
    func notBegun() {
        for beginning in [.unknown, .complete, .incomplete] as [IngestDecision.Beginning] {
            #expect(decide(0, max: 7, min: nil, beginning: beginning) == .idle)
        }
        #expect(decide(3, max: 7, min: nil) == .idle)
    }

    @Test("a log of which nothing is left says nothing about a watermark")
    func emptyLog() {
        #expect(decide(7, max: 0) == .idle)
        #expect(decide(7, max: 0, min: 9) == .idle)
    }

    @Test("older rows are published with all changes since, once the log has passed the end of their reading")
    func afterSnapshot() {
        #expect(decide(0, max: 7, beginning: .staged(at: lsn(7), hasPassed: false)) == .idle)
        #expect(decide(0, max: 9, beginning: .staged(at: lsn(7), hasPassed: false)) == .idle)
        #expect(
            decide(0, max: 9, beginning: .staged(at: lsn(7), hasPassed: true)) == read(7, 9, from: 0, isBounded: false))
        #expect(
            decide(0, max: 7, beginning: .staged(at: lsn(7), hasPassed: true)) == read(7, 7, from: 0, isBounded: false))
        #expect(decide(0, max: 0, beginning: .staged(at: .first, hasPassed: true)) == .idle)
    }

    @Test("a watermark below the min LSN is a gap, also when there is nothing new")
    func gap() {
        let gap = TidemarkError.gap(capture: "dbo_orders", watermark: lsn(4), minLSN: lsn(5))
        #expect(decide(4, max: 7, min: 5) == .stop(gap))
        #expect(decide(4, max: 4, min: 5) == .stop(gap))
    }

    @Test("on a gap the table can be read, staged where the log stands, and published from the watermark on")
    func gapSnapshot() {
        func decide(_ max: UInt64, min: UInt64 = 5, _ beginning: IngestDecision.Beginning) -> IngestDecision {
            self.decide(4, max: max, min: min, beginning: beginning, onGap: .snapshot)
        }
        #expect(decide(7, .unknown) == .snapshot(at: lsn(7)))
        #expect(decide(4, .unknown) == .snapshot(at: lsn(5)))
        #expect(decide(9, .staged(at: lsn(7), hasPassed: false)) == .idle)
        #expect(decide(4, .staged(at: lsn(5), hasPassed: true)) == .idle)
        #expect(decide(9, .staged(at: lsn(7), hasPassed: true)) == read(7, 9, from: 4, isBounded: false))
        // Cleanup goes on meanwhile; what was purged by then is found out when it is read.
        #expect(decide(9, min: 8, .staged(at: lsn(7), hasPassed: true)) == read(7, 9, from: 4, isBounded: false))
        // No gap, no snapshot.
        #expect(decide(7, min: 4, .unknown) == read(4, 7, from: 4))
        #expect(decide(4, min: 4, .unknown) == .idle)
        guard case .stop(.otherHistory) = decide(3, .unknown) else {
            Issue.record("it does not stop")
            return
        }
    }

    @Test(
        "a capture made anew after the watermark has its table read, whatever is set for gaps",
        arguments: GapPolicy.allCases)
    func restart(onGap: GapPolicy) {
        func decide(
            _ watermark: UInt64, max: UInt64, min: UInt64 = 1, _ beginning: IngestDecision.Beginning
        ) -> IngestDecision {
            self.decide(watermark, max: max, min: min, beginning: beginning, onGap: onGap, restart: 5)
        }
        #expect(decide(4, max: 7, .unknown) == .snapshot(at: lsn(7)))
        #expect(decide(4, max: 5, .unknown) == .snapshot(at: lsn(5)))
        #expect(decide(4, max: 7, min: 6, .unknown) == .snapshot(at: lsn(7)))
        #expect(decide(4, max: 9, .staged(at: lsn(7), hasPassed: false)) == .idle)
        #expect(decide(4, max: 9, .staged(at: lsn(7), hasPassed: true)) == read(7, 9, from: 4, isBounded: false))
        #expect(decide(4, max: 9, .staged(at: lsn(5), hasPassed: true)) == read(5, 9, from: 4, isBounded: false))
        // Rows read before, for a gap or by a new capture, lack what was not captured.
        #expect(decide(4, max: 9, .staged(at: lsn(4), hasPassed: true)) == .snapshot(at: lsn(9)))
        #expect(decide(0, max: 9, .staged(at: lsn(4), hasPassed: true)) == .snapshot(at: lsn(9)))
        #expect(decide(0, max: 9, .staged(at: lsn(5), hasPassed: true)) == read(5, 9, from: 0, isBounded: false))
        for beginning in [.unknown, .complete, .incomplete] as [IngestDecision.Beginning] {
            #expect(decide(0, max: 9, beginning) == .snapshot(at: lsn(9)))
        }
        // Nothing is behind.
        #expect(decide(5, max: 7, .unknown) == read(5, 7, from: 5))
        #expect(decide(7, max: 7, .unknown) == .idle)
    }

    @Test("a capture whose table it does not fit stops with what is wrong, whatever else there would be to do")
    func fault() {
        let fault = TidemarkError.schema("the table is gone")
        for watermark in [0, 3, 7] as [UInt64] {
            #expect(decide(watermark, max: 7, fault: fault) == .stop(fault))
        }
        #expect(decide(0, max: 9, beginning: .staged(at: lsn(7), hasPassed: true), fault: fault) == .stop(fault))
    }

    @Test("what is staged is vouched for unless the capture was made anew since, or does not fit its table")
    func trouble() {
        func trouble(_ watermark: UInt64, _ own: CaptureBounds) -> TidemarkError? {
            own.trouble(of: "dbo_orders", at: lsn(watermark))
        }
        let restarted = CaptureBounds(minLSN: lsn(1), restartedAt: lsn(5), restartReason: "lost its triggers")
        #expect(trouble(0, restarted) == nil)
        #expect(trouble(5, restarted) == nil)
        #expect(
            trouble(4, restarted)
                == .restarted(
                    capture: "dbo_orders", watermark: lsn(4), restartedAt: lsn(5), reason: "lost its triggers"))
        let fault = TidemarkError.schema("the table is gone")
        #expect(trouble(0, CaptureBounds(minLSN: lsn(1), restartedAt: lsn(5), fault: fault)) == fault)
        #expect(trouble(3, CaptureBounds(minLSN: lsn(9))) == nil)
    }

    @Test("a watermark beyond the end of the log stops: the source is another one, or was set back")
    func ahead() {
        guard case .stop(.otherHistory(let message)) = decide(8, max: 7) else {
            Issue.record("it does not stop")
            return
        }
        #expect(message.contains("tidemark resync"))
    }

    @Test("a table that is to be read anew is staged beyond its watermark, whatever the gap policy, and published once")
    func resync() {
        let wanted = { (max: UInt64, beginning: IngestDecision.Beginning) in
            decide(4, max: max, min: 1, beginning: beginning, isResyncRequested: true)
        }
        #expect(wanted(7, .unknown) == .snapshot(at: lsn(7)))
        // On an idle source no LSN of the log lies beyond the watermark.
        #expect(wanted(4, .unknown) == .snapshot(at: lsn(4).next))
        #expect(wanted(4, .staged(at: lsn(4).next, hasPassed: true)) == .idle)
        #expect(
            wanted(5, .staged(at: lsn(4).next, hasPassed: true))
                == .read(LSNWindow(after: lsn(4).next, through: lsn(5)), from: lsn(4), isBounded: false))
        #expect(
            decide(4, max: 7, min: 6, beginning: .unknown, isResyncRequested: true) == .snapshot(at: lsn(7)),
            "also where there is a gap")
        #expect(decide(0, max: 7, beginning: .unknown, isResyncRequested: true) == .inspect)
    }

    @Test("a capture the source no longer offers stops with a remedy")
    func missing() {
        let bounds = SourceBounds(maxLSN: lsn(7), maxCommitTime: nil, captures: [:])
        guard
            case .stop(.unavailable(let message)) = IngestDecision.next(
                capture: "dbo_orders", watermark: lsn(3), bounds: bounds, beginning: .unknown, onGap: .stop)
        else {
            Issue.record("it does not stop")
            return
        }
        #expect(message.contains("dbo_orders"))
    }
}

@Suite("What a projection worker does next")
struct ProjectionDecisionTests {
    private static let captures: Set<String> = ["dbo_a", "dbo_b"]

    private func state(
        at checkpoint: UInt64, status: ProjectionState.Status = .ok, hash: String = "abc",
        captures: Set<String> = Self.captures
    ) -> ProjectionState {
        ProjectionState(
            checkpoints: Dictionary(uniqueKeysWithValues: captures.map { ($0, lsn(checkpoint)) }), status: status,
            asOfLSN: lsn(checkpoint), asOfTime: nil, builtAt: nil, definitionHash: hash, rowsWritten: 0, lastError: nil)
    }

    private func decide(
        _ state: ProjectionState?, cutoff: UInt64, complete: UInt64 = 0, base: UInt64 = 0, furthest: UInt64? = nil
    ) -> ProjectionDecision {
        .next(
            name: "totals", state: state, definitionHash: "abc", captures: Self.captures, cutoff: lsn(cutoff),
            completeFrom: lsn(complete), replicaBase: lsn(base), furthest: lsn(furthest ?? cutoff))
    }

    @Test("a build waits until the cutoff reaches what readers have seen, unless it never will")
    func neverBack() {
        for stale in [state(at: 10, hash: "old"), state(at: 10, status: .initial), state(at: 10, captures: ["dbo_a"])] {
            #expect(decide(stale, cutoff: 2, furthest: 10) == .wait(until: lsn(10)))
            #expect(decide(stale, cutoff: 2, furthest: 12) == .wait(until: lsn(10)))
            guard case .build(asOf: lsn(10), _) = decide(stale, cutoff: 10, furthest: 12) else {
                Issue.record("it is not built")
                return
            }
            // The watermarks were reset under it.
            guard case .build(asOf: lsn(2), _) = decide(stale, cutoff: 2, furthest: 3) else {
                Issue.record("it is not built")
                return
            }
        }
    }

    @Test("nothing is done before anything is ingested")
    func nothingIngested() {
        #expect(decide(nil, cutoff: 0) == .idle)
        #expect(decide(state(at: 3), cutoff: 0) == .idle)
    }

    @Test("a projection that was never built is built at the cutoff")
    func new() {
        #expect(decide(nil, cutoff: 5) == .build(asOf: lsn(5), reason: .new))
        let failedBefore = ProjectionState(
            checkpoints: [:], status: .error, asOfLSN: nil, asOfTime: nil, builtAt: nil, definitionHash: "",
            rowsWritten: 0,
            lastError: "bad SQL")
        #expect(decide(failedBefore, cutoff: 5) == .build(asOf: lsn(5), reason: .new))
    }

    @Test("a rebuild that was asked for is made, also when there is nothing new")
    func requested() {
        #expect(decide(state(at: 5, status: .initial), cutoff: 5) == .build(asOf: lsn(5), reason: .requested))
    }

    @Test("another definition, or other captures, mean another table")
    func definitionChanged() {
        #expect(decide(state(at: 5, hash: "old"), cutoff: 5) == .build(asOf: lsn(5), reason: .definitionChanged))
        #expect(
            decide(state(at: 5, captures: ["dbo_a"]), cutoff: 6) == .build(asOf: lsn(6), reason: .definitionChanged))
    }

    @Test("a projection below the cutoff advances to it")
    func advance() {
        #expect(decide(state(at: 3), cutoff: 5) == .advance(from: lsn(3), to: lsn(5)))
        #expect(decide(state(at: 3), cutoff: 5, base: 3) == .advance(from: lsn(3), to: lsn(5)))
        #expect(decide(state(at: 3, status: .error), cutoff: 5) == .advance(from: lsn(3), to: lsn(5)))
    }

    @Test("a projection at the cutoff is idle, even below the replica's base")
    func idle() {
        #expect(decide(state(at: 5), cutoff: 5) == .idle)
        #expect(decide(state(at: 5), cutoff: 5, base: 9) == .idle)
    }

    @Test("an error of before is cleared when the table is at the cutoff")
    func confirm() {
        #expect(decide(state(at: 5, status: .error), cutoff: 5) == .confirm(at: lsn(5)))
        #expect(decide(state(at: 5, status: .error), cutoff: 5, base: 9) == .confirm(at: lsn(5)))
    }

    @Test("a checkpoint older than the replica is not advanced from but built over")
    func tooOld() {
        #expect(decide(state(at: 3), cutoff: 5, base: 4) == .build(asOf: lsn(5), reason: .checkpointTooOld))
    }

    @Test("nothing is shown at a cutoff at which a snapshot stands for changes that could not be read")
    func incomplete() {
        #expect(decide(nil, cutoff: 5, complete: 6) == .wait(until: lsn(6)))
        #expect(decide(nil, cutoff: 6, complete: 6) == .build(asOf: lsn(6), reason: .new))
        #expect(decide(state(at: 3), cutoff: 5, complete: 6) == .wait(until: lsn(6)))
        #expect(decide(state(at: 3), cutoff: 6, complete: 6) == .advance(from: lsn(3), to: lsn(6)))
        #expect(decide(state(at: 3), cutoff: 5, complete: 6, base: 4) == .wait(until: lsn(6)))
        #expect(decide(state(at: 5, status: .initial), cutoff: 5, complete: 6) == .wait(until: lsn(6)))
        // What was shown before stays.
        #expect(decide(state(at: 5), cutoff: 5, complete: 6) == .idle)
        #expect(decide(state(at: 5, status: .error), cutoff: 5, complete: 6) == .confirm(at: lsn(5)))
    }

    @Test("nothing is built at a cutoff the replica has left behind")
    func wait() {
        #expect(decide(nil, cutoff: 5, base: 6) == .wait(until: lsn(6)))
        #expect(decide(state(at: 3), cutoff: 5, base: 6) == .wait(until: lsn(6)))
        #expect(decide(state(at: 5, status: .initial), cutoff: 5, base: 6) == .wait(until: lsn(6)))
        #expect(decide(state(at: 5, hash: "old"), cutoff: 5, base: 6) == .wait(until: lsn(6)))
    }

    @Test("a checkpoint beyond the cutoff stops with an error that names the projection")
    func beyond() {
        guard case .stop(.projection("totals", _)) = decide(state(at: 6), cutoff: 5) else {
            Issue.record("it does not stop")
            return
        }
    }

    @Test("the cutoff is the least watermark over the captures needed, with its commit time")
    func cutoff() throws {
        func watermark(_ number: UInt64) -> Watermark {
            Watermark(
                lastIngestedLSN: lsn(number), lastCommitTime: Timestamp(microseconds: Int64(number)), rowsIngested: 0,
                status: .ok, lastError: nil, updatedAt: Timestamp(microseconds: 0))
        }
        let watermarks = ["dbo_a": watermark(9), "dbo_b": watermark(4), "dbo_c": watermark(2)]
        let cutoff = try #require(ProjectionDecision.cutoff(of: ["dbo_a", "dbo_b"], watermarks: watermarks))
        #expect(cutoff.lsn == lsn(4))
        #expect(cutoff.commitTime == Timestamp(microseconds: 4))
        #expect(ProjectionDecision.cutoff(of: ["dbo_a", "dbo_x"], watermarks: watermarks) == nil)
        #expect(ProjectionDecision.cutoff(of: [], watermarks: watermarks) == nil)
        var later = watermarks
        later["dbo_b"]?.completeFrom = lsn(2)
        #expect(ProjectionDecision.completeFrom(of: ["dbo_a", "dbo_b"], watermarks: later) == lsn(2))
        #expect(ProjectionDecision.completeFrom(of: ["dbo_a"], watermarks: later) == .zero)
    }
}
