import Testing
import Tidemark

/// What a serving store promises about the histories of its sources.
extension ServingStoreContract {
    static let sources: [Clause] = [
        Clause("a source is unknown until it is noted, and then known by what it said") { fixture in
            let store = try await prepared(fixture)
            #expect(try await store.source(source) == nil)
            try await store.recordSource(source, identity: identity, mismatch: nil)
            let record = try #require(try await store.source(source))
            #expect(record.identity == identity)
            #expect(record.epoch == 0 && record.mismatch == nil && !record.isResyncRequested)
            #expect(try await store.source("another") == nil)
        },
        Clause("while a source has another history its captures are ERROR, and nothing is staged from it") { fixture in
            let store = try await prepared(fixture)
            try await ingest(store, 1...3)
            try await store.recordSource(source, identity: identity, mismatch: nil)
            let other = SourceIdentity(["source_id": "other"])
            try await store.recordSource(source, identity: other, mismatch: "put back from a backup")
            #expect(try await store.source(source)?.identity == identity, "what it was stays known")
            #expect(try await watermark(store).status == .error)
            #expect(try await watermark(store).lastError == "put back from a backup")
            await expect(isOtherHistory) { try await ingest(store, 4...5) }
            await expect(isOtherHistory) {
                let move = WatermarkMove(capture: capture.instance, window: window(3, 3))
                try await store.advance([move], source: source, commitTime: nil)
            }
            await expect(isOtherHistory) {
                _ = try await store.stageSnapshot(
                    of: capture, source: source, after: lsn(3), from: ListReader([snapshot(1...1, at: 4)]))
            }
            #expect(try await watermark(store).status == .error)
            #expect(try await watermark(store).lastIngestedLSN == lsn(3))

            try await store.recordSource(source, identity: identity, mismatch: nil)
            try await ingest(store, 4...5)
            #expect(try await watermark(store).status == .ok)
        },
        Clause("a history begun anew has captures at zero and projections to be built, their tables as they were") {
            fixture in
            let store = try await prepared(fixture)
            try await ingest(store, 1...3)
            try await build(store, [("a", 1, 5), ("b", 1, 6)], at: 3, captures: [capture.instance])
            try await store.recordSource(source, identity: identity, mismatch: "put back from a backup")
            _ = try await store.requestResync(source: source, capture: nil)
            let other = SourceIdentity(["source_id": "other"])
            try await store.startOver(source: source, identity: other)

            let record = try #require(try await store.source(source))
            #expect(record.identity == other && record.epoch == 1)
            #expect(record.mismatch == nil && !record.isResyncRequested)
            let watermark = try await watermark(store)
            #expect(watermark.lastIngestedLSN == .zero && watermark.status == .initial)
            #expect(watermark.lastError == nil && watermark.rowsIngested == 0 && watermark.lastCommitTime == nil)
            let state = try #require(try await store.projection("totals"))
            #expect(state.status == .initial && state.checkpoints.isEmpty)
            #expect(try await read(store).1.count == 2)

            // What was staged before is gone with the first window of the new history.
            try await ingest(store, 1...1)
            #expect(try await staged(store, window(0, 9)).flatMap(\.lsns) == [lsn(1)])
        },
        Clause("a capture that begins anew has the projections built that consumed it before") { fixture in
            let store = try await prepared(fixture)
            try await build(store, [("a", 1, 5)], at: 3, captures: [capture.instance])
            #expect(try await store.projection("totals")?.status == .ok)
            try await ingest(store, 1...2)
            #expect(try await store.projection("totals")?.status == .initial)
        },
        Clause("a resync that is asked for is known until the table was read anew") { fixture in
            let store = try await prepared(fixture)
            #expect(try await !store.requestResync(source: source, capture: nil), "the source is not known")
            #expect(try await !store.requestResync(source: source, capture: "dbo_others"))
            try await ingest(store, 1...3)
            #expect(try await store.requestResync(source: source, capture: capture.instance))
            #expect(try await watermark(store).isResyncRequested)
            try await ingest(store, 4...5)
            #expect(try await watermark(store).isResyncRequested)
            let read = try await store.stageSnapshot(
                of: capture, source: source, after: lsn(5), from: ListReader([snapshot(1...1, at: 6)]))
            try await ingest(store, first: 5, 7...8, snapshot: read)
            #expect(try await !watermark(store).isResyncRequested)

            try await store.recordSource(source, identity: identity, mismatch: nil)
            #expect(try await store.requestResync(source: source, capture: nil))
            #expect(try await store.source(source)?.isResyncRequested == true)
        },
        Clause("changes staged under one source's name are not taken up under another") { fixture in
            let store = try await prepared(fixture)
            // Nothing is staged yet: the name may still change.
            try await store.prepareStaging(for: capture, source: "another")
            try await ingest(store, 1...3)
            await expect(isConfiguration) { try await store.prepareStaging(for: capture, source: "another") }
            try await store.prepareStaging(for: capture, source: source)
            #expect(try await watermark(store).lastIngestedLSN == lsn(3))
        },
    ]

    private static let identity = SourceIdentity(["source_id": "0123456789abcdef"])

    private static func isOtherHistory(_ error: TidemarkError) -> Bool {
        if case .otherHistory = error { true } else { false }
    }

    private static func isConfiguration(_ error: TidemarkError) -> Bool {
        if case .configuration = error { true } else { false }
    }
}
