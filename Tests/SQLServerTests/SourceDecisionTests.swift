import Testing
import Tidemark

@testable import SQLServer

@Suite("Decisions of a source on SQL Server")
struct SourceDecisionTests {
    private static func lsn(_ number: UInt64) -> LSN { LSN(high: number, low: 1) }

    private static func range(_ after: LSN, _ through: UInt64, min: LSN?, complete: LSN? = nil) -> ReadRange {
        ReadRange(
            LSNWindow(after: after, through: lsn(through)), next: LSN(high: after.high, low: after.low + 1),
            minLSN: min, complete: complete)
    }

    @Test("a window is read from the LSN after the watermark")
    func next() {
        #expect(Self.range(Self.lsn(5), 9, min: Self.lsn(2)) == .read(from: LSN(high: 5, low: 2)))
        #expect(Self.range(Self.lsn(5), 9, min: Self.lsn(5)) == .read(from: LSN(high: 5, low: 2)))
    }

    @Test("the function is never asked for a range that ends before it begins")
    func empty() {
        #expect(Self.range(Self.lsn(9), 9, min: Self.lsn(2)) == .empty)
        #expect(Self.range(Self.lsn(9), 5, min: Self.lsn(2)) == .empty)
        #expect(Self.range(.zero, 5, min: Self.lsn(6)) == .empty)
    }

    @Test("a watermark below the min LSN is a gap, one that lies right before it is none")
    func gap() {
        #expect(Self.range(Self.lsn(5), 9, min: Self.lsn(6)) == .gap(minLSN: Self.lsn(6)))
        let next = LSN(high: 5, low: 2)
        #expect(Self.range(Self.lsn(5), 9, min: next) == .read(from: next))
    }

    @Test("a capture that is read from its beginning begins at the min LSN")
    func beginning() {
        #expect(Self.range(.zero, 9, min: Self.lsn(2)) == .read(from: Self.lsn(2)))
    }

    @Test("a capture found complete is no longer when its min LSN has moved")
    func movedBeginning() {
        #expect(Self.range(.zero, 9, min: Self.lsn(2), complete: Self.lsn(2)) == .read(from: Self.lsn(2)))
        #expect(Self.range(.zero, 9, min: Self.lsn(3), complete: Self.lsn(2)) == .gap(minLSN: Self.lsn(3)))
        // That is forgotten as soon as something was read.
        #expect(
            Self.range(Self.lsn(4), 9, min: Self.lsn(3), complete: Self.lsn(2)) == .read(from: LSN(high: 4, low: 2)))
    }

    @Test("a min LSN of zero is a capture that cannot be read, none is one that has not begun")
    func unreadable() {
        #expect(Self.range(.zero, 9, min: .zero) == .unreadable)
        #expect(Self.range(Self.lsn(5), 9, min: .zero) == .unreadable)
        #expect(Self.range(.zero, 9, min: nil) == .notBegun)
    }

    @Test("a mark is passed by a later commit, and not by one within the clock's precision")
    func passed() {
        let mark = SourceMark(lsn: Self.lsn(5), time: Timestamp(microseconds: 1_000_000_000))
        func bounds(_ lsn: UInt64, milliseconds: Int64?) -> SourceBounds {
            SourceBounds(
                maxLSN: Self.lsn(lsn),
                maxCommitTime: milliseconds.map { Timestamp(microseconds: 1_000_000_000 + $0 * 1_000) }, captures: [:])
        }
        #expect(SQLServerSource.hasPassed(mark, bounds(6, milliseconds: 1_001)))
        #expect(!SQLServerSource.hasPassed(mark, bounds(6, milliseconds: 1_000)))
        #expect(!SQLServerSource.hasPassed(mark, bounds(6, milliseconds: -5)))
        #expect(!SQLServerSource.hasPassed(mark, bounds(5, milliseconds: 2_000)))
        #expect(!SQLServerSource.hasPassed(mark, bounds(6, milliseconds: nil)))
    }

    // MARK: Order

    private static func batch(_ rows: [(lsn: UInt64, command: Int32, seqval: UInt64, operation: UInt8)]) -> ChangeBatch
    {
        var batch = ChangeBatch(columns: [])
        for row in rows {
            batch.lsns.append(lsn(row.lsn))
            batch.commandIDs.append(row.command)
            batch.seqvals.append(lsn(row.seqval))
            batch.operations.append(row.operation)
        }
        return batch
    }

    @Test("changes outside of the window, or not in order, are an error")
    func order() throws {
        let window = LSNWindow(after: Self.lsn(1), through: Self.lsn(3))
        func check(_ batches: [ChangeBatch]) throws {
            var order = ChangeOrder(window: window, instance: "dbo_t", numbersRows: false)
            for var batch in batches { try order.check(&batch) }
        }
        try check([Self.batch([(2, 1, 9, 2), (2, 2, 8, 1)]), Self.batch([(3, 1, 1, 2)])])
        #expect(throws: TidemarkError.self) { try check([Self.batch([(1, 1, 1, 2)])]) }
        #expect(throws: TidemarkError.self) { try check([Self.batch([(4, 1, 1, 2)])]) }
        #expect(throws: TidemarkError.self) { try check([Self.batch([(3, 1, 1, 2)]), Self.batch([(2, 1, 1, 2)])]) }
        #expect(throws: TidemarkError.self) { try check([Self.batch([(2, 1, 1, 2), (2, 1, 1, 2)])]) }
    }

    @Test("without command ids, the rows of a transaction are numbered through all blocks")
    func numbers() throws {
        var order = ChangeOrder(
            window: LSNWindow(after: .zero, through: Self.lsn(9)), instance: "dbo_t", numbersRows: true)
        var first = Self.batch([(2, 0, 1, 1), (2, 0, 1, 1), (2, 0, 1, 2)])
        var second = Self.batch([(2, 0, 2, 2), (3, 0, 1, 2)])
        try order.check(&first)
        try order.check(&second)
        #expect(first.commandIDs == [0, 1, 2])
        #expect(second.commandIDs == [3, 0])
    }

    // MARK: Catalog

    private static func entry(
        _ instance: String = "dbo_t", sourceID: Int64 = 1, source: ObjectName? = ObjectName(schema: "dbo", name: "t"),
        created: String = "2026-01-01", startLSN: LSN? = lsn(1), minLSN: LSN? = lsn(1), role: String? = nil,
        columns: [CaptureEntry.Column] = [column("id", "int", key: 1), column("v", "nvarchar", length: 20)]
    ) -> CaptureEntry {
        CaptureEntry(
            instance: instance, sourceID: sourceID, source: source,
            changeTable: ObjectName(schema: "cdc", name: "\(instance)_CT"), created: created, startLSN: startLSN,
            minLSN: minLSN, role: role, mayReadChangeTable: true, hasCommandID: true, columns: columns)
    }

    private static func column(
        _ name: String, _ type: String?, length: Int = 0, computed: Bool = false, masked: Bool = false,
        key: Int64? = nil
    ) -> CaptureEntry.Column {
        CaptureEntry.Column(
            name: name, type: type.map { SQLServerType(name: $0, maxLength: length) }, isComputed: computed,
            isMasked: masked, keyOrdinal: key)
    }

    @Test("a capture has its table's name, columns, lengths and key, in the key's order")
    func capture() {
        let columns = [
            Self.column("a", "nvarchar", length: 20), Self.column("b", "int", key: 2),
            Self.column("c", "bigint", key: 1),
        ]
        let choice = CaptureChoice([Self.entry(columns: columns)], excluded: [])
        #expect(
            choice.catalog.captures == [
                Capture(
                    instance: "dbo_t", table: "t",
                    columns: [
                        Column(name: "a", type: .string, maxLength: 10),
                        Column(name: "b", type: .int32, isNullable: false),
                        Column(name: "c", type: .int64, isNullable: false),
                    ], key: ["c", "b"])
            ])
        #expect(choice.catalog.refused.isEmpty && choice.warnings.isEmpty)
    }

    @Test(
        "a capture that cannot be carried is named with its column and the remedy, and does not stop the others",
        arguments: [
            (
                entry(columns: [column("id", "int", key: 1), column("place", "geography")]),
                ["geography", "CDC_EXCLUDE_COLUMNS=dbo_t.place"]
            ),
            (
                entry(columns: [column("id", "int", key: 1), column("any", nil)]),
                ["unknown type", "CDC_EXCLUDE_COLUMNS=dbo_t.any"]
            ),
            (
                entry(columns: [column("id", "int", key: 1), column("total", "int", computed: true)]),
                ["computed", "CDC_EXCLUDE_COLUMNS=dbo_t.total"]
            ),
            (
                entry(columns: [column("id", "int", key: 1), column("email", "nvarchar", length: 20, masked: true)]),
                ["masked", "UNMASK"]
            ),
            (entry(columns: [column("id", "int"), column("v", "int")]), ["no key", "primary key"]),
            (entry(source: nil), ["hidden", "GRANT SELECT"]),
            (entry(minLSN: .zero), ["may not read", "GRANT SELECT on [dbo].[t]"]),
            (entry(minLSN: .zero, role: "readers"), ["ALTER ROLE [readers] ADD MEMBER"]),
        ])
    func refused(entry: CaptureEntry, words: [String]) throws {
        let choice = CaptureChoice([entry, Self.entry("dbo_u", sourceID: 2)], excluded: [])
        #expect(choice.catalog.captures.map(\.instance) == ["dbo_u"])
        let refused = try #require(choice.catalog.refused.first)
        #expect(refused.instance == "dbo_t")
        for word in words { #expect("\(refused.reason)".contains(word), "\(refused.reason)") }
    }

    @Test("a capture that has not begun is none that cannot be read")
    func notBegun() {
        let choice = CaptureChoice([Self.entry(startLSN: nil, minLSN: .zero)], excluded: [])
        #expect(choice.catalog.captures.count == 1)
    }

    @Test("columns are left out by the name of their capture, in any case, but no key column is")
    func excluded() {
        let columns = [Self.column("id", "int", key: 1), Self.column("Place", "geography")]
        let choice = CaptureChoice([Self.entry(columns: columns)], excluded: ["DBO_T.place", "dbo_t.nothing"])
        #expect(choice.catalog.captures.first?.columns.map(\.name) == ["id"])
        #expect(choice.warnings.count == 1 && choice.warnings[0].contains("dbo_t.nothing"))
        let key = CaptureChoice([Self.entry()], excluded: ["dbo_t.id"])
        #expect(key.catalog.captures.isEmpty)
        #expect("\(key.catalog.refused.map(\.reason))".contains("id is part of the key"))
    }

    @Test("of two captures of a table the newer one is read, with a warning")
    func twoInstances() {
        let choice = CaptureChoice(
            [
                Self.entry("dbo_t_v2", created: "2026-02-01T00:00:00"), Self.entry(created: "2026-01-01T00:00:00"),
                Self.entry("dbo_u", sourceID: 2),
            ], excluded: [])
        #expect(choice.catalog.captures.map(\.instance) == ["dbo_t_v2", "dbo_u"])
        #expect(choice.catalog.refused.isEmpty)
        #expect(choice.warnings.count == 1 && choice.warnings[0].contains("dbo_t is not read"))
    }

    // MARK: Health

    @Test("what is wrong with the jobs is told with the remedy, and nothing when nothing is known")
    func health() {
        #expect(CaptureHealth().trouble == nil)
        #expect(
            CaptureHealth(agentStatus: "Running", hasCaptureJob: true, secondsSinceLastCommit: 299).trouble == nil)
        #expect(CaptureHealth(notBegun: ("dbo_t", 60)).trouble == nil)
        func isTold(_ health: CaptureHealth, _ words: String..., isCertain: Bool) {
            #expect(health.trouble?.isCertain == isCertain)
            let sentence = "\(health.trouble.map { "\($0.error)" } ?? "")"
            for word in words { #expect(sentence.contains(word), "\(sentence)") }
        }
        isTold(
            CaptureHealth(agentStatus: "Stopped", secondsSinceLastCommit: 3_600), "SQL Server Agent is stopped",
            "60 minutes", isCertain: true)
        isTold(CaptureHealth(hasCaptureJob: false), "sp_cdc_add_job", isCertain: true)
        isTold(CaptureHealth(lastError: "log full (error 9002)"), "9002", isCertain: true)
        isTold(CaptureHealth(notBegun: ("dbo_t", 130)), "not begun dbo_t", "2 minutes", "Agent", isCertain: true)
        isTold(CaptureHealth(secondsSinceLastCommit: 601), "10 minutes", "Agent", isCertain: false)
        isTold(CaptureHealth(secondsSinceEnabled: 61), "entered nothing", "Agent", isCertain: false)
        #expect(CaptureHealth(secondsSinceEnabled: 60).trouble == nil)
        #expect(CaptureHealth(secondsSinceLastCommit: 9, secondsSinceEnabled: 3_600).trouble == nil)
    }
}
