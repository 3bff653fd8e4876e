public import Foundation
public import Logging
import Synchronization
public import Testing
public import Tidemark

/// What the whole pipeline promises over any source and any serving store: at every moment each projection is its
/// query over the source as of the LSN it names, whatever is written, restarted, lost or rebuilt meanwhile.
///
/// The pipeline runs as it does in production, while a random program writes the sample shop; the projections are
/// read through the store's port again and again, and compared with a model of the shop.
public enum PipelineContract {
    /// How long one life of a pipeline is.
    public struct Length: Sendable {
        public var rounds: Int
        public var transactionsPerRound: Int

        public init(rounds: Int, transactionsPerRound: Int) {
            self.rounds = rounds
            self.transactionsPerRound = transactionsPerRound
        }
    }

    /// How the pipeline is run: as a part of this process, or as one of its own.
    public protocol Runner: Sendable {
        func start() async throws
        /// Ends it, by killing it unless this is the last time.
        func stop(isLast: Bool) async throws
    }

    /// Makes what opens the pipeline's engine over a store; without a directory, one that keeps nothing.
    public typealias Engines =
        @Sendable (_ state: URL?, _ store: any ServingStore, _ logger: Logger) -> EngineFactory

    /// The statements of the first transactions of a seed's program, for a source to run before it captures changes.
    ///
    /// - Parameter literal: a literal of Unicode text in the source's SQL.
    public static func statements(
        seed: UInt64, transactions: Int, literal: @escaping @Sendable (String) -> String
    ) -> [String] {
        var script = ShopScript(seed: seed, literal: literal)
        return (0..<transactions).flatMap { _ in
            let (statements, commits) = script.next()
            return commits ? statements : []
        }
    }

    /// - Parameters:
    ///   - older: the first transactions of the program, which the source ran before it captured changes: their rows
    ///     come by the initial read, which the next transactions go along with.
    ///   - runner: how the pipeline is run; as a part of this process by default.
    ///   - disturb: called now and then, to cut connections and the like.
    ///   - engines: what the pipeline and the final check evaluate projections with.
    ///   - definitions: the shipped projections by these names: `orders_kpi_by_minute_segment`, `orders_latest`,
    ///     `customer_lifetime_value`; others are not compared.
    ///   - state: a directory for the replica, made anew at each restart or not.
    ///   - patience: how long the projections may take to arrive at what was written.
    public static func check(
        source: any SourceFixture, serving: any ServingFixture, engines: @escaping Engines,
        definitions: [ProjectionDefinition], state: URL, seed: UInt64, length: Length, older: Int = 0,
        patience: Duration = .seconds(120), runner: (any Runner)? = nil, disturb: (@Sendable () -> Void)? = nil,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let life = Life(
            source: source, serving: serving, engines: engines, definitions: definitions, state: state, seed: seed,
            older: older, patience: patience, runner: runner, disturb: disturb)
        do {
            try await life.run(length)
        } catch {
            Issue.record("seed \(seed): \(error)", sourceLocation: sourceLocation)
        }
    }
}

private struct Wrong: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// The pipeline on tasks of this process.
private final class InProcess: PipelineContract.Runner {
    private let source: any ChangeSource
    private let serving: any ServingFixture
    private let engines: PipelineContract.Engines
    private let definitions: [ProjectionDefinition]
    private let state: URL
    private let running = Mutex<(pipeline: Pipeline, run: Task<Void, any Error>)?>(nil)
    private let random: Mutex<SplitMix64>

    init(
        source: any ChangeSource, serving: any ServingFixture, engines: @escaping PipelineContract.Engines,
        definitions: [ProjectionDefinition], state: URL, seed: UInt64
    ) {
        self.source = source
        self.serving = serving
        self.engines = engines
        self.definitions = definitions
        self.state = state
        random = Mutex(SplitMix64(state: seed &+ 2))
    }

    func start() async throws {
        var options = Pipeline.Options()
        options.sourceName = sourceName
        options.pollInterval = .milliseconds(20)
        options.projectionInterval = .milliseconds(20)
        options.batchMaxRows = random.withLock { [1, 7, 200, 50_000].randomElement(using: &$0) ?? 1 }
        let store = try await serving.another()
        let pipeline = Pipeline(
            source: source, store: store, engine: engines(state, store, Logger.contract), definitions: definitions,
            options: options, logger: Logger.contract)
        running.withLock { $0 = (pipeline, Task { try await pipeline.run() }) }
    }

    func stop(isLast: Bool) async throws {
        let stopping = running.withLock { running in
            defer { running = nil }
            return running
        }
        stopping?.pipeline.stop()
        try await stopping?.run.value
    }
}

private let sourceName = "source1"

extension Logger {
    /// Silent, unless TIDEMARK_TEST_LOG is set to see what a failing pipeline says.
    fileprivate static var contract: Logger {
        let isSilent = ProcessInfo.processInfo.environment["TIDEMARK_TEST_LOG"] == nil
        return Logger(label: "contract") { label -> any LogHandler in
            isSilent ? SwiftLogNoOpLogHandler() as any LogHandler : StreamLogHandler.standardError(label: label)
        }
    }
}

private final class Life {
    private let source: any SourceFixture
    private let serving: any ServingFixture
    private let engines: PipelineContract.Engines
    private let definitions: [ProjectionDefinition]
    private let state: URL
    private let patience: Duration
    private let runner: any PipelineContract.Runner
    private let disturb: (@Sendable () -> Void)?
    private var random: SplitMix64
    private var script: ShopScript
    private var customers: Capture?
    private let hasOlderRows: Bool
    /// Signalled after each transaction.
    private let written = DispatchSemaphore(value: 0)

    init(
        source: any SourceFixture, serving: any ServingFixture, engines: @escaping PipelineContract.Engines,
        definitions: [ProjectionDefinition], state: URL, seed: UInt64, older: Int, patience: Duration,
        runner: (any PipelineContract.Runner)?,
        disturb: (@Sendable () -> Void)?
    ) {
        self.source = source
        self.serving = serving
        self.engines = engines
        self.definitions = definitions
        self.state = state
        self.patience = patience
        self.disturb = disturb
        self.runner =
            runner
            ?? InProcess(
                source: older > 0 ? SlowlyReadSource(source.source, between: written) : source.source,
                serving: serving, engines: engines, definitions: definitions, state: state, seed: seed)
        random = SplitMix64(state: seed &+ 1)
        script = ShopScript(seed: seed) { [source] in source.literal($0) }
        hasOlderRows = older > 0
        for _ in 0..<older { _ = script.next() }
    }

    func run(_ length: PipelineContract.Length) async throws {
        customers = try await source.source.captures().first { $0.table == "customers" }
        for round in 0..<length.rounds {
            if round > 0, Bool.random(using: &random) { try? FileManager.default.removeItem(at: state) }
            try await runner.start()
            let isLast = round == length.rounds - 1
            do {
                try await work(length.transactionsPerRound)
                // The last round ends with everything in place; others are cut off wherever they are.
                if isLast { try await arrive() }
            } catch {
                try? await runner.stop(isLast: true)
                throw error
            }
            try await runner.stop(isLast: isLast)
        }
        try await verify()
    }

    private func work(_ transactions: Int) async throws {
        for _ in 0..<transactions {
            try await write()
            switch Int.random(in: 0..<10, using: &random) {
            case 0:
                for definition in definitions { _ = try await compare(definition.name) }
            case 1:
                if let name = definitions.randomElement(using: &random)?.name {
                    if try await serving.store.projection(name) != nil {
                        try await serving.store.requestRebuild(projection: name)
                    }
                }
            case 2: disturb?()
            case 3...5:
                try await Task.sleep(for: .milliseconds(Int.random(in: 5...120, using: &random)))
            default: break
            }
        }
    }

    private func write() async throws {
        let (statements, commits) = script.next()
        if commits { try await source.transaction(statements) } else { try await source.rolledBack(statements) }
        written.signal()
    }

    /// Waits until every projection shows the last transaction.
    private func arrive() async throws {
        let end = ContinuousClock.now + patience
        // A log that stands still does not tell that it has passed the end of a read.
        var nextWrite = ContinuousClock.now + Self.idleLimit
        for definition in definitions {
            while try await compare(definition.name) != script.history.count - 1 {
                guard ContinuousClock.now < end else {
                    let state = try await serving.store.projection(definition.name)
                    let marks = try await serving.store.watermarks(source: sourceName)
                    throw Wrong(
                        "\(definition.name) has not arrived at transaction \(script.history.count - 1): \(String(describing: state)), \(marks)"
                    )
                }
                if hasOlderRows, ContinuousClock.now >= nextWrite {
                    try await write()
                    nextWrite = .now + Self.idleLimit
                }
                try await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    private static let idleLimit: Duration = .seconds(2)

    /// Compares a projection as a reader sees it with the model at that position; the number of the transaction it
    /// shows, `nil` when it has not been built.
    private func compare(_ name: String) async throws -> Int? {
        guard let expected = Expected(name), try await serving.store.projection(name)?.asOfLSN != nil else {
            return nil
        }
        let (state, reader) = try await serving.store.readProjection(name, columns: expected.columns, blockRows: 500)
        let rows = try await Task.detached { try reader.blocks() }.value.flatMap(\.readable)
        guard let asOf = state.asOfLSN, let number = try await transaction(asOf: asOf) else {
            guard rows.isEmpty else { throw Wrong("\(name) has \(rows.count) rows before the first transaction") }
            return 0
        }
        let shown = Dictionary(
            rows.map { row in
                let row = row.prefix(expected.compared).map { $0.map(Text.exact) }
                return (Array(row.prefix(expected.key)), row)
            }, uniquingKeysWith: { first, _ in first })
        guard shown.count == rows.count else { throw Wrong("\(name) has a key twice at transaction \(number)") }
        let model = expected.rows(script.history[number]).mapValues { Array($0.prefix(expected.compared)) }
        guard shown == model else {
            var lines: [String] = []
            for (key, row) in model where shown[key] != row {
                lines.append(
                    "expected \(row.map { $0 ?? "NULL" }), found \(shown[key].map { "\($0.map { $0 ?? "NULL" })" } ?? "nothing")"
                )
            }
            for (key, row) in shown where model[key] == nil {
                lines.append("found \(row.map { $0 ?? "NULL" }), expected nothing")
            }
            throw Wrong(
                "\(name) is wrong as of \(asOf), transaction \(number):\n  \(lines.sorted().prefix(10).joined(separator: "\n  "))"
            )
        }
        return number
    }

    /// The number of the last transaction at or before `lsn`.
    private func transaction(asOf lsn: LSN) async throws -> Int? {
        guard let customers else { throw Wrong("customers are not captured") }
        let reader = try await serving.store.staged(
            customers, in: LSNWindow(after: .zero, through: lsn), blockRows: 1_000)
        let changes = try await Task.detached { try reader.blocks() }.value.flatMap(\.readable)
        return changes.last { $0.values[0] == "\(ShopScript.tick)" && $0.operation != 3 }
            .flatMap { $0.values[1].flatMap { Int($0) } }
    }

    private func verify() async throws {
        let verifier = try await Verifier(
            source: source.source, store: serving.store, sourceName: sourceName,
            engine: engines(nil, serving.store, Logger.contract))
        for finding in try await verifier.projections(definitions) + verifier.sources() where !finding.isEqual {
            throw Wrong("verify: \(finding)")
        }
    }
}

/// A source whose rows are read a few at a time, with transactions in between, so that none sees the table at one moment.
private final class SlowlyReadSource: ForwardingSource {
    let base: any ChangeSource
    private let written: DispatchSemaphore

    init(_ base: any ChangeSource, between written: DispatchSemaphore) {
        self.base = base
        self.written = written
    }

    func rows(of capture: Capture, limits: BlockLimits) async throws -> any BlockReader<RowBatch> {
        SlowReader(try await base.rows(of: capture, limits: BlockLimits(rows: 5)), written)
    }
}

private final class SlowReader: BlockReader, @unchecked Sendable {
    private let base: any BlockReader<RowBatch>
    private let written: DispatchSemaphore
    /// Blocks that wait for a transaction; a large table need not take for ever.
    private var waits = 20

    init(_ base: any BlockReader<RowBatch>, _ written: DispatchSemaphore) {
        self.base = base
        self.written = written
    }

    func next() throws -> RowBatch? {
        if waits > 0 {
            waits -= 1
            _ = written.wait(timeout: .now() + .milliseconds(300))
        }
        return try base.next()
    }
}

/// What the model says a projection shows, and how it is read.
private struct Expected {
    let columns: [Column]
    /// How many columns the model knows; the rest names LSNs, which are the source's.
    let compared: Int
    let key: Int
    let rows: (ShopModel) -> ProjectionRows

    init?(_ name: String) {
        let money = LogicalType.decimal(precision: 38, scale: 2)
        switch name {
        case "orders_kpi_by_minute_segment":
            columns = [
                Column(name: "minute_bucket", type: .timestamp), Column(name: "segment", type: .string),
                Column(name: "orders_count", type: .int64), Column(name: "orders_amount_sum", type: money),
                Column(name: "paid_amount_sum", type: money),
            ]
            (compared, key, rows) = (5, 2, \.kpi)
        case "orders_latest":
            columns = [
                Column(name: "order_id", type: .int64), Column(name: "customer_id", type: .int64),
                Column(name: "segment", type: .string), Column(name: "amount", type: .decimal(precision: 18, scale: 2)),
                Column(name: "status", type: .string), Column(name: "created_at", type: .timestamp),
                Column(name: "updated_at", type: .timestamp), Column(name: "__source_lsn", type: .binary),
            ]
            (compared, key, rows) = (7, 1, \.latest)
        case "customer_lifetime_value":
            columns = [
                Column(name: "customer_id", type: .int64), Column(name: "segment", type: .string),
                Column(name: "orders_count", type: .int64), Column(name: "orders_amount_sum", type: money),
                Column(name: "paid_amount_sum", type: money), Column(name: "first_order_at", type: .timestamp),
                Column(name: "last_order_at", type: .timestamp),
            ]
            (compared, key, rows) = (7, 1, \.lifetimeValue)
        default: return nil
        }
    }
}
