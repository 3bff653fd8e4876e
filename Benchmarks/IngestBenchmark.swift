import Embedded
import Foundation
import GRDB
import Logging
import Tidemark

/// How fast changes come into staging, against SQLite copying the same rows into the same table itself.
enum IngestBenchmark {
    static let rows = 1_000_000
    private static let rounds = 3

    static func run(in folder: URL) async throws {
        say("\ningest: \(rows) changes, a thousand to a transaction, drained into staging")
        let sourcePath = folder.appending(path: "ingest-source.db").path
        try await makeSource(sourcePath, transactions: rows / 1000, rowsEach: 1000)
        var drains: [Double] = []
        var copies: [Double] = []
        for round in 1...rounds {
            let servingPath = folder.appending(path: "ingest-serving-\(round).db").path
            drains.append(try await seconds { try await drain(sourcePath, into: servingPath) })
            copies.append(try await copy(servingPath, folder: folder, round: round))
        }
        report("drain", "\(format(Double(rows) / median(drains) / 1000, 0)) thousand changes/s")
        report(
            "SQLite's own ATTACH, INSERT … SELECT", "\(format(Double(rows) / median(copies) / 1000, 0)) thousand rows/s"
        )
        report("drain rate / copy rate", format(median(copies) / median(drains)), target: "at least 0.5")
    }

    /// A source with captured orders, written in transactions of `rowsEach` rows, every one closed in a position of its own.
    static func makeSource(_ path: String, transactions: Int, rowsEach: Int) async throws {
        let source = try EmbeddedSource(path: path)
        try await source.execute(
            script: """
                CREATE TABLE orders (
                    order_id INTEGER PRIMARY KEY, customer_id INTEGER, amount DECIMAL_TEXT(18,2), status TEXT,
                    created_at DATETIME, updated_at DATETIME
                )
                """)
        try await source.enableCDC()
        for transaction in 0..<transactions {
            try await source.execute(
                script: """
                    WITH RECURSIVE n(i) AS (
                        SELECT \(transaction * rowsEach + 1) UNION ALL SELECT i + 1 FROM n WHERE i < \((transaction + 1) * rowsEach)
                    )
                    INSERT INTO orders
                    SELECT i, i % 1000, printf('%d.%02d', i % 10000, i % 100), 'NEW',
                        datetime(1767225600 + i, 'unixepoch'), datetime(1767225600 + i, 'unixepoch') FROM n
                    """)
            _ = try await source.bounds()
        }
    }

    /// Drains the source as the pipeline does: window by window, reading ahead.
    static func drain(_ sourcePath: String, into servingPath: String) async throws {
        let source = try EmbeddedSource(path: sourcePath)
        let store = try EmbeddedServing(path: servingPath)
        try await store.bootstrap()
        let capture = try await source.captures()[0]
        try await store.prepareStaging(for: capture, source: "bench")
        let ingestor = Ingestor(
            capture: capture, sourceName: "bench", source: source, store: store, maxRows: 50_000,
            logger: Logger(label: "tidemark.bench"))
        let bounds = try await source.bounds()
        var watermark = LSN.zero
        while let step = try await ingestor.step(after: watermark, bounds: bounds) { watermark = step.watermark }
    }

    /// Has SQLite copy the staged rows into an empty staging table in another file, and returns the seconds.
    private static func copy(_ servingPath: String, folder: URL, round: Int) async throws -> Double {
        let plain = folder.appending(path: "ingest-plain-\(round).db").path
        let target = folder.appending(path: "ingest-copy-\(round).db").path
        // The rows as a plain table, which is quicker to read than the staging table.
        let source = try DatabaseQueue(path: plain)
        try await source.writeWithoutTransaction { db in
            try db.execute(sql: "ATTACH ? AS serving", arguments: [servingPath])
            try db.execute(sql: "CREATE TABLE rows AS SELECT * FROM serving.stg_cdc_orders")
            try db.execute(sql: "DETACH serving")
        }
        // The same staging table, made by the same code.
        let store = try EmbeddedServing(path: target)
        try await store.bootstrap()
        let capture = try await EmbeddedSource(path: folder.appending(path: "ingest-source.db").path).captures()[0]
        try await store.prepareStaging(for: capture, source: "bench")
        var configuration = Configuration()
        configuration.journalMode = .wal
        let queue = try DatabaseQueue(path: target, configuration: configuration)
        try await queue.writeWithoutTransaction { db in
            try db.execute(sql: "PRAGMA synchronous = FULL")
            try db.execute(sql: "PRAGMA cache_size = -16384")
            try db.execute(sql: "ATTACH ? AS plain", arguments: [plain])
        }
        return try await seconds {
            try await queue.writeWithoutTransaction {
                try $0.execute(sql: "INSERT INTO stg_cdc_orders SELECT * FROM plain.rows")
            }
        }
    }
}
