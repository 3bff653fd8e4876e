import ContractTests
import Foundation
import ODBC
import TestSupport
import Testing
import Tidemark

@testable import SQLServer

@Suite(
    "A serving database on SQL Server", .serialized,
    .enabled(if: TestServer.serving != nil, TestServer.servingIsMissing))
struct ServingTests {
    // MARK: What the tests work on

    private static let source = "source1"

    private static let table = ProjectionTable(
        projection: "texts",
        columns: [
            Column(name: "id", type: .string, isNullable: false), Column(name: "text", type: .string),
            Column(name: "data", type: .binary), Column(name: "number", type: .int64),
        ], key: ["id"])

    private typealias Row = (id: String, text: String?, data: [UInt8]?, number: Int64?)

    private static func rows(_ rows: [Row]) -> RowBatch {
        var batch = RowBatch(columns: table.columns)
        for row in rows {
            batch.columns[0].append(row.id)
            if let text = row.text { batch.columns[1].append(text) } else { batch.columns[1].appendNull() }
            if let data = row.data {
                data.withUnsafeBytes { batch.columns[2].append(bytes: $0) }
            } else {
                batch.columns[2].appendNull()
            }
            if let number = row.number { batch.columns[3].append(number) } else { batch.columns[3].appendNull() }
        }
        return batch
    }

    private static func keys(_ ids: [String]) -> RowBatch {
        var batch = RowBatch(columns: table.keyColumns)
        for id in ids { batch.columns[0].append(id) }
        return batch
    }

    private static func lsn(_ number: UInt64) -> LSN { LSN(high: number, low: 0) }

    private static func build(
        _ store: any ServingStore, _ rows: [Row], at number: UInt64 = 10
    ) async throws {
        let build = ProjectionBuild(
            table: table, replacing: try await store.projection("texts"), asOf: lsn(number), asOfTime: nil,
            captures: ["dbo_a"], definitionHash: "abc")
        _ = try await store.build(build, rows: ListReader([Self.rows(rows)]))
    }

    private static func commit(
        _ store: any ServingStore, _ from: UInt64, _ to: UInt64, deletes: [String] = [], upserts: [Row] = []
    ) async throws -> Int {
        try await store.commit(
            ProjectionCommit(
                table: table, from: lsn(from), to: lsn(to), asOfTime: nil, captures: ["dbo_a"], definitionHash: "abc"),
            changes: ListReader([.deletes(keys(deletes)), .upserts(rows(upserts))]))
    }

    private static func read(_ store: any ServingStore) async throws -> [[String?]] {
        let (_, reader) = try await store.readProjection("texts", columns: table.columns, blockRows: 100)
        return try reader.blocks().flatMap(\.readable).sorted { "\($0)" < "\($1)" }
    }

    private static let capture = Capture(
        instance: "dbo_items", table: "items",
        columns: [Column(name: "id", type: .int64, isNullable: false), Column(name: "name", type: .string)],
        key: ["id"])

    private static func changes(_ lsns: ClosedRange<UInt64>, of capture: Capture = capture) -> ChangeBatch {
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

    private static func ingest(
        _ store: any ServingStore, _ lsns: ClosedRange<UInt64>, from reader: (any BlockReader<ChangeBatch>)? = nil
    ) async throws -> Int {
        try await store.ingest(
            capture, source: source, window: LSNWindow(after: lsn(lsns.lowerBound - 1), through: lsn(lsns.upperBound)),
            commitTime: nil, from: reader ?? ListReader([changes(lsns)]))
    }

    private static func watermark(_ store: any ServingStore) async throws -> LSN? {
        try await store.watermarks(source: source)["dbo_items"]?.lastIngestedLSN
    }

    // MARK: Exact differences

    @Test("a change in case, in blanks or zeros at the end, to NULL or to nothing is a change; no change is none")
    func exactDifferences() async throws {
        try await SQLServerServingFixture.run { fixture in
            let store = fixture.serving
            let before: [Row] = [
                ("a", "text", [1], 1), ("b", "text", [1], 1), ("c", "text", [1], 1), ("d", "", [], 0),
                ("e", nil, nil, nil), ("f", "é", [1, 2], 1), ("g", "same", [7], nil), ("h", "", [], nil),
            ]
            try await Self.build(store, before)
            let after: [Row] = [
                ("a", "TEXT", [1], 1), ("b", "text ", [1], 1), ("c", "text", [1, 0], 1), ("d", nil, nil, nil),
                ("e", "", [], 0), ("f", "e\u{301}", [1, 2], 1), ("g", "same", [7], nil), ("h", "", [], nil),
            ]
            #expect(try await Self.commit(store, 10, 11, upserts: after) == 6)
            let found = try await Self.read(store)
            #expect(found == Self.rows(after).readable.sorted { "\($0)" < "\($1)" })
        }
    }

    @Test("keys that differ in case are two rows; a key that gains a blank replaces the one without")
    func keys() async throws {
        try await SQLServerServingFixture.run { fixture in
            let store = fixture.serving
            try await Self.build(store, [("a", "small", nil, 1), ("A", "great", nil, 2), ("ä", "dots", nil, 3)])
            #expect(try await Self.commit(store, 10, 11, deletes: ["A"], upserts: [("a", "small", nil, 5)]) == 2)
            #expect(
                try await Self.commit(store, 11, 12, deletes: ["a"], upserts: [("a ", "small", nil, 5)]) == 2)
            #expect(try await Self.read(store).map { $0[0] } == ["a ", "ä"])
            await #expect(throws: TidemarkError.self) {
                _ = try await Self.commit(store, 12, 13, upserts: [("a", "beside", nil, 6)])
            }
            #expect(try await store.projection("texts")?.checkpoints == ["dbo_a": Self.lsn(12)])
        }
    }

    @Test("what SQL Server cannot hold is refused with the column's name, and nothing is written")
    func refusals() async throws {
        try await SQLServerServingFixture.run { fixture in
            let store = fixture.serving
            let capture = Capture(
                instance: "dbo_odd", table: "odd",
                columns: [
                    Column(name: "id", type: .int64), Column(name: "ratio", type: .double),
                    Column(name: "at", type: .timestamp), Column(name: "name", type: .string, maxLength: 3),
                ], key: ["id"])
            try await store.prepareStaging(for: capture, source: Self.source)
            try fixture.execute(
                "ALTER TABLE stg_cdc_odd ALTER COLUMN [at] datetime2(3)")
            try await store.prepareStaging(for: capture, source: Self.source)
            let odd: [(String, (inout ChangeBatch) -> Void)] = [
                ("ratio", { $0.columns[1] = Self.vector(.double, Double.infinity) }),
                ("at", { $0.columns[2] = Self.vector(.timestamp, Int64.max) }),
                ("at", { $0.columns[2] = Self.vector(.timestamp, Int64(1)) }),
                (
                    "name",
                    { batch in
                        batch.columns[3] = ColumnVector(type: .string)
                        batch.columns[3].append("four")
                    }
                ),
            ]
            for (column, spoil) in odd {
                var batch = Self.changes(1...1, of: capture)
                spoil(&batch)
                do {
                    _ = try await store.ingest(
                        capture, source: Self.source, window: LSNWindow(after: .zero, through: Self.lsn(1)),
                        commitTime: nil, from: ListReader([batch]))
                    Issue.record("\(column) was taken")
                } catch TidemarkError.value(let table, let named, let lsn, _) {
                    #expect(table == "odd" && named == column && lsn == Self.lsn(1))
                }
            }
            #expect(try fixture.count("stg_cdc_odd") == 0)
        }
    }

    private static func vector<Value: BitwiseCopyable>(_ type: LogicalType, _ value: Value) -> ColumnVector {
        var vector = ColumnVector(type: type)
        vector.append(value)
        return vector
    }

    // MARK: Tables

    @Test("the scripted tables are those the pipeline would make, and running the scripts again changes nothing")
    func scriptedTables() async throws {
        try await SQLServerServingFixture.run { fixture in
            let store = fixture.serving
            let shop = [
                Capture(
                    instance: "dbo_customers", table: "customers",
                    columns: [
                        Column(name: "customer_id", type: .int64),
                        Column(name: "segment", type: .string, maxLength: 50),
                        Column(name: "is_active", type: .bool), Column(name: "updated_at", type: .timestamp),
                    ], key: ["customer_id"]),
                Capture(
                    instance: "dbo_orders", table: "orders",
                    columns: [
                        Column(name: "order_id", type: .int64), Column(name: "customer_id", type: .int64),
                        Column(name: "amount", type: .decimal(precision: 18, scale: 2)),
                        Column(name: "status", type: .string, maxLength: 20),
                        Column(name: "created_at", type: .timestamp), Column(name: "updated_at", type: .timestamp),
                    ], key: ["order_id"]),
                Capture(
                    instance: "dbo_payments", table: "payments",
                    columns: [
                        Column(name: "payment_id", type: .int64), Column(name: "order_id", type: .int64),
                        Column(name: "paid_amount", type: .decimal(precision: 18, scale: 2)),
                        Column(name: "paid_at", type: .timestamp),
                    ], key: ["payment_id"]),
            ]
            for capture in shop {
                let scripted = try ServingTableShape.read(capture.stagingTable, fixture.connect())
                try fixture.execute("DROP TABLE \(capture.stagingTable)")
                try await store.prepareStaging(for: capture, source: Self.source)
                #expect(try ServingTableShape.read(capture.stagingTable, fixture.connect()) == scripted)
            }
            for table in Self.shippedProjections {
                let shape = try #require(try ServingTableShape.read(table.name, fixture.connect()))
                #expect(ProjectionTableSQL(table).fits(shape), "\(table.name)")
            }
            try fixture.execute(
                "INSERT INTO stg_cdc_orders (lsn, command_id, seqval, op, ingested_at) "
                    + "VALUES (0x00000000000000000001, 1, 0x00000000000000000001, 2, '2026-01-01')")
            try await store.bootstrap()
            #expect(try fixture.count("stg_cdc_orders") == 1)
        }
    }

    /// As DuckDB describes the shipped queries over the sample shop.
    private static let shippedProjections = [
        ProjectionTable(
            projection: "orders_kpi_by_minute_segment",
            columns: [
                Column(name: "minute_bucket", type: .timestamp), Column(name: "segment", type: .string),
                Column(name: "orders_count", type: .int64),
                Column(name: "orders_amount_sum", type: .decimal(precision: 38, scale: 2)),
                Column(name: "paid_amount_sum", type: .decimal(precision: 38, scale: 2)),
            ], key: ["minute_bucket", "segment"]),
        ProjectionTable(
            projection: "orders_latest",
            columns: [
                Column(name: "order_id", type: .int64), Column(name: "customer_id", type: .int64),
                Column(name: "segment", type: .string), Column(name: "amount", type: .decimal(precision: 18, scale: 2)),
                Column(name: "status", type: .string), Column(name: "created_at", type: .timestamp),
                Column(name: "updated_at", type: .timestamp), Column(name: "__source_lsn", type: .binary),
            ], key: ["order_id"]),
    ]

    @Test("an unused staging table gives way to the source's own columns, a used one does not")
    func unusedTableGivesWay() async throws {
        try await SQLServerServingFixture.run { fixture in
            let store = fixture.serving
            let own = Capture(
                instance: "dbo_orders", table: "orders",
                columns: [
                    Column(name: "id", type: .int64), Column(name: "total", type: .decimal(precision: 9, scale: 3)),
                ],
                key: ["id"])
            try await store.prepareStaging(for: own, source: Self.source)
            _ = try await store.ingest(
                own, source: Self.source, window: LSNWindow(after: .zero, through: Self.lsn(2)), commitTime: nil,
                from: ListReader([Self.changes(1...2, of: own)]))
            #expect(try fixture.count("stg_cdc_orders") == 2)
            let other = Capture(
                instance: "dbo_orders", table: "orders", columns: [Column(name: "id", type: .int32)], key: ["id"])
            await #expect(throws: TidemarkError.self) {
                try await store.prepareStaging(for: other, source: Self.source)
            }
        }
    }

    @Test("a rebuild keeps a table that fits: its declared types, its indexes and its permissions")
    func rebuildInPlace() async throws {
        try await SQLServerServingFixture.run { fixture in
            let store = fixture.serving
            try fixture.execute(
                """
                CREATE TABLE proj_texts (
                    id nvarchar(60) COLLATE Latin1_General_100_BIN2 NOT NULL PRIMARY KEY, [text] nvarchar(70) NULL,
                    data varbinary(80) NULL, number bigint NULL
                )
                """)
            try fixture.execute("CREATE INDEX by_number ON proj_texts (number)")
            try fixture.execute("GRANT SELECT ON proj_texts TO public")
            let object = try fixture.rows("SELECT OBJECT_ID(N'proj_texts')")
            try await Self.build(store, [("a", "1", nil, 1), ("b", "2", nil, 2), ("c", "3", nil, 3)])
            try await Self.build(store, [("b", "2", nil, 2), ("c", "three", nil, 3), ("d", "4", nil, 4)], at: 12)
            #expect(try await Self.read(store).map { $0[1] } == ["2", "three", "4"])
            #expect(try fixture.rows("SELECT OBJECT_ID(N'proj_texts')") == object)
            let indexes = try fixture.rows(
                "SELECT CAST(COUNT(*) AS bigint) FROM sys.indexes WHERE type > 0 AND object_id = OBJECT_ID(N'proj_texts')"
            )
            #expect(indexes == [[.int(2)]])
            let shape = try #require(try ServingTableShape.read("proj_texts", fixture.connect()))
            #expect(shape.columns[1].type.description == "nvarchar(70)")
            #expect(try fixture.rows("SELECT OBJECT_ID(N'ctl_build_texts')") == [[.null]])
            await #expect(throws: TidemarkError.self) {
                try await Self.build(store, [("a", String(repeating: "x", count: 71), nil, 1)], at: 13)
            }
            #expect(try await Self.read(store).count == 3)
        }
    }

    @Test("many rows, more than a statement takes, arrive complete and in order")
    func manyRows() async throws {
        try await SQLServerServingFixture.run { fixture in
            let store = fixture.serving
            try await store.prepareStaging(for: Self.capture, source: Self.source)
            let count: UInt64 = 12_000
            #expect(try await Self.ingest(store, 1...count) == Int(count))
            let back = try await store.staged(
                Self.capture, in: LSNWindow(after: .zero, through: Self.lsn(count)), blockRows: 5_000
            ).blocks()
            #expect(back.flatMap(\.lsns) == (1...count).map(Self.lsn))
        }
    }

    @Test("rows of hundreds of columns that travel as parameters stay below the limit of a statement")
    func wideRows() async throws {
        let numbers = (1...300).map { Column(name: "c\($0)", type: .double) }
        let wide = Capture(
            instance: "dbo_wide", table: "wide",
            columns: [Column(name: "id", type: .int64, isNullable: false)] + numbers,
            key: ["id"])
        try await SQLServerServingFixture.run { fixture in
            let store = fixture.serving
            try await store.prepareStaging(for: wide, source: Self.source)
            var batch = ChangeBatch(columns: wide.columns)
            for id in Int64(1)...20 {
                batch.lsns.append(Self.lsn(UInt64(id)))
                batch.commandIDs.append(1)
                batch.seqvals.append(Self.lsn(1))
                batch.operations.append(2)
                batch.columns[0].append(id)
                for column in 1...300 { batch.columns[column].append(Double(id) / Double(column)) }
            }
            let window = LSNWindow(after: .zero, through: Self.lsn(20))
            #expect(
                try await store.ingest(
                    wide, source: Self.source, window: window, commitTime: nil, from: ListReader([batch])) == 20)
            let back = try await store.staged(wide, in: window, blockRows: 100).blocks()
            #expect(back.flatMap(\.readable) == batch.readable)
        }
    }

    // MARK: Others at work

    @Test("the victim of a deadlock tries its commit again")
    func deadlock() async throws {
        try await SQLServerServingFixture.run { fixture in
            let store = fixture.serving
            try await Self.build(store, [("a", "1", nil, 1)])
            let other = try fixture.connect()
            let probe = try fixture.connect()
            try other.execute("SET DEADLOCK_PRIORITY HIGH")
            try probe.execute("SET LOCK_TIMEOUT 50")
            // Where priorities count for nothing the victim is whoever waits longer, so it may take some attempts.
            for number in UInt64(10)..<20 {
                try other.execute("BEGIN TRANSACTION; UPDATE proj_texts SET number = 7 WHERE id = N'a'")
                async let written = Self.commit(store, number, number + 1, upserts: [("a", "\(number)", nil, 2)])
                let isHeld = try await Self.eventually {
                    (try? probe.execute("UPDATE ctl_projection_metadata SET status = status")) == nil
                }
                #expect(isHeld, "the commit holds the projection's row")
                // By now it waits for the row of the table; this waits for the row of the control table.
                try await Task.sleep(for: .milliseconds(500))
                let isVictim: Bool
                do {
                    try other.execute("UPDATE ctl_projection_metadata SET status = status; COMMIT")
                    isVictim = false
                } catch {
                    _ = try? other.execute("IF @@TRANCOUNT > 0 ROLLBACK")
                    isVictim = true
                }
                #expect(try await written == 1)
                #expect(try await Self.read(store).map { $0[1] } == ["\(number)"])
                if !isVictim { return }
            }
            Issue.record("the commit was never the victim")
        }
    }

    private static func eventually(_ condition: () throws -> Bool) async throws -> Bool {
        for _ in 0..<200 {
            if try condition() { return true }
            try await Task.sleep(for: .milliseconds(20))
        }
        return false
    }

    @Test("a session killed while its rows come leaves nothing half written, and the next attempt succeeds")
    func killed() async throws {
        try await SQLServerServingFixture.run { fixture in
            let store = fixture.serving
            try await store.prepareStaging(for: Self.capture, source: Self.source)
            try await Self.build(store, [("a", "1", nil, 1)])
            let name = fixture.name
            let changes = KillingReader([Self.changes(1...2), Self.changes(3...4)], database: name)
            await #expect(throws: TidemarkError.self) { _ = try await Self.ingest(store, 1...4, from: changes) }
            let rows = try fixture.count("stg_cdc_items")
            #expect(rows == 0)
            let watermark = try await Self.watermark(store)
            #expect(watermark == .zero)
            #expect(try await Self.ingest(store, 1...4) == 4)

            let state = try await store.projection("texts")
            let build = ProjectionBuild(
                table: Self.table, replacing: state, asOf: Self.lsn(20), asOfTime: nil, captures: ["dbo_a"],
                definitionHash: "abc")
            let blocks = [Self.rows([("x", "1", nil, 1)]), Self.rows([("y", "1", nil, 1)])]
            await #expect(throws: TidemarkError.self) {
                _ = try await store.build(build, rows: KillingReader(blocks, database: name))
            }
            #expect(try await Self.read(store).map { $0[0] } == ["a"])
            #expect(try await store.projection("texts") == state)
            _ = try await store.build(build, rows: ListReader(blocks))
            #expect(try await Self.read(store).map { $0[0] } == ["x", "y"])
        }
    }

    @Test(
        "a COMMIT whose answer is lost counts once, whether or not the server made it",
        .enabled(if: TestServer.serving?.address != nil, "the server is not named by an IPv4 address"),
        .enabled("the server takes no connection without encryption, in which no COMMIT is seen") {
            await TestServer.serving?.isPlain() ?? false
        })
    func commitInDoubt() async throws {
        try await SQLServerServingFixture.run { fixture in
            let proxy = try CommitCuttingProxy(to: try #require(TestServer.serving?.address))
            let store = try fixture.store(through: proxy.port, isPlain: true)
            try await store.prepareStaging(for: Self.capture, source: Self.source)
            try await Self.build(store, [("a", "1", nil, 1)])

            proxy.arm(.after)
            #expect(try await Self.ingest(store, 1...3) == 3)
            #expect(try await Self.watermark(store) == Self.lsn(3))
            // What is in memory is sent again.
            proxy.arm(.before)
            #expect(try await Self.ingest(store, 4...5) == 2)
            #expect(try await Self.watermark(store) == Self.lsn(5))
            #expect(try fixture.count("stg_cdc_items") == 5)

            proxy.arm(.after)
            #expect(try await Self.commit(store, 10, 11, upserts: [("b", "2", nil, 2)]) == 1)
            proxy.arm(.before)
            #expect(try await Self.commit(store, 11, 12, upserts: [("c", "3", nil, 3)]) == 1)
            #expect(try await Self.read(store).map { $0[0] } == ["a", "b", "c"])
            #expect(proxy.cutCount == 4)
        }
    }

    @Test("the lease is free once its session is gone, and its holder asks for it again")
    func leaseOfADeadSession() async throws {
        try await SQLServerServingFixture.run { fixture in
            let lease = try #require(try await fixture.serving.acquireLease())
            let other = try await fixture.another()
            #expect(try await other.acquireLease() == nil)
            try ServingServer.killSessions(of: fixture.name)
            var taken: (any PipelineLease)?
            for _ in 0..<100 where taken == nil {
                // Its own pooled connection was killed as well.
                taken = try? await other.acquireLease()
                if taken == nil { try await Task.sleep(for: .milliseconds(20)) }
            }
            #expect(taken != nil)
            taken?.release()
            var isBack = false
            for _ in 0..<400 where !isBack {
                isBack = fixture.warnings.all.contains { $0.contains("is held again") }
                if !isBack { try await Task.sleep(for: .milliseconds(50)) }
            }
            #expect(isBack)
            #expect(try await other.acquireLease() == nil)
            lease.release()
        }
    }
}

/// Hands out blocks, and kills the sessions of a database before the second.
private final class KillingReader<Block: Sendable>: BlockReader, @unchecked Sendable {
    private var blocks: ArraySlice<Block>
    private let database: String
    private var count = 0

    init(_ blocks: [Block], database: String) {
        self.blocks = blocks[...]
        self.database = database
    }

    func next() throws -> Block? {
        count += 1
        if count == 2 { try ServingServer.killSessions(of: database) }
        return blocks.popFirst()
    }
}

extension ServingServer {
    /// Ends all sessions that use a database, of which there is at least one, and waits until they have ended.
    static func killSessions(of database: String) throws {
        struct Alive: Error { let sessions: Set<Int64> }
        let master = try connect("master")
        func sessions() throws -> Set<Int64> {
            let rows = try master.query(
                """
                SELECT CAST(session_id AS bigint) FROM sys.dm_exec_sessions
                WHERE database_id = DB_ID(?) AND session_id <> @@SPID
                """, [.string(database)]
            ).rows()
            return Set(rows.compactMap { $0[0].int64 })
        }
        var found: Set<Int64> = []
        var alive: Set<Int64> = []
        let end = ContinuousClock.now + patience
        repeat {
            guard ContinuousClock.now < end else { throw Alive(sessions: alive) }
            // A busy Babelfish leaves some out now and then.
            if found.isEmpty {
                for _ in 0..<5 {
                    found.formUnion(try sessions())
                    Thread.sleep(forTimeInterval: 0.05)
                }
            }
            // One that has ended by then is an error.
            for session in found { _ = try? master.execute("KILL \(session)") }
            alive = try found.intersection(sessions())
        } while found.isEmpty || !alive.isEmpty
    }
}
