import Embedded
import Foundation
import GRDB
import Synchronization
import Testing
import Tidemark

@Suite("Building projections")
struct BuildTests {
    private static func order(_ id: Int) -> String {
        "INSERT INTO orders VALUES (\(id), 1, '5.00', 'NEW', '2026-01-01 10:00:00', '2026-01-01 10:00:00')"
    }

    /// Orders 1 to `count`, in one transaction.
    private static func orders(_ count: Int) -> String {
        """
        WITH RECURSIVE ids (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM ids WHERE id < \(count))
        INSERT INTO orders SELECT id, 1, '5.00', 'NEW', '2026-01-01 10:00:00', '2026-01-01 10:00:00' FROM ids
        """
    }

    private static func ids(_ extra: String = "") -> ProjectionDefinition {
        ProjectionDefinition(
            name: "ids", captures: [.init(name: "orders")], key: ["order_id"],
            query: "SELECT order_id\(extra) FROM orders")
    }

    @Test("a projection over an empty source is built, with no rows")
    func emptySource() async throws {
        let bench = try await Bench()
        let names = ["orders_kpi_by_minute_segment", "orders_latest"]
        try await bench.running(names.map(Bench.shipped)) {
            for name in names {
                try await eventually("\(name) is built") { try bench.status(projection: name) == ["OK", nil] }
                #expect(try bench.rows("SELECT * FROM proj_\(name)") == [])
            }
        }
    }

    @Test("a step that takes more memory than there is gives way to a build in full")
    func stepTooLarge() async throws {
        let bench = try await Bench()
        // A list is one value, which DuckDB cannot put on disk: 800 MB of them.
        let definition = ProjectionDefinition(
            name: "ids", captures: [.init(name: "orders")], key: ["order_id"], query: "SELECT order_id FROM orders",
            affected: """
                SELECT order_id FROM changed_orders
                WHERE len((SELECT list(i + order_id) FROM range(100000000) AS r (i))) > 0
                """)
        try await bench.openProjections([definition])
        try bench.write(Self.orders(10))
        try await bench.ingestAll()
        #expect(try await bench.project("ids")?.buildReason == .new)
        try bench.write("DELETE FROM orders WHERE order_id > 7")
        try await bench.ingestAll()
        let step = try await bench.project("ids")
        #expect(step?.buildReason == .stepTooLarge)
        #expect(try bench.rows("SELECT count(*) FROM proj_ids") == [["7"]])
        #expect(try bench.status(projection: "ids") == ["OK", nil])
    }

    @Test("a changed definition takes the old one's place in one step")
    func changedDefinition() async throws {
        let bench = try await Bench()
        try bench.write(Self.orders(30))
        try await bench.ingestAll()
        try await bench.openProjections([Self.ids()])
        #expect(try await bench.project("ids")?.buildReason == .new)

        // Readers look on while 30 rows become 30 others, with one more column.
        let path = bench.servingPath
        let isDone = Mutex(false)
        let seen = Mutex<Set<String>>([])
        let reader = Thread {
            var configuration = GRDB.Configuration()
            configuration.readonly = true
            configuration.busyMode = .timeout(20)
            do {
                let queue = try DatabaseQueue(path: path, configuration: configuration)
                repeat {
                    let row = try queue.inDatabase { db in
                        try Bench.rows(db, "SELECT * FROM proj_ids")
                    }
                    _ = seen.withLock { $0.insert("\(row.count) rows of \(row.first?.count ?? 0)") }
                } while !isDone.withLock({ $0 })
            } catch {
                _ = seen.withLock { $0.insert("\(error)") }
            }
        }
        reader.start()
        try await eventually("the reader reads") { !seen.withLock { $0.isEmpty } }
        try await bench.openProjections([Self.ids(", status")])
        #expect(try await bench.project("ids")?.buildReason == .definitionChanged)
        try await eventually("the reader sees the new table") { seen.withLock { $0.contains("30 rows of 2") } }
        isDone.withLock { $0 = true }
        try await eventually("the reader ends") { reader.isFinished }
        #expect(seen.withLock { $0 } == ["30 rows of 1", "30 rows of 2"])
        #expect(try await bench.serving.projection("ids")?.asOfLSN == bench.watermark("orders"))
    }

    @Test("a projection a user adds as a folder is loaded, built and kept up like the shipped ones")
    func userProjection() async throws {
        let bench = try await Bench()
        let folder = bench.directory.file("projections/paid_by_day")
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let files = [
            "projection.yml": """
            name: paid_by_day
            captures:
              payments: [payment_id, paid_amount, paid_at]
            key: [day]
            """,
            "query.sql": """
            SELECT CAST(paid_at AS DATE) AS day, sum(paid_amount)::DECIMAL(38,2) AS paid
            FROM payments WHERE paid_at IS NOT NULL AND affected_day(CAST(paid_at AS DATE)) GROUP BY 1
            """,
            "affected.sql": "SELECT CAST(paid_at AS DATE) AS day FROM changed_payments WHERE paid_at IS NOT NULL",
        ]
        for (name, text) in files { try text.write(toFile: "\(folder)/\(name)", atomically: true, encoding: .utf8) }
        let catalog = try ProjectionCatalog.load(from: bench.directory.file("projections"))

        try await bench.running(catalog.projections) {
            try bench.write(
                "INSERT INTO payments VALUES (1, 1, '5.00', '2026-01-01 10:00:00')",
                "INSERT INTO payments VALUES (2, 1, '0.01', '2026-01-01 23:59:59.999999')",
                "INSERT INTO payments VALUES (3, 1, '7.00', '2026-01-02 00:00:00')")
            try await eventually("it is built") {
                try bench.status(projection: "paid_by_day").first == "OK"
                    && bench.rows("SELECT * FROM proj_paid_by_day") == [
                        ["2026-01-01", "5.01"], ["2026-01-02", "7.00"],
                    ]
            }
            try bench.write("UPDATE payments SET paid_at = '2026-01-03 00:00:00' WHERE payment_id = 3")
            try await eventually("it is kept up") {
                try bench.rows("SELECT * FROM proj_paid_by_day") == [["2026-01-01", "5.01"], ["2026-01-03", "7.00"]]
            }
        }
    }

    @Test("a build that the serving database refuses halfway ends with its error, however many rows are left")
    func refusedBuild() async throws {
        let bench = try await Bench()
        try bench.write(Self.orders(30_000))
        try await bench.ingestAll()
        try await bench.openProjections([Self.ids()])
        let worker = try #require(bench.workers["ids"])
        let watermarks = try await bench.watermarks()
        let serving = bench.serving
        let engine = try #require(bench.engine)
        let store = InterceptingStore(serving, beforeBuild: { _ in throw TidemarkError.unavailable("no room") })
        let refused = ProjectionWorker(
            projection: worker.projection, engine: engine, store: store, logger: Bench.logger)
        await #expect(throws: TidemarkError.unavailable("no room")) {
            try await ends("the build") { try await refused.step(watermarks: watermarks) }
        }
        let step = try await ends("the next build") { try await worker.step(watermarks: watermarks) }
        #expect(step??.rows == 30_000)
    }

    @Test("ingestors go on while a build waits for the rows of its query")
    func buildWithoutLock() async throws {
        let bench = try await Bench()
        try bench.write(Self.order(1))
        try await bench.ingestAll(["orders"])
        let serving = bench.serving
        let (producer, consumer) = BlockChannel.make(of: RowBatch.self)
        let table = ProjectionTable(
            projection: "slow", columns: [Column(name: "id", type: .int64, isNullable: false)], key: ["id"])
        let asOf = try await bench.watermark("orders")
        let build = ProjectionBuild(
            table: table, replacing: nil, asOf: asOf, asOfTime: nil, captures: ["dbo_orders"], definitionHash: "abc")
        let building = Task { try await serving.build(build, rows: consumer) }
        try await eventually("the build has begun") {
            try bench.rows("SELECT 1 FROM sqlite_schema WHERE name = 'ctl_build_slow'").count == 1
        }
        let source = bench.source
        let capture = try #require(bench.captures.first { $0.table == "customers" })
        let ingestor = bench.ingestor(capture)
        let bounds = try await source.bounds()
        let step = try await ends("the ingest") { try await ingestor.step(after: .zero, bounds: bounds) }
        #expect(step??.watermark == bounds.maxLSN)
        var rows = RowBatch(columns: table.columns)
        rows.columns[0].append(Int64(7))
        _ = producer.push(rows)
        producer.finish()
        #expect(try await building.value == 1)
    }
}
