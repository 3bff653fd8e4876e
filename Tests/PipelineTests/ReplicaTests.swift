import ContractTests
import DuckDB
import Embedded
import Foundation
import Testing
import Tidemark

@testable import DuckDBEngine

/// The replica is a cache: whatever becomes of its file, it is rebuilt from staging.
@Suite("The replica's file")
struct ReplicaTests {
    private static let name = "orders_latest"

    /// A bench with a checkpointed replica of some thousand orders, and the path of its file.
    private static func filled() async throws -> (Bench, file: String) {
        let bench = try await Bench()
        let state = bench.directory.file("state")
        try bench.write(
            """
            WITH RECURSIVE ids (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM ids WHERE id < 6000)
            INSERT INTO orders SELECT id, id % 7, id || '.25', 'status ' || (id * 7919 % 10007), '2026-01-01 10:00:00',
                '2026-01-01 10:00:00' FROM ids
            """)
        try await bench.ingestAll()
        try await bench.openProjections([Bench.shipped(name)], state: state, foldLimits: .init(threshold: 0))
        try await bench.project(name)
        let session = try await #require(bench.replica).makeSession(name: "checkpoint")
        try await session.run { try $0.execute("CHECKPOINT") }
        let copy = bench.directory.file("saved.duckdb")
        try FileManager.default.copyItem(atPath: "\(state)/state.duckdb", toPath: copy)
        bench.closeProjections()
        return (bench, copy)
    }

    @Test("wherever its file is damaged, the replica is rebuilt, and no projection shows anything wrong")
    func damaged() async throws {
        let (bench, file) = try await Self.filled()
        let saved = try Data(contentsOf: URL(filePath: file))
        // DuckDB's three headers, then places all over the blocks.
        let places = [0, 8, 4096, 8192] + stride(from: 12_288, to: saved.count, by: saved.count / 8)
        for (number, place) in places.enumerated() {
            let state = bench.directory.file("state-\(number)")
            try FileManager.default.createDirectory(atPath: state, withIntermediateDirectories: true)
            var bytes = saved
            for index in place..<min(place + 64, bytes.count) { bytes[index] ^= 0x5A }
            try bytes.write(to: URL(filePath: "\(state)/state.duckdb"))
            do {
                try await bench.openProjections([Bench.shipped(Self.name)], state: state)
                // Every order is looked at.
                try bench.write("UPDATE orders SET status = 'changed \(number)' WHERE order_id % 3 = 0")
                try await bench.ingestAll()
                #expect(try await bench.project(Self.name)?.rows == 2000)
                try await bench.serving.requestRebuild(projection: Self.name)
                #expect(try await bench.project(Self.name)?.rows == 6000)
            } catch {
                Issue.record("damaged at byte \(place): \(error)")
            }
        }
    }

    @Test("a replica of another serving database is not believed")
    func anotherServingDatabase() async throws {
        let (bench, file) = try await Self.filled()
        let other = try await Bench()
        let state = other.directory.file("state")
        try FileManager.default.createDirectory(atPath: state, withIntermediateDirectories: true)
        try withExtendedLifetime(bench) {
            try FileManager.default.copyItem(atPath: file, toPath: "\(state)/state.duckdb")
        }
        try other.write("INSERT INTO orders VALUES (1, 1, '5.00', 'NEW', NULL, '2026-01-01 10:00:00')")
        try await other.ingestAll()
        try await other.openProjections([Bench.shipped(Self.name)], state: state)
        #expect(try await other.project(Self.name)?.rows == 1)
    }

    @Test("an evaluation does not believe a replica that was started over since it was loaded")
    func startedOver() async throws {
        let bench = try await Bench()
        try bench.write("INSERT INTO orders VALUES (1, 1, '5.00', 'NEW', NULL, '2026-01-01 10:00:00')")
        try await bench.ingestAll()
        try await bench.openProjections([Bench.shipped(Self.name)])
        let from = try #require(try await bench.project(Self.name)).asOf
        try bench.write("UPDATE orders SET status = 'PAID'")
        try await bench.ingestAll()
        let to = try await bench.source.bounds().maxLSN

        let engine = try #require(bench.engine)
        // Another worker's.
        let projection = try await engine.prepare(Bench.shipped(Self.name), refused: [])
        try await engine.load(projection.plan.instances, upTo: to)
        #expect(try await Self.changes(projection, from: from, to: to).upserts == [1])
        try await engine.startOver(projection.plan.instances)
        await #expect(throws: ComputeEngineError.moved(projection: Self.name, from: from, to: to)) {
            _ = try await Self.changes(projection, from: from, to: to)
        }
    }

    /// How many rows are in each block of what changed.
    private static func changes(_ projection: any PreparedProjection, from: LSN, to: LSN) async throws
        -> (deletes: [Int], upserts: [Int])
    {
        let changes = try await BlockChannel.pipe(of: ProjectionChange.self) {
            try await projection.changes(from: from, to: to, to: $0)
        } to: { consumer in
            // It blocks.
            try await Task.detached { try consumer.blocks() }.value
        }
        return changes.reduce(into: ([], [])) { counts, change in
            switch change {
            case .deletes(let keys): counts.deletes.append(keys.count)
            case .upserts(let rows): counts.upserts.append(rows.count)
            }
        }
    }
}

@Suite("How a replica's log is folded")
struct FoldMethodTests {
    @Test("a small log updates the base, a large one makes it anew, in order unless its rows are too wide to sort")
    func method() {
        #expect(FoldMethod(rows: 10_000, bytes: 1 << 20) == .updating)
        #expect(FoldMethod(rows: 1_000_000, bytes: 100 << 20) == .rewriting(isSorted: true))
        #expect(FoldMethod(rows: 60_000, bytes: 1 << 30) == .rewriting(isSorted: false))
        #expect(FoldMethod(rows: 1_000_000, bytes: 0) == .rewriting(isSorted: true))
    }

    @Test("whichever way a log is folded, the state is the same")
    func states() async throws {
        let capture = Capture(
            instance: "dbo_t", table: "t",
            columns: [Column(name: "id", type: .int64, isNullable: false), Column(name: "text", type: .string)],
            key: ["id"])
        let tables = ReplicaTables(capture)
        var states: [[[Value]]] = []
        for method in [FoldMethod.updating, .rewriting(isSorted: true), .rewriting(isSorted: false)] {
            let connection = try Database().connect()
            try connection.execute(
                """
                CREATE SCHEMA replica;
                CREATE TABLE replica.positions
                    (capture_instance VARCHAR, layout VARCHAR, base_lsn BLOB, loaded_lsn BLOB);
                \(tables.create)
                INSERT INTO replica.base_t VALUES (1, 'one', '\\x00'), (2, 'two', '\\x00'), (3, 'three', '\\x00');
                INSERT INTO replica.log_t VALUES
                    (1, \(Self.lsn(1)), 4, 2, 'two, changed'), (2, \(Self.lsn(1)), 1, 3, 'three'),
                    (3, \(Self.lsn(2)), 2, 4, 'four'), (4, \(Self.lsn(2)), 4, 2, 'two, changed again'),
                    (5, \(Self.lsn(3)), 2, 5, 'five');
                """)
            for (number, isWhole) in [(UInt64(2), false), (3, true)] {
                try connection.transaction {
                    try connection.execute(
                        tables.fold(to: LSN(high: number, low: 0), isWhole: isWhole, by: method))
                }
                let base = try connection.query("SELECT id, text FROM replica.base_t ORDER BY id").rows()
                let left = try connection.query("SELECT count(*) FROM replica.log_t").rows()
                states.append(base + left)
            }
        }
        #expect(states.count == 6)
        #expect(states[0] == states[2] && states[0] == states[4])
        #expect(states[1] == states[3] && states[1] == states[5])
        #expect(states[0].last == [.int(1)])
        #expect(states[1].dropLast().map { $0[0] } == [.int(1), .int(2), .int(4), .int(5)])
    }

    private static func lsn(_ number: UInt64) -> String { LSN(high: number, low: 0).sqlLiteral }
}
