import DuckDB
import Embedded
import Foundation
import Testing

@testable import Tidemark

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

        let replica = try #require(bench.replica)
        let engine = try await ProjectionEngine(
            definition: Bench.shipped(Self.name), captures: bench.captures,
            session: try await replica.makeSession(name: "another worker"))
        try await replica.takeIn(engine.instances, upTo: to)
        #expect(try await engine.changes(from: from, to: to).upserts.map(\.count) == [1])
        try await replica.startOver(engine.instances)
        await #expect(throws: ReplicaMoved.self) { try await engine.changes(from: from, to: to) }
    }
}
