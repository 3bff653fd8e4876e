import DuckDBEngine
import Embedded
import Foundation
import Logging
import Tidemark

/// What a projection cycle costs beside its history, and how fast a lost replica comes back.
enum ProjectionBenchmark {
    private static let changedOrders: Int64 = 1000
    private static let rounds = 7

    static func run(in folder: URL) async throws {
        var cycles: [String: [Double]] = [:]
        for orders: Int64 in [500_000, 5_000_000] {
            say("\nprojections: \(orders) orders, \(orders * 3 / 5) payments, \(Shop.customerCount) customers")
            let results = try await measure(orders: orders, folder: folder.appending(path: "history-\(orders)"))
            for (name, seconds) in results { cycles[name, default: []].append(seconds) }
        }
        say("\nprojections: 5,000,000 orders against 500,000")
        for (name, values) in cycles.sorted(by: { $0.key < $1.key }) {
            report("\(name): cycle / cycle", format(values[1] / values[0]), target: "at most 2")
        }
    }

    /// Returns the cycle's seconds by projection, for changes to recent orders.
    private static func measure(orders: Int64, folder: URL) async throws -> [String: Double] {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let store = try EmbeddedServing(path: folder.appending(path: "serving.db").path)
        try await store.bootstrap()
        let history = LSN(high: UInt64(orders / 1000 + 2), low: 0)
        let counts = ["customers": Shop.customerCount, "orders": orders, "payments": orders * 3 / 5]
        for capture in Shop.captures {
            try await store.prepareStaging(for: capture, source: "bench")
            _ = try await store.ingest(
                capture, source: "bench", window: LSNWindow(after: .zero, through: history), commitTime: .now(),
                from: BlockChannel.prefetch(Shop.history(of: capture, count: counts[capture.table] ?? 0)))
        }

        // An engine from nothing, as after a lost state directory.
        let logger = Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() }
        let engine = try await DuckDBComputeEngine(
            .init(directory: folder.appending(path: "state"), memoryLimit: "4GB"), captures: Shop.captures,
            store: store, watermarks: try await store.watermarks(source: "bench"), epoch: 0, logger: logger)
        let instances = Set(Shop.captures.map(\.instance))
        let load = try await seconds { try await engine.load(instances, upTo: history) }
        let total = counts.values.reduce(0, +)
        report(
            "replica from staging, \(total) changes", "\(format(Double(total) / load / 1000, 0)) thousand changes/s",
            target: "at least 500")

        var results: [String: Double] = [:]
        var lsn = history
        for definition in try ProjectionCatalog.load(from: "projections").projections {
            let projection = try await engine.prepare(definition, refused: [])
            let worker = ProjectionWorker(projection: projection, engine: engine, store: store, logger: logger)
            let first = lsn
            _ = try await worker.step(watermarks: try await store.watermarks(source: "bench"))
            for (label, isScattered) in [("recent orders", false), ("orders all over history", true)] {
                var cycles: [Double] = []
                var recomputations: [Double] = []
                for round in 1...rounds {
                    let ids =
                        isScattered
                        ? (0..<changedOrders).map { ($0 * (orders / changedOrders) + Int64(round) * 37) % orders + 1 }
                        : (0..<changedOrders).map { orders - 2 * changedOrders + $0 * 2 + 1 }
                    let next = LSN(high: lsn.high + 1, low: 0)
                    try await stage(ids, at: next, after: lsn, version: Int64(next.high), store: store)
                    lsn = next
                    let watermarks = try await store.watermarks(source: "bench")
                    cycles.append(try await seconds { _ = try await worker.step(watermarks: watermarks) })
                    recomputations.append(try await seconds { try await evaluate(projection, asOf: lsn) })
                }
                let cycle = median(cycles)
                let whole = median(recomputations)
                report(
                    "\(definition.name): \(changedOrders) \(label)",
                    "\(format(cycle * 1000, 0)) ms, whole query \(format(whole * 1000, 0)) ms, ratio \(format(cycle / whole, 3))",
                    target: isScattered ? nil : "at most 0.05")
                if !isScattered { results[definition.name] = cycle }
            }
            precondition(lsn > first)
        }
        return results
    }

    private static func stage(_ ids: [Int64], at lsn: LSN, after: LSN, version: Int64, store: EmbeddedServing)
        async throws
    {
        for capture in Shop.captures {
            let batch = Shop.changes(
                of: capture, ids: capture.table == "orders" ? ids.sorted() : [], operation: .updateAfter,
                lsn: { _ in lsn }, version: version)
            let reader = batch.isEmpty ? Blocks { nil } : Shop.once(batch)
            _ = try await store.ingest(
                capture, source: "bench", window: LSNWindow(after: after, through: lsn), commitTime: .now(),
                from: reader)
        }
    }

    /// Evaluates the whole query; its rows are not fetched beyond the first block.
    private static func evaluate(_ projection: any PreparedProjection, asOf lsn: LSN) async throws {
        try await BlockChannel.pipe {
            try await projection.rows(asOf: lsn, to: $0)
        } to: { consumer in
            // It blocks.
            _ = try await Task.detached { try consumer.next() }.value
        }
    }
}
