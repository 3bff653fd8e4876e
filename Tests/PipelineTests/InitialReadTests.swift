import ContractTests
import Embedded
import GRDB
import Synchronization
import Testing
import Tidemark

@Suite("Rows older than change data capture")
struct InitialReadTests {
    private static func order(_ id: Int, amount: Int = 5) -> String {
        "INSERT INTO orders VALUES (\(id), 1, '\(amount).00', 'NEW', '2026-01-01 10:00:00', '2026-01-01 10:00:00')"
    }

    private func ingestor(_ bench: Bench, _ source: any ChangeSource) throws -> Ingestor {
        let orders = try #require(bench.captures.first { $0.table == "orders" })
        return Ingestor(
            capture: orders, sourceName: Bench.sourceName, source: source, store: bench.store, maxRows: 2,
            logger: Bench.logger)
    }

    /// The staged state of the orders: the last image by key.
    private func state(_ bench: Bench) throws -> [String: String] {
        var state: [String: String] = [:]
        for row in try bench.rows(
            "SELECT order_id, amount, op FROM stg_cdc_orders ORDER BY lsn, command_id, seqval, op")
        {
            state[row[0] ?? ""] = row[2] == "1" ? nil : row[1]
        }
        return state
    }

    @Test("they are staged first, and published with every change made while they were read")
    func snapshot() async throws {
        let bench = try await Bench(rows: (1...5).map { Self.order($0) }.joined(separator: ";"))
        let since = try await bench.source.bounds().maxLSN
        let application = bench.application
        let source = LateSource(bench.source, since: since) {
            try await application.write { db in
                try db.execute(sql: "UPDATE orders SET amount = '9.00' WHERE order_id = 2")
                try db.execute(sql: "DELETE FROM orders WHERE order_id = 3")
                try db.execute(sql: Self.order(6))
            }
        }
        let ingestor = try ingestor(bench, source)
        #expect(try await ingestor.step(after: .zero, bounds: source.bounds()) == nil)
        #expect(try bench.rows("SELECT count(*) FROM stg_cdc_orders") == [["5"]])
        #expect(try await bench.watermark("orders") == .zero)
        // Not before the log has passed the end of the read.
        #expect(try await ingestor.step(after: .zero, bounds: source.bounds()) == nil)
        source.catchUp()
        let bounds = try await source.bounds()
        let step = try #require(try await ingestor.step(after: .zero, bounds: bounds))
        #expect(step.watermark == bounds.maxLSN && step.rows == 8)
        #expect(try await bench.watermark("orders") == bounds.maxLSN)
        #expect(try state(bench) == ["1": "5.00", "2": "9.00", "4": "5.00", "5": "5.00", "6": "5.00"])
        #expect(
            try bench.rows("SELECT rows_ingested FROM ctl_ingestion_watermarks WHERE capture_instance = 'dbo_orders'")
                == [["8"]])

        try bench.write("DELETE FROM orders WHERE order_id = 1")
        _ = try await ingestor.step(after: step.watermark, bounds: source.bounds())
        #expect(try state(bench)["1"] == nil)
    }

    @Test("a source that is put back while they are read has them read again")
    func restoredMeanwhile() async throws {
        let bench = try await Bench(rows: (1...5).map { Self.order($0) }.joined(separator: ";"))
        let bounds = try await bench.source.bounds()
        let backup = try DatabaseQueue(path: bench.directory.file("backup.db"))
        try bench.application.backup(to: backup)
        // Read, and not in the backup.
        try bench.write(Self.order(6))
        let application = bench.application
        let isRestored = Mutex(false)
        let source = LateSource(bench.source, since: bounds.maxLSN) {
            guard
                isRestored.withLock({ done in
                    defer { done = true }
                    return !done
                })
            else { return }
            try backup.backup(to: application)
            try await application.write { try $0.execute(sql: Self.order(7)) }
        }
        let ingestor = try ingestor(bench, source)
        #expect(try await ingestor.step(after: .zero, bounds: bounds) == nil)
        source.catchUp()
        await #expect(throws: TidemarkError.self) {
            try await ingestor.step(after: .zero, bounds: source.bounds())
        }
        #expect(try await bench.watermark("orders") == .zero)
        while try await bench.watermark("orders") == .zero {
            _ = try await ingestor.step(after: .zero, bounds: source.bounds())
        }
        #expect(try state(bench).keys.sorted() == ["1", "2", "3", "4", "5", "7"])
    }

    @Test("a source that is put back to before the read has them read again, though its log may never come as far")
    func restoredShorter() async throws {
        let bench = try await Bench(rows: (1...5).map { Self.order($0) }.joined(separator: ";"))
        let backup = try DatabaseQueue(path: bench.directory.file("backup.db"))
        try bench.application.backup(to: backup)
        for id in 6...8 {
            try bench.write(Self.order(id))
            _ = try await bench.source.bounds()
        }
        let source = LateSource(bench.source, since: try await bench.source.bounds().maxLSN)
        let ingestor = try ingestor(bench, source)
        #expect(try await ingestor.step(after: .zero, bounds: source.bounds()) == nil)
        try backup.backup(to: bench.application)
        source.catchUp()
        var steps = 0
        while try await bench.watermark("orders") == .zero, steps < 5 {
            _ = try await ingestor.step(after: .zero, bounds: source.bounds())
            steps += 1
        }
        #expect(try state(bench).keys.sorted() == ["1", "2", "3", "4", "5"])
    }

    @Test("a capture without a watermark takes nothing of a source that was put back since it was looked at")
    func restoredUnseen() async throws {
        let bench = try await Bench()
        let backup = try DatabaseQueue(path: bench.directory.file("backup.db"))
        try bench.application.backup(to: backup)
        for id in 1...2 {
            try bench.write(Self.order(id))
            _ = try await bench.source.bounds()
        }
        let bounds = try await bench.source.bounds()
        try backup.backup(to: bench.application)
        for id in 3...5 {
            try bench.write(Self.order(id))
            _ = try await bench.source.bounds()
        }
        // Its changes are read one transaction at a time, so that no window ends where the look saw the log end.
        let ingestor = try bench.ingestor(#require(bench.captures.first { $0.table == "orders" }), maxRows: 1)
        await #expect(throws: TidemarkError.self) { try await ingestor.step(after: .zero, bounds: bounds) }
        #expect(try bench.rows("SELECT 1 FROM stg_cdc_orders").isEmpty)
    }

    @Test("read again after a restart, they take the place of those read before")
    func restart() async throws {
        let bench = try await Bench(rows: (1...3).map { Self.order($0) }.joined(separator: ";"))
        let source = LateSource(bench.source, since: try await bench.source.bounds().maxLSN)
        #expect(try await ingestor(bench, source).step(after: .zero, bounds: source.bounds()) == nil)
        try bench.write("DELETE FROM orders WHERE order_id = 1", Self.order(4))
        source.catchUp()
        // Another one, which knows nothing of the first one's read.
        let again = try ingestor(bench, source)
        #expect(try await again.step(after: .zero, bounds: source.bounds()) == nil)
        let step = try await again.step(after: .zero, bounds: source.bounds())
        #expect(step?.watermark == (try await source.bounds().maxLSN))
        #expect(try state(bench).keys.sorted() == ["2", "3", "4"])
    }

    @Test("a projection over them appears when they are complete, and is right")
    func projection() async throws {
        let bench = try await Bench(rows: (1...20).map { Self.order($0) }.joined(separator: ";"))
        let source = LateSource(bench.source, since: try await bench.source.bounds().maxLSN)
        var options = Pipeline.Options()
        options.sourceName = Bench.sourceName
        options.pollInterval = .milliseconds(10)
        let pipeline = Pipeline(
            source: source, store: bench.serving, engine: bench.factory(),
            definitions: [try Bench.shipped("orders_latest")], options: options, logger: Bench.logger)
        let run = Task { try await pipeline.run() }
        try await eventually("the rows are staged") {
            try bench.rows("SELECT count(*) FROM stg_cdc_orders") == [["20"]]
        }
        try bench.write(
            "UPDATE orders SET amount = '7.00' WHERE order_id <= 3", "DELETE FROM orders WHERE order_id = 20")
        #expect(try bench.rows("SELECT 1 FROM sqlite_schema WHERE name = 'proj_orders_latest'").isEmpty)
        source.catchUp()
        try await eventually("the projection is built") {
            try bench.rows("SELECT 1 FROM ctl_projection_metadata WHERE status = 'OK'").count == 1
        }
        try await eventually("the projection follows") {
            try bench.rows("SELECT count(*), sum(amount = '7.00') FROM proj_orders_latest") == [["19", "3"]]
        }
        pipeline.stop()
        try await run.value
    }
}

@Suite("An answer that got lost")
struct LostAnswerTests {
    @Test("a window whose commit took place although its answer was lost is not staged again")
    func lostAnswer() async throws {
        let bench = try await Bench()
        let failures = Mutex(3)
        bench.store = InterceptingStore(
            bench.serving,
            afterIngest: {
                let fails = failures.withLock { left in
                    left -= 1
                    return left >= 0
                }
                if fails { throw TidemarkError.transient("the connection was lost") }
            })
        try await bench.running([try Bench.shipped("orders_latest")]) {
            for id in 1...3 {
                try bench.write(
                    "INSERT INTO orders VALUES (\(id), 1, '5.00', 'NEW', '2026-01-01 10:00:00', '2026-01-01 10:00:00')")
            }
            try await eventually("the projection follows") {
                try bench.rows("SELECT 1 FROM sqlite_schema WHERE name = 'proj_orders_latest'").count == 1
                    && bench.rows("SELECT count(*) FROM proj_orders_latest") == [["3"]]
            }
        }
        #expect(failures.withLock { $0 } <= 0)
        #expect(try bench.rows("SELECT count(*) FROM stg_cdc_orders") == [["3"]])
        #expect(try bench.status(capture: "orders") == ["OK", nil])
    }
}
