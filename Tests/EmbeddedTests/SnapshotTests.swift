import ContractTests
import Embedded
import GRDB
import Testing
import Tidemark

/// Readers that are not asked for their next block let SQLite checkpoint its WAL.
@Suite("Snapshots between blocks")
struct SnapshotTests {
    /// Whether another program can checkpoint the whole WAL, which an open snapshot prevents.
    private func checkpoints(_ database: DatabaseQueue) throws -> Bool {
        try database.inDatabase { db in
            try Int.fetchOne(db, sql: "PRAGMA wal_checkpoint(TRUNCATE)") == 0
        }
    }

    private static func filled() async throws -> SQLiteSource {
        let source = try await SQLiteSource.shop()
        try await source.plain.write { db in
            for id in 1...7 {
                try db.execute(sql: "INSERT INTO customers VALUES (\(id), 'A', 1, '2026-01-01 00:00:00')")
            }
        }
        return source
    }

    @Test("changes of the source are read with no snapshot held between two blocks, each once")
    func changes() async throws {
        let source = try await Self.filled()
        let capture = try #require(try await source.embedded.captures().first { $0.table == "customers" })
        let end = try await source.embedded.bounds().maxLSN
        let reader = try await source.embedded.changes(
            of: capture, in: LSNWindow(after: .zero, through: end), blockRows: 2)
        var ids: [String?] = []
        while let block = try reader.next() {
            ids += block.readable.map { $0.values[0] }
            // What is written meanwhile is beyond the window.
            let sql = "INSERT INTO customers VALUES (\(100 + ids.count), 'B', 1, '2026-01-01 00:00:00')"
            try await source.plain.write { try $0.execute(sql: sql) }
            #expect(try checkpoints(source.plain))
        }
        #expect(ids == (1...7).map { "\($0)" })
    }

    @Test("rows of the source are read with no snapshot held between two blocks, each once")
    func rows() async throws {
        let source = try await Self.filled()
        let capture = try #require(try await source.embedded.captures().first { $0.table == "customers" })
        let reader = try await source.embedded.rows(of: capture, blockRows: 2)
        var ids: [String?] = []
        while let block = try reader.next() {
            ids += block.readable.map { $0[0] }
            #expect(try checkpoints(source.plain))
        }
        #expect(ids == (1...7).map { "\($0)" })
    }

    @Test(
        "rows are read each once whatever the key is: of several columns, text, without regard to case, backwards",
        arguments: [
            "a INTEGER, b TEXT, PRIMARY KEY (b, a)",
            "a INTEGER, b TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID; CREATE VIEW v AS SELECT (1",
            "a INTEGER, b TEXT COLLATE NOCASE, PRIMARY KEY (b, a)",
            "a INTEGER, b TEXT, PRIMARY KEY (b COLLATE NOCASE, a)",
            "a INTEGER, b TEXT, PRIMARY KEY (a DESC, b)", "a INTEGER PRIMARY KEY, b TEXT",
        ])
    func keys(declaration: String) async throws {
        let source = try await SQLiteSource(schema: "CREATE TABLE t (\(declaration)\n)")
        try await source.plain.write { db in
            for id in 1...20 {
                try db.execute(
                    sql: "INSERT INTO t (a, b) VALUES (?, ?)", arguments: [id, ["x", "X", "ä", ""][id % 4]])
            }
        }
        let capture = try #require(try await source.embedded.captures().first)
        let reader = try await source.embedded.rows(of: capture, blockRows: 3)
        let ids = try reader.blocks().flatMap(\.readable).compactMap { $0[0].flatMap { Int($0) } }
        #expect(ids.sorted() == Array(1...20))
    }

    @Test("staged changes are read with no snapshot held between two blocks, each once")
    func staged() async throws {
        let serving = try await SQLiteServing()
        let plain = try DatabaseQueue(path: serving.path)
        let capture = Capture(
            instance: "dbo_a", table: "a", columns: [Column(name: "id", type: .int64, isNullable: false)], key: ["id"])
        let store = serving.store
        try await store.prepareStaging(for: capture, source: "s")
        var batch = ChangeBatch(columns: capture.columns)
        for row in 0..<9 {
            // Three to an LSN, which a block may part.
            batch.lsns.append(LSN(high: UInt64(row / 3 + 1), low: 0))
            batch.commandIDs.append(Int32(row % 3))
            batch.seqvals.append(LSN(high: UInt64(row), low: 0))
            batch.operations.append(2)
            batch.columns[0].append(Int64(row))
        }
        let window = LSNWindow(after: .zero, through: LSN(high: 3, low: 0))
        try await store.ingest(capture, source: "s", window: window, commitTime: nil, from: ListReader([batch]))
        let reader = try await store.staged(capture, in: window, blockRows: 2)
        var ids: [String?] = []
        while let block = try reader.next() {
            ids += block.readable.map { $0.values[0] }
            #expect(try checkpoints(plain))
        }
        #expect(ids == (0..<9).map { "\($0)" })
    }

    @Test("a database of an earlier version gets the staging token, and whatever lies beyond a watermark goes first")
    func upgrade() async throws {
        let serving = try await SQLiteServing()
        let plain = try DatabaseQueue(path: serving.path)
        let capture = Capture(
            instance: "dbo_a", table: "a", columns: [Column(name: "id", type: .int64, isNullable: false)], key: ["id"])
        try await serving.store.prepareStaging(for: capture, source: "s")
        try await plain.write { db in
            try db.execute(
                sql: """
                    DROP TABLE ctl_schema;
                    ALTER TABLE ctl_ingestion_watermarks DROP COLUMN staging_token;
                    INSERT INTO stg_cdc_a VALUES (X'00000000000000010000', 0, X'00000000000000010000', 2, 7, '2026-01-01');
                    """)
        }
        try await serving.store.bootstrap()
        var batch = ChangeBatch(columns: capture.columns)
        batch.lsns.append(LSN(high: 1, low: 0))
        batch.commandIDs.append(0)
        batch.seqvals.append(LSN(high: 1, low: 0))
        batch.operations.append(2)
        batch.columns[0].append(Int64(8))
        let window = LSNWindow(after: .zero, through: LSN(high: 3, low: 0))
        try await serving.store.ingest(capture, source: "s", window: window, commitTime: nil, from: ListReader([batch]))
        #expect(try await plain.read { try String.fetchOne($0, sql: "SELECT group_concat(id) FROM stg_cdc_a") } == "8")
        let token = try await plain.read {
            try String.fetchOne($0, sql: "SELECT staging_token FROM ctl_ingestion_watermarks")
        }
        #expect(token == nil)
    }
}
