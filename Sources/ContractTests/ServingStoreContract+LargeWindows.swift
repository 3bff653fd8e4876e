import Dispatch
import Synchronization
import Testing
import Tidemark

/// Windows and snapshots that take several transactions, and those that meet there.
extension ServingStoreContract {
    private static let wide = Capture(
        instance: "dbo_wide", table: "wide",
        columns: [Column(name: "id", type: .int64, isNullable: false), Column(name: "data", type: .binary)], key: ["id"]
    )
    private static let wholeWindow = LSNWindow(after: .zero, through: lsn(20))

    /// Inserts of one wide row each, one to a block: four of them fill a transaction.
    private static func blocks(_ ids: ClosedRange<UInt64>, bytes: Int = BlockLimits.transactionBytes / 4 + 1)
        -> [ChangeBatch]
    {
        let data = [UInt8](repeating: 7, count: bytes)
        return ids.map { id in
            var batch = ChangeBatch(columns: wide.columns)
            batch.lsns.append(lsn(id))
            batch.commandIDs.append(1)
            batch.seqvals.append(lsn(id))
            batch.operations.append(ChangeOperation.insert.rawValue)
            batch.columns[0].append(Int64(id))
            data.withUnsafeBytes { batch.columns[1].append(bytes: $0) }
            return batch
        }
    }

    private static func preparedWide(_ fixture: any ServingFixture) async throws -> any ServingStore {
        try await fixture.store.prepareStaging(for: wide, source: source)
        return fixture.store
    }

    @discardableResult
    private static func ingest(
        _ store: any ServingStore, snapshot: StagedSnapshot? = nil, _ reader: any BlockReader<ChangeBatch>
    ) async throws -> Int {
        try await store.ingest(
            wide, source: source, window: wholeWindow, commitTime: nil, snapshot: snapshot, from: reader)
    }

    /// The ids of what is staged up to the watermark.
    private static func seen(_ store: any ServingStore) async throws -> [Int64] {
        let watermark = try await wideWatermark(store)
        let reader = try await store.staged(wide, in: LSNWindow(after: .zero, through: watermark), limits: .standard)
        var ids: [Int64] = []
        while let block = try reader.next() {
            for row in 0..<block.count { ids.append(block.columns[0].value(row)) }
        }
        return ids
    }

    private static func wideWatermark(_ store: any ServingStore) async throws -> LSN {
        try #require(try await store.watermarks(source: source)[wide.instance]).lastIngestedLSN
    }

    private static func expectConflict(
        sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
    ) async {
        let error = await #expect(throws: TidemarkError.self, sourceLocation: sourceLocation) { try await body() }
        guard let error else { return }
        if case .conflict = error { return }
        Issue.record("not a conflict: \(error)", sourceLocation: sourceLocation)
    }

    private static let failure = TidemarkError.transient("the source went away")

    static let largeWindows: [Clause] = [
        Clause("a window larger than a transaction is seen at once, and others write while its reader is waited for") {
            fixture in
            let store = try await preparedWide(fixture)
            let other = try await fixture.another()
            let reader = HookedReader(blocks(1...6), before: 4) {
                #expect(try await seen(other).isEmpty)
                #expect(try await wideWatermark(other) == .zero)
                // Were a transaction open, this would wait for it, and it for this.
                try await other.recordError("another writer", projection: "any")
            }
            #expect(try await ingest(store, reader) == 6)
            #expect(reader.hasRun)
            #expect(try await seen(store) == [1, 2, 3, 4, 5, 6])
            #expect(try await wideWatermark(store) == wholeWindow.through)
            #expect(try await store.watermarks(source: source)[wide.instance]?.rowsIngested == 6)
        },
        Clause("what an attempt leaves that was cut short between two transactions is never seen") { fixture in
            let store = try await preparedWide(fixture)
            await #expect(throws: failure) { try await ingest(store, ListReader(blocks(1...5), failure: failure)) }
            #expect(try await wideWatermark(store) == .zero)
            // Among them keys that the first attempt has staged.
            try await ingest(fixture.another(), ListReader(blocks(4...7, bytes: 10)))
            #expect(try await seen(store) == [4, 5, 6, 7])
        },
        Clause("an attempt cut short is made again with more than a transaction, and nothing is doubled") { fixture in
            let store = try await preparedWide(fixture)
            await #expect(throws: failure) { try await ingest(store, ListReader(blocks(1...5), failure: failure)) }
            try await ingest(store, ListReader(blocks(1...6)))
            #expect(try await seen(store) == [1, 2, 3, 4, 5, 6])
        },
        Clause("whoever stages a window that another has finished meanwhile has a conflict") { fixture in
            let store = try await preparedWide(fixture)
            let other = try await fixture.another()
            let reader = HookedReader(blocks(1...6), before: 4) {
                try await ingest(other, ListReader(blocks(1...6, bytes: 10)))
            }
            await expectConflict { try await ingest(store, reader) }
            #expect(try await seen(store) == [1, 2, 3, 4, 5, 6])
        },
        Clause("whoever stages a window that another has taken over has a conflict, and nothing is moved") { fixture in
            let store = try await preparedWide(fixture)
            let other = try await fixture.another()
            let reader = HookedReader(blocks(1...6), before: 4) {
                // It has staged a part of the window, and is cut short.
                await #expect(throws: failure) { try await ingest(other, ListReader(blocks(8...12), failure: failure)) }
            }
            await expectConflict { try await ingest(store, reader) }
            #expect(try await wideWatermark(store) == .zero)
            try await ingest(store, ListReader(blocks(1...6)))
            #expect(try await seen(store) == [1, 2, 3, 4, 5, 6])
        },
        Clause("a large snapshot and a large window after it are seen together, also when the window is made again") {
            fixture in
            let store = try await preparedWide(fixture)
            let snapshot = try await store.stageSnapshot(
                of: wide, source: source, after: .zero, from: ListReader(blocks(1...6)))
            #expect(snapshot.rows == 6)
            #expect(snapshot.lsn == lsn(6))
            await #expect(throws: failure) {
                try await ingest(store, snapshot: snapshot, ListReader(blocks(7...11), failure: failure))
            }
            #expect(try await seen(store).isEmpty)
            try await ingest(store, snapshot: snapshot, ListReader(blocks(7...12)))
            #expect(try await seen(store) == Array(1...12))
            #expect(try await store.watermarks(source: source)[wide.instance]?.rowsIngested == 12)
        },
        Clause("a snapshot that another has replaced is not published") { fixture in
            let store = try await preparedWide(fixture)
            let first = try await store.stageSnapshot(
                of: wide, source: source, after: .zero, from: ListReader(blocks(1...2, bytes: 10)))
            let second = try await fixture.another().stageSnapshot(
                of: wide, source: source, after: .zero, from: ListReader(blocks(3...3, bytes: 10)))
            await expectConflict { try await ingest(store, snapshot: first, ListReader(blocks(7...7, bytes: 10))) }
            #expect(try await wideWatermark(store) == .zero)
            try await ingest(store, snapshot: second, ListReader(blocks(7...7, bytes: 10)))
            #expect(try await seen(store) == [3, 7])
        },
        Clause("a watermark does not move over what is staged without it") { fixture in
            let store = try await preparedWide(fixture)
            await #expect(throws: failure) { try await ingest(store, ListReader(blocks(1...5), failure: failure)) }
            await expectConflict {
                try await store.advance(
                    [WatermarkMove(capture: wide.instance, window: wholeWindow)], source: source, commitTime: nil)
            }
            #expect(try await seen(store).isEmpty)
        },
        Clause("a step of many changes is applied as a whole, or not at all") { fixture in
            let store = fixture.store
            let table = ProjectionTable(
                projection: "many", columns: [Column(name: "id", type: .int64, isNullable: false), wide.columns[1]],
                key: ["id"])
            func rows(_ ids: ClosedRange<UInt64>) -> [RowBatch] { blocks(ids).map { RowBatch(columns: $0.columns) } }
            let build = ProjectionBuild(
                table: table, replacing: nil, asOf: lsn(1), asOfTime: nil, captures: ["dbo_wide"], definitionHash: "abc"
            )
            #expect(try await store.build(build, rows: ListReader(rows(1...6))) == 6)
            let step = ProjectionCommit(
                table: table, from: lsn(1), to: lsn(2), asOfTime: nil, captures: ["dbo_wide"], definitionHash: "abc")
            let changes =
                rows(1...2).map { ProjectionChange.deletes(RowBatch(columns: [$0.columns[0]])) }
                + rows(7...12).map { .upserts($0) }
            await #expect(throws: failure) {
                try await store.commit(step, changes: ListReader(changes, failure: failure))
            }
            #expect(try await store.projection("many")?.asOfLSN == lsn(1))
            #expect(try await store.commit(step, changes: ListReader(changes)) == 8)
            let (state, reader) = try await store.readProjection("many", columns: table.columns, limits: .standard)
            #expect(state.asOfLSN == lsn(2))
            #expect(try reader.blocks().flatMap { $0.readable.map { $0[0] } }.count == 10)
        },
    ]
}

/// Hands out blocks from memory, and has something done before one of them.
private final class HookedReader: BlockReader, @unchecked Sendable {
    private var blocks: ArraySlice<ChangeBatch>
    private let index: Int
    private let hook: @Sendable () async throws -> Void
    private let ran = Mutex(false)

    var hasRun: Bool { ran.withLock { $0 } }

    init(_ blocks: [ChangeBatch], before index: Int, _ hook: @escaping @Sendable () async throws -> Void) {
        self.blocks = blocks[...]
        self.index = index
        self.hook = hook
    }

    func next() throws -> ChangeBatch? {
        if blocks.startIndex == index, !hasRun {
            ran.withLock { $0 = true }
            let outcome = Mutex<Result<Void, any Error>>(.success(()))
            let done = DispatchSemaphore(value: 0)
            Task { [hook] in
                do { try await hook() } catch { outcome.withLock { $0 = .failure(error) } }
                done.signal()
            }
            done.wait()
            try outcome.withLock { try $0.get() }
        }
        return blocks.popFirst()
    }
}
