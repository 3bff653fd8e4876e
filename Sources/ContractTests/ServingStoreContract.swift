import Foundation
import Testing
public import Tidemark

/// A serving database that is there, bootstrapped, and empty.
public protocol ServingFixture: Sendable {
    var store: any ServingStore { get }

    /// Another pipeline's view of the same database.
    func another() async throws -> any ServingStore

    /// Runs SQL as a user of the database does.
    func execute(_ sql: String) async throws

    /// The columns of the indexes that users have made on a table, by name.
    func indexedColumns(of table: String) async throws -> [String]

    /// Whether text of this database may hold U+0000. Without it the clauses leave that character out.
    var keepsNUL: Bool { get }
}

extension ServingFixture {
    public var keepsNUL: Bool { true }
}

/// What every `ServingStore` promises.
public enum ServingStoreContract {
    public typealias Clause = ContractClause<any ServingFixture>

    public static let clauses: [Clause] = setup + sources + staging + projections + everyType + largeWindows

    // MARK: What the clauses work on

    static let source = "source1"

    static let capture = Capture(
        instance: "dbo_things", table: "things",
        columns: [
            Column(name: "id", type: .int64, isNullable: false),
            Column(name: "flag", type: .bool), Column(name: "tiny", type: .uint8),
            Column(name: "small", type: .int16), Column(name: "medium", type: .int32),
            Column(name: "real", type: .double), Column(name: "single", type: .float),
            Column(name: "amount", type: .decimal(precision: 18, scale: 2)),
            Column(name: "huge", type: .decimal(precision: 38, scale: 10)),
            Column(name: "name", type: .string), Column(name: "data", type: .binary),
            Column(name: "day", type: .date), Column(name: "hour", type: .time),
            Column(name: "at", type: .timestamp), Column(name: "instant", type: .timestampTZ),
            Column(name: "tag", type: .uuid),
        ],
        key: ["id"])

    static func lsn(_ number: UInt64) -> LSN { LSN(high: number, low: 0) }
    static func window(_ after: UInt64, _ through: UInt64) -> LSNWindow {
        LSNWindow(after: lsn(after), through: lsn(through))
    }

    /// Inserts of rows that hold nothing but an id, each with an LSN of its own.
    private static func changes(_ lsns: ClosedRange<UInt64>) -> ChangeBatch {
        var batch = ChangeBatch(columns: capture.columns)
        for number in lsns {
            batch.lsns.append(lsn(number))
            batch.commandIDs.append(1)
            batch.seqvals.append(lsn(number))
            batch.operations.append(2)
            batch.columns[0].append(Int64(number))
            for index in 1..<capture.columns.count { batch.columns[index].appendNull() }
        }
        return batch
    }

    /// Rows with the least and the greatest value of each type, and with empty ones.
    static func extremes(withNUL: Bool) -> ChangeBatch {
        var batch = ChangeBatch(columns: capture.columns)
        for row in 0..<3 {
            batch.lsns.append(LSN(high: .max, low: UInt16(row)))
            batch.commandIDs.append(row == 0 ? .min : .max)
            batch.seqvals.append(LSN(high: .max, low: .max))
            batch.operations.append(4)
        }
        let day: Int64 = 86_400_000_000
        let earliest: Int64 = -719_162 * day
        let latest: Int64 = 2_932_897 * day - 1
        let nines = DecimalText.power(38) - 1
        fill(&batch.columns[0], [Int64.min, 0, .max])
        fill(&batch.columns[1], [UInt8(0), 1, 1])
        fill(&batch.columns[2], [UInt8(0), 1, 255])
        fill(&batch.columns[3], [Int16.min, 0, .max])
        fill(&batch.columns[4], [Int32.min, 0, .max])
        fill(&batch.columns[5], [-Double.greatestFiniteMagnitude, 0.1, .leastNonzeroMagnitude])
        fill(&batch.columns[6], [-Float.greatestFiniteMagnitude, 0.1, .leastNormalMagnitude])
        for value in [-999_999_999_999_999_999, 0, 999_999_999_999_999_999] as [Int128] {
            batch.columns[7].append(scaled: value)
        }
        for value in [-nines, 1, nines] { batch.columns[8].append(scaled: value) }
        for text in ["", withNUL ? "nul \0 inside" : "nul inside", "ŝoes 靴 👟 '\"; --"] { batch.columns[9].append(text) }
        for bytes in [[], [0, 255, 0], [UInt8](0...255)] as [[UInt8]] {
            bytes.withUnsafeBytes { batch.columns[10].append(bytes: $0) }
        }
        fill(&batch.columns[11], [Int32(-719_162), 0, 2_932_896])
        fill(&batch.columns[12], [Int64(0), 1, day - 1])
        fill(&batch.columns[13], [earliest, -1, latest])
        fill(&batch.columns[14], [earliest, 1_000_000, latest])
        fill(&batch.columns[15], [Int128.min, 0, .max])
        return batch
    }

    private static func fill<Value: BitwiseCopyable>(_ column: inout ColumnVector, _ values: [Value]) {
        for value in values { column.append(value) }
    }

    static func prepared(_ fixture: any ServingFixture) async throws -> any ServingStore {
        try await fixture.store.prepareStaging(for: capture, source: source)
        return fixture.store
    }

    static func ingest(_ store: any ServingStore, _ lsns: ClosedRange<UInt64>) async throws {
        _ = try await store.ingest(
            capture, source: source, window: window(lsns.lowerBound - 1, lsns.upperBound), commitTime: nil,
            from: ListReader([changes(lsns)]))
    }

    /// An ingest of a window that begins before its first change.
    static func ingest(
        _ store: any ServingStore, first: UInt64, _ lsns: ClosedRange<UInt64>, snapshot: StagedSnapshot? = nil
    ) async throws {
        _ = try await store.ingest(
            capture, source: source, window: window(first, lsns.upperBound), commitTime: nil, snapshot: snapshot,
            from: ListReader([changes(lsns)]))
    }

    /// Rows of the source table that hold nothing but an id, as inserts at one LSN.
    static func snapshot(_ ids: ClosedRange<UInt64>, at number: UInt64) -> ChangeBatch {
        ChangeBatch(snapshot: RowBatch(columns: changes(ids).columns), at: lsn(number), firstRow: Int(ids.lowerBound))
    }

    /// Stages blocks of rows of the source table.
    private static func stage(
        _ store: any ServingStore, after watermark: UInt64 = 0, _ blocks: ChangeBatch...,
        failure: TidemarkError? = nil
    ) async throws -> StagedSnapshot {
        try await store.stageSnapshot(
            of: capture, source: source, after: lsn(watermark), from: ListReader(blocks, failure: failure))
    }

    static func staged(_ store: any ServingStore, _ window: LSNWindow) async throws -> [ChangeBatch] {
        try await store.staged(capture, in: window, blockRows: 100).blocks()
    }

    static func watermark(_ store: any ServingStore) async throws -> Watermark {
        try #require(try await store.watermarks(source: source)[capture.instance])
    }

    /// Whether `body` throws an error of the kind `isExpected` recognises.
    static func expect(
        _ isExpected: @escaping (TidemarkError) -> Bool, sourceLocation: SourceLocation = #_sourceLocation,
        _ body: () async throws -> Void
    ) async {
        do {
            try await body()
            Issue.record("no error was thrown", sourceLocation: sourceLocation)
        } catch let error as TidemarkError {
            #expect(isExpected(error), "\(error)", sourceLocation: sourceLocation)
        } catch {
            Issue.record("an error of another type was thrown: \(error)", sourceLocation: sourceLocation)
        }
    }

    private static func isConflict(_ error: TidemarkError) -> Bool {
        if case .conflict = error { true } else { false }
    }

    private static func isSchema(_ error: TidemarkError) -> Bool {
        if case .schema = error { true } else { false }
    }

    private static func names(_ projection: String) -> (TidemarkError) -> Bool {
        { error in if case .projection(projection, _) = error { true } else { false } }
    }

    // MARK: Setting up

    private static let setup: [Clause] = [
        Clause("bootstrap may be repeated and keeps the database's id") { fixture in
            let id = try await fixture.store.servingID()
            try await fixture.store.bootstrap()
            #expect(try await fixture.another().servingID() == id)
            #expect(!id.isEmpty)
            #expect(try await fixture.store.schemaVersion() == ControlSchema.version)
        },
        Clause("one pipeline at a time holds the lease") { fixture in
            let other = try await fixture.another()
            let lease = try #require(try await fixture.store.acquireLease())
            #expect(try await other.acquireLease() == nil)
            lease.release()
            let second = try #require(try await other.acquireLease())
            #expect(try await fixture.store.acquireLease() == nil)
            second.release()
        },
        Clause("a capture starts at LSN zero, and preparing it again changes nothing") { fixture in
            let store = try await prepared(fixture)
            #expect(try await watermark(store).lastIngestedLSN == .zero)
            #expect(try await watermark(store).status == .initial)
            try await ingest(store, 1...3)
            try await store.prepareStaging(for: capture, source: source)
            #expect(try await watermark(store).lastIngestedLSN == lsn(3))
            #expect(try await store.watermarks(source: "another").isEmpty)
        },
        Clause("a staging table with changes of other columns is refused") { fixture in
            let store = try await prepared(fixture)
            try await ingest(store, 1...1)
            for columns in [
                Array(capture.columns.dropLast()), capture.columns + [Column(name: "more", type: .string)],
                capture.columns.map { $0.name == "amount" ? Column(name: "amount", type: .int64) : $0 },
            ] {
                let other = Capture(instance: "dbo_things", table: "things", columns: columns, key: ["id"])
                await expect(isSchema) { try await store.prepareStaging(for: other, source: source) }
            }
        },
    ]

    // MARK: Staging

    private static let staging: [Clause] = [
        Clause("ingested changes come back unchanged, down to the extremes of every type") { fixture in
            let store = try await prepared(fixture)
            let batch = extremes(withNUL: fixture.keepsNUL)
            let all = LSNWindow(after: .zero, through: LSN(high: .max, low: .max))
            let time = Timestamp(microseconds: 1_700_000_000_123_456)
            let count = try await store.ingest(
                capture, source: source, window: all, commitTime: time, from: ListReader([batch]))
            #expect(count == 3)
            let back = try await staged(store, all)
            #expect(back.flatMap(\.lsns) == batch.lsns)
            #expect(back.flatMap(\.seqvals) == batch.seqvals)
            #expect(back.flatMap(\.commandIDs) == batch.commandIDs)
            #expect(back.flatMap(\.operations) == batch.operations)
            for (index, column) in capture.columns.enumerated() {
                #expect(back.first?.columns[index] == batch.columns[index], "\(column.name)")
            }
            let watermark = try await watermark(store)
            #expect(watermark.lastIngestedLSN == all.through)
            #expect(watermark.lastCommitTime == time)
            #expect(watermark.rowsIngested == 3)
            #expect(watermark.status == .ok)
        },
        Clause("NULLs come back as NULLs") { fixture in
            let store = try await prepared(fixture)
            try await ingest(store, 1...2)
            let back = try #require(try await staged(store, window(0, 2)).first)
            #expect(back.columns == changes(1...2).columns)
        },
        Clause("staged changes are read in log order, within the window, in blocks") { fixture in
            let store = try await prepared(fixture)
            var batch = changes(1...6)
            batch.lsns = [1, 2, 2, 2, 2, 3].map(lsn)
            batch.commandIDs = [1, 1, 1, 2, 10, 1]
            batch.seqvals = [9, 1, 2, 1, 1, 1].map(lsn)
            _ = try await store.ingest(
                capture, source: source, window: window(0, 3), commitTime: nil, from: ListReader([batch]))
            let blocks = try await store.staged(capture, in: window(1, 2), blockRows: 3).blocks()
            #expect(blocks.map(\.count) == [3, 1])
            #expect(blocks.flatMap(\.commandIDs) == [1, 1, 2, 10])
            #expect(blocks.flatMap(\.seqvals) == [1, 2, 1, 1].map(lsn))
        },
        Clause("an ingest from anywhere but the watermark is a conflict, and writes nothing") { fixture in
            let store = try await prepared(fixture)
            try await ingest(store, 1...3)
            let other = try await fixture.another()
            await expect(isConflict) { try await ingest(other, 2...5) }
            await expect(isConflict) { try await ingest(other, 5...6) }
            #expect(try await staged(store, window(0, 100)).flatMap(\.lsns) == [1, 2, 3].map(lsn))
            #expect(try await watermark(store).lastIngestedLSN == lsn(3))
        },
        Clause("an error of the reader undoes the ingest and comes out unchanged") { fixture in
            let store = try await prepared(fixture)
            let failure = TidemarkError.value(table: "things", column: "name", lsn: lsn(2), reason: "is broken")
            let reader = ListReader([changes(1...2)], failure: failure)
            await #expect(throws: failure) {
                _ = try await store.ingest(
                    capture, source: source, window: window(0, 5), commitTime: nil, from: reader)
            }
            #expect(try await staged(store, window(0, 100)).isEmpty)
            #expect(try await watermark(store).lastIngestedLSN == .zero)
            try await ingest(store, 1...5)
        },
        Clause("a change handed out twice is an error that names it") { fixture in
            let store = try await prepared(fixture)
            let reader = ListReader([changes(1...2), changes(2...3)])
            await expect({ isSchema($0) && "\($0)".contains(lsn(2).description) }) {
                _ = try await store.ingest(
                    capture, source: source, window: window(0, 3), commitTime: nil, from: reader)
            }
            #expect(try await staged(store, window(0, 100)).isEmpty)
        },
        Clause("watermarks advance over windows without changes, all or none") { fixture in
            let store = try await prepared(fixture)
            let other = Capture(
                instance: "dbo_more", table: "more", columns: [Column(name: "id", type: .int64)], key: ["id"])
            try await store.prepareStaging(for: other, source: source)
            let time = Timestamp(microseconds: 1_000_000)
            let moves = ["dbo_things", "dbo_more"].map { WatermarkMove(capture: $0, window: window(0, 7)) }
            try await store.advance(moves, source: source, commitTime: time)
            #expect(try await store.watermarks(source: source).values.allSatisfy { $0.lastIngestedLSN == lsn(7) })
            #expect(try await watermark(store).lastCommitTime == time)
            await expect(isConflict) {
                try await store.advance(
                    [
                        WatermarkMove(capture: "dbo_things", window: window(7, 9)),
                        WatermarkMove(capture: "dbo_more", window: window(6, 9)),
                    ], source: source, commitTime: nil)
            }
            #expect(try await watermark(store).lastIngestedLSN == lsn(7))
        },
        Clause("advancing to where a watermark is clears its error") { fixture in
            let store = try await prepared(fixture)
            try await ingest(store, 1...3)
            try await store.recordError("the disk is full", capture: capture.instance, source: source)
            try await store.advance(
                [WatermarkMove(capture: capture.instance, window: window(3, 3))], source: source, commitTime: nil)
            #expect(try await watermark(store).status == .ok)
            #expect(try await watermark(store).lastError == nil)
            #expect(try await watermark(store).lastIngestedLSN == lsn(3))
        },
        Clause("a capture's error is kept until its next ingest") { fixture in
            let store = try await prepared(fixture)
            try await store.recordError("the disk is full", capture: capture.instance, source: source)
            #expect(try await watermark(store).status == .error)
            #expect(try await watermark(store).lastError == "the disk is full")
            try await ingest(store, 1...1)
            #expect(try await watermark(store).status == .ok)
            #expect(try await watermark(store).lastError == nil)
        },
        Clause("rows staged from the source table become visible with the first ingest") { fixture in
            let store = try await prepared(fixture)
            let rows = try await stage(store, snapshot(1...3, at: 1), snapshot(4...5, at: 1))
            #expect(rows.rows == 5)
            #expect(try await watermark(store).lastIngestedLSN == .zero)
            try await ingest(store, first: 0, 7...8, snapshot: rows)
            let back = try await staged(store, window(0, 8))
            #expect(back.flatMap(\.lsns) == [1, 1, 1, 1, 1, 7, 8].map(lsn))
            #expect(back.flatMap(\.operations).allSatisfy { $0 == ChangeOperation.insert.rawValue })
            #expect(back.flatMap { $0.readable.map { $0.values[0] } } == ["1", "2", "3", "4", "5", "7", "8"])
            #expect(try await watermark(store).rowsIngested == 7)
            #expect(try await watermark(store).completeFrom == lsn(8))
            try await ingest(store, 9...9)
            #expect(try await watermark(store).completeFrom == lsn(8))
        },
        Clause("staging the source table's rows again replaces what was staged") { fixture in
            let store = try await prepared(fixture)
            let failure = TidemarkError.transient("the source went away")
            await #expect(throws: failure) { _ = try await stage(store, snapshot(1...3, at: 1), failure: failure) }
            #expect(try await watermark(store).lastIngestedLSN == .zero)
            let rows = try await stage(store, snapshot(8...9, at: 2))
            #expect(rows.rows == 2)
            try await ingest(store, first: 0, 3...3, snapshot: rows)
            let back = try await staged(store, window(0, 3))
            #expect(back.flatMap { $0.readable.map { $0.values[0] } } == ["8", "9", "3"])
            #expect(try await watermark(store).rowsIngested == 3)
        },
        Clause("an empty source table is staged as well") { fixture in
            let store = try await prepared(fixture)
            let rows = try await stage(store)
            #expect(rows.rows == 0)
            #expect(try await watermark(store).completeFrom == .zero)
            try await ingest(store, first: 0, 1...1, snapshot: rows)
            #expect(try await watermark(store).completeFrom == lsn(1))
        },
        Clause("what is staged after a gap takes the place of nothing that is published") { fixture in
            let store = try await prepared(fixture)
            try await ingest(store, 1...2)
            let failure = TidemarkError.transient("the source went away")
            await #expect(throws: failure) {
                _ = try await stage(store, after: 2, snapshot(5...6, at: 7), failure: failure)
            }
            let rows = try await stage(store, after: 2, snapshot(3...4, at: 8))
            #expect(rows.rows == 2)
            #expect(try await watermark(store).lastIngestedLSN == lsn(2))
            try await ingest(store, first: 2, 9...9, snapshot: rows)
            let back = try await staged(store, window(0, 9))
            #expect(back.flatMap(\.lsns) == [1, 2, 8, 8, 9].map(lsn))
            #expect(back.flatMap { $0.readable.map { $0.values[0] } } == ["1", "2", "3", "4", "9"])
            #expect(try await watermark(store).rowsIngested == 5)
            #expect(try await watermark(store).completeFrom == lsn(9))
        },
        Clause("the source table's rows are not staged when the watermark is another") { fixture in
            let store = try await prepared(fixture)
            try await ingest(store, 1...2)
            for other in [0, 1, 3] as [UInt64] {
                await expect(isConflict) { _ = try await stage(store, after: other, snapshot(1...3, at: 5)) }
            }
            #expect(try await staged(store, window(0, 9)).flatMap(\.lsns) == [1, 2].map(lsn))
        },
    ]

    // MARK: Projections

    static let table = ProjectionTable(
        projection: "totals",
        columns: [
            Column(name: "region", type: .string, isNullable: false),
            Column(name: "day", type: .date, isNullable: false),
            Column(name: "total", type: .decimal(precision: 38, scale: 2)),
        ], key: ["region", "day"])

    /// A table of one column.
    private static func narrow(_ projection: String) -> ProjectionTable {
        ProjectionTable(projection: projection, columns: [Column(name: "region", type: .string)], key: ["region"])
    }

    typealias Total = (region: String?, day: Int32, total: Int128?)

    static func rows(_ totals: [Total], keysOnly: Bool = false) -> RowBatch {
        var batch = RowBatch(columns: keysOnly ? table.keyColumns : table.columns)
        for total in totals {
            if let region = total.region { batch.columns[0].append(region) } else { batch.columns[0].appendNull() }
            batch.columns[1].append(total.day)
            guard !keysOnly else { continue }
            if let value = total.total { batch.columns[2].append(scaled: value) } else { batch.columns[2].appendNull() }
        }
        return batch
    }

    static func build(
        _ store: any ServingStore, _ totals: [Total], replacing: ProjectionState? = nil, at: UInt64 = 10,
        captures: [String] = ["dbo_a", "dbo_b"]
    ) async throws {
        let build = ProjectionBuild(
            table: table, replacing: replacing, asOf: lsn(at), asOfTime: Timestamp(microseconds: 1_000_000),
            captures: captures, definitionHash: "abc")
        let count = try await store.build(build, rows: ListReader(totals.map { rows([$0]) }))
        #expect(count == totals.count)
    }

    @discardableResult
    private static func commit(
        _ store: any ServingStore, _ from: UInt64, _ to: UInt64, deletes: [Total] = [], upserts: [Total] = [],
        captures: [String] = ["dbo_a", "dbo_b"]
    ) async throws -> Int {
        try await store.commit(
            step(from, to, captures: captures),
            changes: ListReader([.deletes(rows(deletes, keysOnly: true)), .upserts(rows(upserts))]))
    }

    private static func step(
        _ from: UInt64, _ to: UInt64, captures: [String] = ["dbo_a", "dbo_b"]
    ) -> ProjectionCommit {
        ProjectionCommit(
            table: table, from: lsn(from), to: lsn(to), asOfTime: Timestamp(microseconds: 2_000_000),
            captures: captures, definitionHash: "abc")
    }

    static func read(_ store: any ServingStore) async throws -> (ProjectionState, [[String?]]) {
        let (state, reader) = try await store.readProjection("totals", columns: table.columns, blockRows: 2)
        let rows = try reader.blocks().flatMap(\.readable)
        return (state, rows.sorted { "\($0)" < "\($1)" })
    }

    private static let projections: [Clause] = [
        Clause("a projection that was never built has no state and cannot be read") { fixture in
            let states = try await fixture.store.projections()
            #expect(states.isEmpty)
            #expect(try await fixture.store.projection("totals") == nil)
            await expect(names("totals")) { _ = try await read(fixture.store) }
        },
        Clause("a built projection is read with the state it was built at") { fixture in
            let huge = DecimalText.power(38) - 1
            try await build(fixture.store, [("north", 1, 150), ("north", 2, nil), ("süd", -1, -huge)])
            let (state, rows) = try await read(fixture.store)
            #expect(
                rows == [
                    ["north", "1", "1.50"], ["north", "2", nil],
                    ["süd", "-1", "-999999999999999999999999999999999999.99"],
                ])
            #expect(state.checkpoints == ["dbo_a": lsn(10), "dbo_b": lsn(10)])
            #expect(state.status == .ok)
            #expect(state.asOfLSN == lsn(10))
            #expect(state.asOfTime == Timestamp(microseconds: 1_000_000))
            #expect(state.builtAt != nil)
            #expect(state.definitionHash == "abc")
            #expect(state.rowsWritten == 3)
            #expect(try await fixture.another().projections() == ["totals": state])
        },
        Clause("a commit writes only what differs, and counts only that") { fixture in
            try await build(fixture.store, [("a", 1, 100), ("b", 1, nil), ("c", 1, 300)])
            let written = try await commit(
                fixture.store, 10, 12, deletes: [("a", 1, nil), ("never", 1, nil)],
                upserts: [("b", 1, nil), ("c", 1, 301), ("d", 1, nil)])
            #expect(written == 3)
            let (state, rows) = try await read(fixture.store)
            #expect(rows == [["b", "1", nil], ["c", "1", "3.01"], ["d", "1", nil]])
            #expect(state.rowsWritten == 3)
        },
        Clause("a commit deletes, changes and adds rows, and moves the checkpoints with them") { fixture in
            try await build(fixture.store, [("a", 1, 100), ("b", 1, 200), ("c", 1, 300)])
            try await commit(
                fixture.store, 10, 12, deletes: [("a", 1, nil)], upserts: [("b", 1, 250), ("d", 1, 400)])
            let (state, rows) = try await read(fixture.store)
            #expect(rows == [["b", "1", "2.50"], ["c", "1", "3.00"], ["d", "1", "4.00"]])
            #expect(state.checkpoints == ["dbo_a": lsn(12), "dbo_b": lsn(12)])
            #expect(state.asOfLSN == lsn(12))
            #expect(state.asOfTime == Timestamp(microseconds: 2_000_000))
            #expect(state.rowsWritten == 3)
        },
        Clause("a commit from anywhere but the checkpoint is a conflict, and writes nothing") { fixture in
            try await build(fixture.store, [("a", 1, 100)])
            let other = try await fixture.another()
            let before = try await read(fixture.store)
            await expect(isConflict) { try await commit(other, 9, 12, upserts: [("z", 1, 1)]) }
            await expect(isConflict) {
                try await commit(other, 10, 12, upserts: [("z", 1, 1)], captures: ["dbo_a"])
            }
            let after = try await read(fixture.store)
            #expect(after.0 == before.0)
            #expect(after.1 == before.1)
        },
        Clause("a rebuild replaces the table, its columns included") { fixture in
            try await build(fixture.store, [("a", 1, 100), ("b", 1, 200)])
            let state = try await fixture.store.projection("totals")
            let narrow = narrow("totals")
            var batch = RowBatch(columns: narrow.columns)
            batch.columns[0].append("everywhere")
            let build = ProjectionBuild(
                table: narrow, replacing: state, asOf: lsn(20), asOfTime: nil, captures: ["dbo_a"],
                definitionHash: "def")
            _ = try await fixture.store.build(build, rows: ListReader([batch]))
            await expect(isSchema) { _ = try await read(fixture.store) }
            let (after, reader) = try await fixture.store.readProjection(
                "totals", columns: narrow.columns, blockRows: 10)
            #expect(after.checkpoints == ["dbo_a": lsn(20)])
            #expect(after.definitionHash == "def")
            #expect(try reader.blocks().flatMap(\.readable) == [["everywhere"]])
        },
        Clause("a build keeps the indexes users made on the table, but for those whose column is gone") { fixture in
            try await build(fixture.store, [("a", 1, 100)])
            try await fixture.execute("CREATE INDEX by_day ON proj_totals (day)")
            try await fixture.execute("CREATE INDEX by_total ON proj_totals (total)")
            let first = try await fixture.store.projection("totals")
            try await build(fixture.store, [("a", 1, 200)], replacing: first, at: 11)
            #expect(try await fixture.indexedColumns(of: "proj_totals") == ["day", "total"])

            let other = ProjectionTable(
                projection: "totals", columns: Array(table.columns[0...1]) + [Column(name: "note", type: .string)],
                key: table.key)
            let second = try await fixture.store.projection("totals")
            _ = try await fixture.store.build(
                ProjectionBuild(
                    table: other, replacing: second, asOf: lsn(12), asOfTime: nil, captures: ["dbo_a"],
                    definitionHash: "def"),
                rows: ListReader([]))
            #expect(try await fixture.indexedColumns(of: "proj_totals") == ["day"])
        },
        Clause("a build leaves the tables of all other projections alone, whatever they are named") { fixture in
            let names = ["totals", "totals__new", "build_totals"]
            for name in names + names.reversed() {
                var batch = RowBatch(columns: narrow(name).columns)
                batch.columns[0].append(name)
                let build = ProjectionBuild(
                    table: narrow(name), replacing: try await fixture.store.projection(name), asOf: lsn(20),
                    asOfTime: nil, captures: ["dbo_a"], definitionHash: "def")
                _ = try await fixture.store.build(build, rows: ListReader([batch]))
            }
            for name in names {
                let (_, reader) = try await fixture.store.readProjection(
                    name, columns: narrow(name).columns, blockRows: 10)
                #expect(try reader.blocks().flatMap(\.readable) == [[name]])
            }
        },
        Clause("a build on a state that is no longer there is a conflict; the table stays") { fixture in
            try await build(fixture.store, [("a", 1, 100)])
            let state = try await fixture.store.projection("totals")
            try await commit(fixture.another(), 10, 12, upserts: [("b", 1, 200)])
            await expect(isConflict) { try await build(fixture.store, [("z", 1, 1)], replacing: state, at: 12) }
            await expect(isConflict) { try await build(fixture.store, [("z", 1, 1)], replacing: nil, at: 12) }
            #expect(try await read(fixture.store).1 == [["a", "1", "1.00"], ["b", "1", "2.00"]])
        },
        Clause("a build with a repeated or a NULL key fails, names the projection, and can be tried again") { fixture in
            await expect(names("totals")) { try await build(fixture.store, [("a", 1, 1), ("a", 1, 2)]) }
            await expect(names("totals")) { try await build(fixture.store, [(nil, 1, 1)]) }
            #expect(try await fixture.store.projection("totals") == nil)
            try await build(fixture.store, [("a", 1, 1)])
        },
        Clause("an error of the reader ends a build and comes out unchanged; the old table stays") { fixture in
            try await build(fixture.store, [("a", 1, 100)])
            let state = try await fixture.store.projection("totals")
            let failure = TidemarkError.projection(name: "totals", reason: "the query failed")
            let build = ProjectionBuild(
                table: table, replacing: state, asOf: lsn(20), asOfTime: nil, captures: ["dbo_a"],
                definitionHash: "abc")
            await #expect(throws: failure) {
                _ = try await fixture.store.build(
                    build, rows: ListReader([rows([("z", 1, 1)])], failure: failure))
            }
            #expect(try await read(fixture.store).1 == [["a", "1", "1.00"]])
            #expect(try await fixture.store.projection("totals") == state)
        },
        Clause("a projection's error is kept until its next commit") { fixture in
            try await build(fixture.store, [("a", 1, 100)])
            try await fixture.store.recordError("division by zero", projection: "totals")
            let state = try #require(try await fixture.store.projection("totals"))
            #expect(state.status == .error)
            #expect(state.lastError == "division by zero")
            #expect(state.checkpoints["dbo_a"] == lsn(10))
            try await fixture.store.commit(step(10, 11))
            #expect(try await fixture.store.projection("totals")?.status == .ok)
            #expect(try await fixture.store.projection("totals")?.lastError == nil)
        },
        Clause("a rebuild that was asked for is not forgotten by a commit, only by the build") { fixture in
            try await build(fixture.store, [("a", 1, 100)])
            try await fixture.another().requestRebuild(projection: "totals")
            try await commit(fixture.store, 10, 11, upserts: [("b", 1, 1)])
            let state = try #require(try await fixture.store.projection("totals"))
            #expect(state.status == .initial)
            #expect(try await read(fixture.store).1.count == 2)
            try await build(fixture.store, [("c", 1, 300)], replacing: state, at: 11)
            #expect(try await fixture.store.projection("totals")?.status == .ok)
        },
        Clause("a rebuild that was asked for is not forgotten by an error") { fixture in
            try await build(fixture.store, [("a", 1, 100)])
            try await fixture.store.requestRebuild(projection: "totals")
            try await fixture.store.recordError("the disk is full", projection: "totals")
            let state = try #require(try await fixture.store.projection("totals"))
            #expect(state.status == .error)
            #expect(state.definitionHash == "")
            #expect(try await read(fixture.store).1.count == 1)
        },
        Clause("a commit that stays where it is clears an error") { fixture in
            try await build(fixture.store, [("a", 1, 100)])
            try await fixture.store.recordError("the disk is full", projection: "totals")
            try await fixture.store.commit(step(10, 10))
            #expect(try await fixture.store.projection("totals")?.status == .ok)
            #expect(try await read(fixture.store).1.count == 1)
        },
        Clause("a build that waits for its rows keeps no ingestor waiting") { fixture in
            let store = try await prepared(fixture)
            let (producer, consumer) = BlockChannel.make(of: RowBatch.self)
            let build = ProjectionBuild(
                table: table, replacing: nil, asOf: lsn(10), asOfTime: nil, captures: ["dbo_a"], definitionHash: "abc")
            async let count = store.build(build, rows: consumer)
            // Were the ingest to wait for the build, and the build for the rows that come after it, neither
            // would end.
            try await ingest(store, 1...3)
            _ = producer.push(rows([("a", 1, 100)]))
            producer.finish()
            #expect(try await count == 1)
        },
        Clause("readers that block every thread tasks run on come to their end") { fixture in
            try await build(fixture.store, [("a", 1, 100), ("b", 1, 200), ("c", 1, 300)])
            let readers = ProcessInfo.processInfo.activeProcessorCount + 4
            try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<readers { group.addTask { try await read(fixture.store).1.count } }
                for try await count in group { #expect(count == 3) }
            }
        },
        Clause("a reader keeps its snapshot while commits go on") { fixture in
            try await build(fixture.store, [("a", 1, 100), ("b", 1, 200), ("c", 1, 300)])
            let (state, reader) = try await fixture.store.readProjection(
                "totals", columns: table.columns, blockRows: 1)
            let first = try #require(try reader.next())
            try await commit(fixture.another(), 10, 12, deletes: [("a", 1, nil), ("b", 1, nil), ("c", 1, nil)])
            #expect(state.asOfLSN == lsn(10))
            #expect(try reader.blocks().reduce(first.count) { $0 + $1.count } == 3)
            #expect(try await read(fixture.store).1.isEmpty)
        },
    ]
}
