import ContractTests
import DuckDB
import DuckDBEngine
import Embedded
import Foundation
import GRDB
import Tidemark

/// One random life of a pipeline, all of it decided by a seed.
///
/// Another program writes, positions are closed, captures are ingested in windows of any size, projections
/// run when they like, the replica folds, the process restarts with its replica as it was, as a crash left it,
/// damaged or gone. The source is put back from a backup, cleaned up behind the pipeline, its tables are rebuilt by
/// migrations and read anew when asked for. Some rows are wide, and blocks may be small.
/// After every commit of a projection its whole table is compared with the model's; after every
/// step the order of checkpoints, watermarks and the source's end is checked.
final class Schedule {
    let seed: UInt64
    private var random: SplitMix64
    private let bench: Bench
    private var writer: ShopWriter
    /// The writer whose history is staged: another one than `writer` once the source was put back before a watermark.
    private var staged: ShopWriter
    private var history: SourceHistory
    private let policy: GapPolicy
    private var ingestors: [String: Ingestor] = [:]
    /// Copies of the source, and who had written them.
    private var backups: [(path: String, writer: ShopWriter)] = []
    /// Whether the source was put back and has not been looked at since, or was found to have another history.
    private var isDoubtful = false
    /// Whether a table was read anew: then the LSN of a row may be that of the read.
    private var hasSnapshots = false
    private var trace: [String] = []

    /// Which definition a projection runs with.
    private var variants: [String: Int]
    private let names = [
        "orders_kpi_by_minute_segment", "orders_latest", "customer_lifetime_value", "orders_by_status",
    ]
    private let keyLengths = [
        "orders_kpi_by_minute_segment": 2, "orders_latest": 1, "customer_lifetime_value": 1, "orders_by_status": 1,
    ]
    private let foldLimits: Replica.FoldLimits
    /// By capture: how eager its ingestor is, from 0 to 1.
    private let eagerness: [String: Double]
    private var bounds: SourceBounds
    /// Numbers the state directories: every restart opens a copy, as a crash leaves it.
    private var generation = 0
    private var isOnDisk: Bool

    private var lastWatermarks: [String: LSN] = [:]
    /// By projection, what its table last showed and was built from.
    private var lastShown: [String: (asOf: LSN, rows: ProjectionRows)] = [:]

    /// What a schedule has gone through, for the summary.
    struct Tally: Sendable {
        var transactions = 0
        var ingests = 0
        var builds = 0
        var advances = 0
        var restarts = 0
        var restores = 0
        var migrations = 0
        var histories = 0
        var refusals = 0

        static func += (a: inout Tally, b: Tally) {
            a.transactions += b.transactions
            a.ingests += b.ingests
            a.builds += b.builds
            a.advances += b.advances
            a.restarts += b.restarts
            a.restores += b.restores
            a.migrations += b.migrations
            a.histories += b.histories
            a.refusals += b.refusals
        }
    }

    private var tally = Tally()

    static func run(seed: UInt64) async throws -> Tally {
        let schedule = try await Schedule(seed: seed)
        do {
            try await schedule.run()
        } catch {
            let steps = schedule.trace.suffix(40).joined(separator: "\n  ")
            throw Bench.Failure(
                """
                seed \(seed): \(error)
                Replay it with TIDEMARK_ORACLE_SEED=\(seed). The last steps were:
                  \(steps)
                """)
        }
        return schedule.tally
    }

    private init(seed: UInt64) async throws {
        self.seed = seed
        random = SplitMix64(state: seed)
        // Often the tables hold rows before they are captured.
        let rows = """
            INSERT INTO customers VALUES (1, 'A', 1, '2024-01-01 00:00:00');
            INSERT INTO orders VALUES (2, 1, '10.00', 'NEW', '2024-01-01 00:00:30', '2024-01-01 00:00:30');
            """
        let hasRows = random.chance(0.5)
        bench = try await Bench(rows: hasRows ? rows : "", isFast: true)
        var shop = ShopModel()
        if hasRows {
            let time: Int64 = 1_704_067_200_000_000
            shop.customers[1] = .init(segment: "A", isActive: true, updatedAt: time, clock: 1)
            shop.orders[2] = .init(
                customer: 1, amount: 1000, status: "NEW", createdAt: time + 30_000_000, updatedAt: time + 30_000_000,
                clock: 1)
        }
        writer = ShopWriter(bench.application, shop: shop)
        staged = writer
        policy = random.chance(0.3) ? .snapshot : .stop
        history = SourceHistory(
            name: Bench.sourceName, source: bench.source, store: bench.serving, onMismatch: policy,
            logger: Bench.logger)
        variants = Dictionary(uniqueKeysWithValues: names.map { ($0, 0) })
        foldLimits = .init(threshold: [0, 5, 40, 100_000].pick(&random), stalled: [60, 400, 100_000].pick(&random))
        var eagerness: [String: Double] = [:]
        for capture in bench.captures { eagerness[capture.table] = [0.05, 0.3, 1, 1].pick(&random) }
        self.eagerness = eagerness
        isOnDisk = random.chance(0.6)
        bounds = try await bench.source.bounds()
    }

    // MARK: Steps

    private func run() async throws {
        let length = [12, 20, 20, 40].pick(&random)
        try await acknowledge()
        try await open("start", state: isOnDisk ? stateDirectory() : nil)
        for _ in 0..<length {
            switch Int.random(in: 0..<100, using: &random) {
            case ..<24: try write()
            case ..<26: try migrate()
            case ..<37: try await closePosition()
            case ..<56: try await ingestSome()
            case ..<75: try await project(names.pick(&random))
            case ..<80: try await burst()
            case ..<85: try await restart()
            case ..<87: try await askForRebuild()
            case ..<92: try backUp()
            case ..<96: try await putBack()
            case ..<97: try await cleanUp()
            case ..<99: try await askForResync()
            default: try await changeSourceName()
            }
            try checkOrder()
        }
        try await drain()
    }

    private func write() throws {
        try writer.transaction(using: &random)
        note("write: " + writer.lastStatements.joined(separator: "; "))
        tally.transactions += 1
    }

    /// Looks at the source as the pipeline does at each poll.
    private func closePosition() async throws {
        let isSame = try isSameHistory()
        try await history.refresh()
        switch try await history.look(watermarks: bench.watermarks()) {
        case .trusted(let latest):
            guard isSame else { throw Bench.Failure("a source with another history is trusted") }
            // Up to the watermarks both histories are one.
            staged = writer
            isDoubtful = false
            bounds = latest
            note("close position: max LSN \(bounds.maxLSN)")
        case .refused:
            guard !isSame else { throw Bench.Failure("a source with the history that was read is refused") }
            tally.refusals += 1
            note("the source is refused")
        case .begunAnew:
            tally.histories += 1
            staged = writer
            isDoubtful = false
            hasSnapshots = true
            lastWatermarks = [:]
            lastShown = [:]
            note("another history is begun")
            try await acknowledge()
            try await open("after it", state: isOnDisk ? directory(generation) : nil)
            bounds = try await bench.source.bounds()
        }
    }

    /// Whether the source's log still holds the greatest watermark, by the time at which it was committed.
    private func isSameHistory() throws -> Bool {
        let read = try bench.rows(
            """
            SELECT hex(last_ingested_lsn), last_commit_time FROM ctl_ingestion_watermarks
            WHERE last_ingested_lsn > zeroblob(10) ORDER BY last_ingested_lsn DESC LIMIT 1
            """
        ).first
        guard let read, let lsn = read[0].flatMap({ LSN(hex: "0x" + $0) }) else { return true }
        return try bench.application.inDatabase { db in
            let found = try String.fetchOne(
                db, sql: "SELECT tran_end_time FROM cdc_lsn_time_mapping WHERE start_lsn = ?",
                arguments: [Int64(lsn.high)])
            return found == read[1]
        }
    }

    private func backUp() throws {
        let path = bench.directory.file("backup-\(backups.count).db")
        try bench.application.backup(to: DatabaseQueue(path: path))
        backups.append((path, writer))
        note("backup \(backups.count)")
    }

    private func putBack() async throws {
        guard let backup = backups.randomElement(using: &random) else { return }
        try DatabaseQueue(path: backup.path).backup(to: bench.application)
        writer = backup.writer
        isDoubtful = true
        tally.restores += 1
        note("the source is put back from \(backup.path.suffix(11))")
        // Mostly life goes on there before the pipeline looks.
        for _ in 0..<[0, 1, 1, 4].pick(&random) {
            try write()
            _ = try await bench.source.bounds()
        }
    }

    /// A migration makes a table anew, which drops the triggers that capture its changes.
    private func migrate() throws {
        let table = bench.captures.map(\.table).pick(&random)
        let isPuttingBack = random.chance(0.3)
        try bench.rebuild(table, puttingBack: isPuttingBack)
        hasSnapshots = true
        tally.migrations += 1
        note("\(table) is rebuilt\(isPuttingBack ? ", its triggers put back" : "")")
    }

    /// Purges all that may be purged, as of the watermarks there are.
    private func cleanUp() async throws {
        if !isDoubtful { try await acknowledge() }
        let count = try await bench.source.cleanUp(olderThan: Timestamp(microseconds: .max))
        note("cleanup: \(count) changes")
    }

    /// Tells the source how far the pipeline has read, as the pipeline does at its start and now and then.
    private func acknowledge() async throws {
        try await bench.source.acknowledge(
            SourceReader(id: "serving", watermarks: bench.watermarks().mapValues(\.lastIngestedLSN)))
    }

    private func askForResync() async throws {
        let all = random.chance(0.3)
        let capture = bench.captures.randomElement(using: &random)?.instance
        _ = try await bench.serving.requestResync(source: Bench.sourceName, capture: all ? nil : capture)
        hasSnapshots = true
        note("resync of \(all ? "all" : capture ?? "") asked for")
    }

    /// Another SOURCE_NAME must not take up what is staged.
    private func changeSourceName() async throws {
        guard let capture = bench.captures.randomElement(using: &random),
            try await bench.watermark(capture.table) > .zero
        else { return }
        do {
            try await bench.serving.prepareStaging(for: capture, source: "another")
            throw Bench.Failure("staging of \(capture.table) is taken up under another source's name")
        } catch TidemarkError.configuration {
            note("another source name is refused")
        }
    }

    private func ingestSome() async throws {
        let tables = bench.captures.map(\.table).shuffled(using: &random)
        for table in tables.prefix([1, 2, 3].pick(&random)) where random.chance(eagerness[table] ?? 1) {
            let step = try await ingest(table)
            note("ingest \(table): \(step.map { "\($0.rows) rows to \($0.watermark)" } ?? "idle")")
            tally.ingests += 1
        }
    }

    /// One window of one capture; `nil` also when the source turns out to have another history, or was put back while the
    /// table was read.
    private func ingest(_ table: String) async throws -> Ingestor.Step? {
        guard let ingestor = ingestors[table], let watermark = try await bench.watermarks()["dbo_\(table)"] else {
            return nil
        }
        do {
            return try await ingestor.step(after: watermark, bounds: bounds)
        } catch TidemarkError.otherHistory where isDoubtful {
            return nil
        } catch TidemarkError.transient where tally.restores > 0 {
            return nil
        } catch TidemarkError.restarted where tally.migrations > 0 {
            // Found to be made anew in the read itself, after the look; the next look has the table read.
            return nil
        }
    }

    /// Ingestors that know nothing yet, as after a start.
    private func openIngestors() {
        for capture in bench.captures {
            ingestors[capture.table] = bench.ingestor(
                capture, maxRows: [1, 2, 5, 30, 10_000].pick(&random),
                limits: BlockLimits(rows: [1, 8_192].pick(&random), bytes: [1, 4_096, 1 << 20].pick(&random)),
                engine: bench.engine)
        }
    }

    private func project(_ name: String) async throws {
        try check(name, try await bench.project(name))
    }

    /// Everything at once, as in the service: a writer, all ingestors and all workers.
    private func burst() async throws {
        note("burst")
        let watermarks = try await bench.watermarks()
        let bounds = bounds
        let steps =
            try await withThrowingTaskGroup(of: (String, ProjectionWorker.Step?).self) { group in
                for (name, worker) in self.bench.workers {
                    group.addTask { (name, try await worker.step(watermarks: watermarks)) }
                }
                let isDoubtful = isDoubtful
                let hasRestores = tally.restores > 0
                let hasMigrations = tally.migrations > 0
                for capture in self.bench.captures {
                    guard let ingestor = ingestors[capture.table], let watermark = watermarks[capture.instance]
                    else { continue }
                    group.addTask {
                        do {
                            _ = try await ingestor.step(after: watermark, bounds: bounds)
                        } catch TidemarkError.otherHistory where isDoubtful {
                        } catch TidemarkError.transient where hasRestores {
                        } catch TidemarkError.restarted where hasMigrations {}
                        return ("", nil)
                    }
                }
                try self.write()
                var steps: [String: ProjectionWorker.Step?] = [:]
                for try await (name, step) in group where !name.isEmpty { steps[name] = step }
                return steps
            }
        for (name, step) in steps.sorted(by: { $0.key < $1.key }) { try check(name, step) }
    }

    private func askForRebuild() async throws {
        let name = names.pick(&random)
        try await bench.serving.requestRebuild(projection: name)
        note("rebuild of \(name) asked for")
    }

    /// Ingests and projects until nothing is left to do; then everything shows the last state.
    private func drain() async throws {
        note("drain")
        try await closePosition()
        if isDoubtful {
            _ = try await bench.serving.requestResync(source: Bench.sourceName, capture: nil)
            try await closePosition()
        }
        // A read of a table moves the log's end, which the others have to reach then.
        for _ in 0..<10 {
            try await closePosition()
            while true {
                var isIdle = true
                for capture in bench.captures {
                    if try await ingest(capture.table) != nil { isIdle = false }
                }
                if isIdle { break }
            }
        }
        for name in names {
            try await project(name)
            let shown = try bench.table(name, key: keyLengths[name] ?? 1)
            guard shown.asOf == bounds.maxLSN else {
                throw Bench.Failure("\(name) ended at \(shown.asOf), not at the source's end \(bounds.maxLSN)")
            }
            try compare(name, shown.rows, expected(name, asOf: shown.asOf), "at the end")
        }
        try checkOrder()
    }

    // MARK: Restarts

    private enum ReplicaFate: CaseIterable {
        case kept, checkpointed, logLost, damaged, truncated, lost
    }

    private func restart() async throws {
        tally.restarts += 1
        let previous = isOnDisk ? directory(generation) : nil
        let fate = ReplicaFate.allCases.pick(&random)
        if fate == .checkpointed, let session = try await bench.replica?.makeSession(name: "checkpoint") {
            try await session.run { try $0.execute("CHECKPOINT") }
        }
        isOnDisk = random.chance(0.7)
        let state = isOnDisk ? stateDirectory() : nil
        if let previous, let state, fate != .lost { try copyReplica(from: previous, to: state, fate) }
        if random.chance(0.4) {
            let name = names.pick(&random)
            variants[name, default: 0] += 1
            note("definition of \(name) changes")
        }
        try await bench.reopenDatabases()
        history = SourceHistory(
            name: Bench.sourceName, source: bench.source, store: bench.serving, onMismatch: policy,
            logger: Bench.logger)
        try await history.refresh()
        try await open("restart, replica \(previous == nil || state == nil ? "in memory" : "\(fate)")", state: state)
        if random.chance(0.7) { try await closePosition() }
    }

    private func open(_ reason: String, state: String?) async throws {
        note("\(reason), folding past \(foldLimits.threshold) changes, stalled past \(foldLimits.stalled)")
        try await bench.openProjections(
            try names.map(definition), state: state, epoch: history.epoch, foldLimits: foldLimits)
        openIngestors()
    }

    private func directory(_ generation: Int) -> String { bench.directory.file("state-\(generation)") }

    private func stateDirectory() -> String {
        generation += 1
        return directory(generation)
    }

    /// Copies the replica's files as they are now, which is what a crash would leave.
    private func copyReplica(from: String, to: String, _ fate: ReplicaFate) throws {
        let files = FileManager.default
        try files.createDirectory(atPath: to, withIntermediateDirectories: true)
        for name in ["state.duckdb", "state.duckdb.wal"] where files.fileExists(atPath: "\(from)/\(name)") {
            if fate == .logLost, name.hasSuffix(".wal") { continue }
            try files.copyItem(atPath: "\(from)/\(name)", toPath: "\(to)/\(name)")
        }
        guard fate == .damaged || fate == .truncated else { return }
        let present = ["state.duckdb", "state.duckdb.wal"].filter { files.fileExists(atPath: "\(to)/\($0)") }
        guard let victim = present.randomElement(using: &random) else { return }
        var bytes = try Data(contentsOf: URL(filePath: "\(to)/\(victim)"))
        guard !bytes.isEmpty else { return }
        if fate == .truncated {
            bytes = bytes.prefix(Int.random(in: 0..<bytes.count, using: &random))
        } else {
            for _ in 0..<[1, 30].pick(&random) {
                let start = Int.random(in: 0..<bytes.count, using: &random)
                for index in start..<min(start + 40, bytes.count) {
                    bytes[index] = UInt8.random(in: 0...255, using: &random)
                }
            }
        }
        try bytes.write(to: URL(filePath: "\(to)/\(victim)"))
    }

    // MARK: Definitions

    private func definition(_ name: String) throws -> ProjectionDefinition {
        let variant = variants[name] ?? 0
        if name == "orders_by_status" {
            return ProjectionDefinition(
                name: name,
                // Another capture, which may lag far behind what readers have seen.
                captures: [.init(name: "orders", columns: ["status", "amount", "customer_id", "__lsn"])]
                    + (isWide ? [.init(name: "payments", columns: ["payment_id"])] : []),
                key: ["status"],
                query: """
                    SELECT coalesce(status, '(none)') AS status, count(*)::BIGINT AS orders,
                        coalesce(sum(amount), 0)::DECIMAL(38, 2) AS amount, max(__lsn) AS latest
                        \(isWide ? ", count(DISTINCT customer_id)::BIGINT AS customers" : "")
                    FROM orders GROUP BY 1
                    """)
        }
        var definition = try Bench.shipped(name)
        // The same result by another way: recomputed in full, or with another text.
        if variant % 2 == 1 { definition.affected = nil }
        definition.query += "\n-- variant \(variant)"
        return definition
    }

    private var isWide: Bool { (variants["orders_by_status"] ?? 0) % 2 == 1 }

    private func expected(_ name: String, asOf lsn: LSN) -> ProjectionRows {
        let shop = staged.shop(asOf: lsn)
        return switch name {
        case "orders_kpi_by_minute_segment": shop.kpi
        case "orders_latest": shop.latest
        case "customer_lifetime_value": shop.lifetimeValue
        default: shop.byStatus(wide: isWide)
        }
    }

    // MARK: Checks

    private func check(_ name: String, _ step: ProjectionWorker.Step?) throws {
        guard let step else {
            note("project \(name): idle")
            return
        }
        note(
            "project \(name): \(step.rows) rows to \(step.asOf)\(step.buildReason.map { ", built: \($0.rawValue)" } ?? "")"
        )
        if step.buildReason == nil { tally.advances += 1 } else { tally.builds += 1 }
        let shown = try bench.table(name, key: keyLengths[name] ?? 1)
        guard shown.asOf == step.asOf else {
            throw Bench.Failure("\(name) shows as_of_lsn \(shown.asOf) after a step to \(step.asOf)")
        }
        let expected = expected(name, asOf: shown.asOf)
        try compare(name, shown.rows, expected, "as of \(shown.asOf)")
        if hasSnapshots {
            // Rows may be written for their LSN alone.
        } else if step.buildReason == nil, let before = lastShown[name] {
            let changed = Set(before.rows.keys).union(expected.keys).filter { before.rows[$0] != expected[$0] }.count
            guard step.rows == changed else {
                throw Bench.Failure("\(name) wrote \(step.rows) rows where \(changed) changed")
            }
        } else if step.buildReason != nil, step.rows != expected.count {
            throw Bench.Failure("\(name) was built with \(step.rows) rows and has \(expected.count)")
        }
        lastShown[name] = (shown.asOf, shown.rows)
    }

    private func compare(_ name: String, _ actual: ProjectionRows, _ expected: ProjectionRows, _ moment: String) throws
    {
        let (actual, expected) = (shown(name, actual), shown(name, expected))
        guard actual != expected else { return }
        var lines: [String] = []
        for (key, row) in expected where actual[key] != row {
            lines.append("expected \(Self.text(row)), found \(actual[key].map(Self.text) ?? "nothing")")
        }
        for (key, row) in actual where expected[key] == nil {
            lines.append("found \(Self.text(row)), expected nothing")
        }
        throw Bench.Failure("\(name) is wrong \(moment):\n  \(lines.sorted().prefix(10).joined(separator: "\n  "))")
    }

    /// The rows without the LSN of their latest change, once that may be the LSN of a read.
    private func shown(_ name: String, _ rows: ProjectionRows) -> ProjectionRows {
        guard hasSnapshots else { return rows }
        switch name {
        case "orders_latest": return rows.mapValues { Array($0.dropLast()) }
        case "orders_by_status": return rows.mapValues { Array($0.prefix(3) + $0.dropFirst(4)) }
        default: return rows
        }
    }

    private static func text(_ row: [String?]) -> String {
        "(" + row.map { $0 ?? "NULL" }.joined(separator: ", ") + ")"
    }

    /// Invariant 2: checkpoint <= cutoff <= watermarks <= source max LSN, and none moves back.
    private func checkOrder() throws {
        let watermarks = try bench.rows("SELECT capture_instance, hex(last_ingested_lsn) FROM ctl_ingestion_watermarks")
        let states = try bench.rows(
            """
            SELECT m.projection_name, hex(m.as_of_lsn), c.capture_instance, hex(c.last_consumed_lsn)
            FROM ctl_projection_metadata m JOIN ctl_projection_checkpoints c USING (projection_name)
            """)
        let clock = try bench.application.inDatabase { try Int64.fetchOne($0, sql: "SELECT value FROM cdc_clock") ?? 0 }
        var present: [String: LSN] = [:]
        for row in watermarks {
            guard let name = row[0], let lsn = LSN(hex: "0x" + (row[1] ?? "")) else {
                throw Bench.Failure("bad watermark \(row)")
            }
            present[name] = lsn
            guard lsn.high < UInt64(clock) || isDoubtful else {
                throw Bench.Failure("watermark \(lsn) of \(name) is beyond the source's end")
            }
            guard lsn >= lastWatermarks[name] ?? .zero else {
                throw Bench.Failure(
                    "the watermark of \(name) moved back from \(lastWatermarks[name] ?? .zero) to \(lsn)")
            }
        }
        lastWatermarks = present
        for row in states {
            guard let name = row[0], let capture = row[2], let asOf = row[1], row[3] == asOf,
                let lsn = LSN(hex: "0x" + asOf)
            else { throw Bench.Failure("checkpoint and as_of_lsn differ: \(row)") }
            guard let watermark = present[capture], lsn <= watermark else {
                throw Bench.Failure("checkpoint \(lsn) of \(name) is beyond the watermark of \(capture)")
            }
            if let before = lastShown[name]?.asOf, lsn < before {
                throw Bench.Failure("the checkpoint of \(name) moved back from \(before) to \(lsn)")
            }
        }
    }

    private func note(_ step: String) { trace.append("\(trace.count + 1). \(step)") }
}
