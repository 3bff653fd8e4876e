import Blocking
package import DuckDB
import Foundation
import Logging
package import Tidemark

/// The local DuckDB copy of the captured tables: a cache, always rebuildable from staging.
///
/// Each capture has two tables in the schema `replica`:
///
/// - `base_<table>`, its rows as of `base_lsn`, one per key;
/// - `log_<table>`, every change in `(base_lsn, loaded_lsn]`, in log order.
///
/// The state at any LSN between the two is the base without the keys changed since, plus their latest
/// images. So projections at different checkpoints share one replica, and `fold` moves into the base what
/// every projection has passed.
///
/// All of it is in one DuckDB file; every change to it is one transaction, and positions are part of it.
package actor Replica {
    /// The log folds into the base when it holds more changes than this: enough that the scan of the base
    /// which a fold needs is rare, few enough that reading the log costs a cycle some milliseconds.
    package static let foldThreshold = 10_000
    /// A projection that has stopped advancing keeps the log from folding until it holds this many changes.
    /// Then the others go on without it, and it is built in full when it recovers.
    package static let stalledThreshold = 2_000_000

    /// 32 MiB: the log folds as well when it holds more than this, of rows so wide that there are not so many.
    private static let foldBytes = 32 << 20

    package nonisolated let captures: [Capture]
    /// Those whose tables cannot be made, with what DuckDB says; they are not among `captures`.
    package nonisolated let refused: [RefusedCapture]

    /// When a log is folded into its base.
    package struct FoldLimits: Sendable {
        /// Changes a log may hold before it is folded.
        package var threshold: Int
        /// Changes it may hold before a projection that has stopped no longer keeps it from being folded.
        package var stalled: Int

        package init(threshold: Int = Replica.foldThreshold, stalled: Int = Replica.stalledThreshold) {
            self.threshold = threshold
            self.stalled = stalled
        }
    }

    /// `nil` once it is closed.
    private var database: Database?
    private var sessions: [WeakSession] = []
    private let session: Session
    private let store: any ServingStore
    private let logger: Logger
    private let foldLimits: FoldLimits
    private var positions: [String: ReplicaFile.Position] = [:]
    private var pins: [String: Pin] = [:]
    /// The last piece of serial work; the next one waits for it.
    private var tail: Task<Void, Never>?

    /// How far a projection has come: the log after it must stay.
    private struct Pin {
        var captures: Set<String>
        var checkpoint: LSN
    }

    /// Opens the replica of `captures`, or makes it anew when the file is missing, damaged, or comes from
    /// another serving database.
    ///
    /// - Parameters:
    ///   - store: where staged changes come from.
    ///   - watermarks: how far staging goes, by capture instance.
    ///   - epoch: counts the histories of the source; a replica of an earlier one is made anew.
    /// - Throws: `TidemarkError.unavailable` when another process uses the directory.
    init(
        _ options: DuckDBComputeEngine.Options, captures: [Capture], store: any ServingStore,
        watermarks: [String: Watermark], epoch: Int, logger: Logger
    ) async throws {
        foldLimits = options.foldLimits
        self.store = store
        self.logger = logger
        let origin = "\(try await store.servingID()) \(epoch)"
        let contents: ReplicaFile.Contents
        let opened: Database
        (opened, contents) = try await ThreadExecutor(name: "replica.open").run {
            try ReplicaFile.open(options, logger: logger) { database in
                try ReplicaFile.reconcile(database, captures: captures, origin: origin)
            }
        }
        database = opened
        positions = contents.positions
        refused = contents.refused
        self.captures = captures.filter { contents.positions[$0.instance] != nil }
        session = try await Session(database: opened, name: "replica")

        // A replica that is ahead of staging was made from a serving database that has since been set back.
        let stale = positions.filter { $0.value.loaded > watermarks[$0.key]?.lastIngestedLSN ?? .zero }.keys.sorted()
        if !stale.isEmpty {
            logger.warning(
                "the replica is ahead of staging and is rebuilt",
                metadata: ["captures": "\(stale.joined(separator: ","))"])
            try await reset(stale)
        }
    }

    private func capture(_ instance: String) -> Capture? { captures.first { $0.instance == instance } }

    /// A connection of its own for a projection worker.
    package func makeSession(name: String) async throws -> Session {
        guard let database else { throw DuckDBError.closed("replica") }
        let session = try await Session(database: database, name: name)
        sessions.removeAll { $0.session == nil }
        sessions.append(WeakSession(session: session))
        return session
    }

    private struct WeakSession {
        weak var session: Session?
    }

    /// Closes every connection, and waits for the file to be closed: DuckDB would open it once more in this process, and
    /// both would write it.
    package func close() async {
        await tail?.value
        for open in sessions { await open.session?.close() }
        await session.close()
        weak let closing = database
        database = nil
        // The connections of sessions that were dropped are closed on their own threads. Whoever ends the pipeline waits
        // for this, so it has a bound, of a checkpoint that takes long.
        let deadline = ContinuousClock.now + .seconds(10)
        // A task of its own, which the caller's cancellation leaves alone.
        let waiting = Task {
            while closing != nil, ContinuousClock.now < deadline { try await Task.sleep(for: .milliseconds(2)) }
        }
        _ = await waiting.result
    }

    /// The oldest LSN at which the state of all of `instances` can still be shown.
    package func baseLSN(of instances: some Sequence<String>) -> LSN {
        instances.compactMap { positions[$0]?.base }.max() ?? .zero
    }

    /// Loads staged changes of `instances` up to `lsn`. What is already there is not read again.
    package func load(_ instances: some Sequence<String> & Sendable, upTo lsn: LSN) async throws {
        let wanted = instances.compactMap(capture)
        try await serially { try await self.load(wanted, through: lsn) }
    }

    /// Says that `projection` needs the state of `instances` at `checkpoint` and later.
    package func pin(_ projection: String, captures instances: Set<String>, at checkpoint: LSN) {
        pins[projection] = Pin(captures: instances, checkpoint: checkpoint)
    }

    /// Empties the tables of `instances`, which the next `load` reads from staging again.
    ///
    /// An evaluation that needs them meanwhile finds that out and starts over as well.
    func startOver(_ instances: some Sequence<String> & Sendable) async throws {
        try await serially { try await self.reset(Array(instances)) }
    }

    /// Folds the logs that have grown past the threshold as far as the pins allow.
    package func foldIfDue() async throws {
        for (instance, position) in positions
        where position.logRows > foldLimits.threshold || position.logBytes > Self.foldBytes {
            guard let capture = capture(instance) else { continue }
            var holders = pins.filter { $0.value.captures.contains(instance) }
            if position.logRows > foldLimits.stalled,
                let slowest = holders.min(by: { $0.value.checkpoint < $1.value.checkpoint }),
                holders.values.contains(where: { $0.checkpoint > slowest.value.checkpoint })
            {
                holders[slowest.key] = nil
                pins[slowest.key] = nil
                logger.warning(
                    "a projection lags too far behind and will be built in full",
                    metadata: ["projection": "\(slowest.key)"])
            }
            guard let target = holders.values.map(\.checkpoint).min(), target > position.base else { continue }
            try await serially { try await self.fold(capture, to: min(target, position.loaded)) }
        }
    }

    // MARK: Loading and folding

    /// What one capture has to load.
    private struct Load: Sendable {
        let capture: Capture
        let position: ReplicaFile.Position
        let window: LSNWindow
        let reader: any BlockReader<ChangeBatch>
    }

    /// Loads what is missing of all of `captures`, in one transaction.
    private func load(_ captures: [Capture], through lsn: LSN) async throws {
        var loads: [Load] = []
        for capture in captures {
            guard let position = positions[capture.instance], position.loaded < lsn else { continue }
            let window = LSNWindow(after: position.loaded, through: lsn)
            let staged = try await store.staged(capture, in: window, limits: .shared(among: self.captures.count))
            loads.append(
                Load(capture: capture, position: position, window: window, reader: BlockChannel.prefetch(staged)))
        }
        guard !loads.isEmpty else { return }
        let loaded: [(rows: Int, bytes: Int)] = try await session.run { [loads] connection in
            try connection.transaction {
                let loaded = try loads.map { load in
                    // Most windows of most captures hold no change, and need no appender.
                    guard let first = try load.reader.next() else { return (0, 0) }
                    return try Self.append(
                        load.capture, first, then: load.reader, after: load.position.lastOrdinal, to: connection)
                }
                let instances = loads.map { SQLText.literal($0.capture.instance) }.joined(separator: ", ")
                try connection.execute(
                    "UPDATE replica.positions SET loaded_lsn = \(lsn.sqlLiteral) WHERE capture_instance IN (\(instances))"
                )
                return loaded
            }
        }
        for (load, (rows, bytes)) in zip(loads, loaded) {
            let instance = load.capture.instance
            positions[instance]?.lastOrdinal += Int64(rows)
            positions[instance]?.loaded = lsn
            positions[instance]?.logRows += rows
            positions[instance]?.logBytes += bytes
        }
        // A first load, or one after a lost file, is one big log: it becomes the base at once, up to where
        // the projections are.
        for (load, (rows, _)) in zip(loads, loaded) where load.window.after == .zero && rows > 0 {
            let pinned = pins.values.filter { $0.captures.contains(load.capture.instance) }.map(\.checkpoint).min()
            try await fold(load.capture, to: min(pinned ?? lsn, lsn))
        }
    }

    /// Appends `first` and what follows it to the capture's log. Returns how many changes and bytes that were.
    private static func append(
        _ capture: Capture, _ first: ChangeBatch, then reader: any BlockReader<ChangeBatch>, after lastOrdinal: Int64,
        to connection: Connection
    ) throws -> (rows: Int, bytes: Int) {
        let log = ReplicaTables(capture).log
        var ordinal = lastOrdinal
        let appender = try connection.appender(schema: "replica", table: log.name)
        let chunk = appender.makeChunk()
        var next: ChangeBatch? = first
        var unflushed = 0
        var bytes = 0
        while let block = next {
            bytes += block.byteCount
            for start in stride(from: 0, to: block.count, by: DataChunk.capacity) {
                let rows = start..<min(start + DataChunk.capacity, block.count)
                chunk.reset()
                chunk.count = rows.count
                try chunk.withMutableValues(of: Int64.self, column: 0) { ordinals in
                    for row in 0..<rows.count { ordinals[row] = ordinal + Int64(row) + 1 }
                }
                ordinal += Int64(rows.count)
                for row in rows {
                    try block.lsns[row].withBytes {
                        try chunk.setValidatedBytes($0, row: row - rows.lowerBound, column: 1)
                    }
                }
                try chunk.withMutableValues(of: UInt8.self, column: 2) { operations in
                    for row in rows { operations[row - rows.lowerBound] = block.operations[row] }
                }
                for (index, vector) in block.columns.enumerated() {
                    try chunk.copy(vector, rows: rows, to: index + 3)
                }
                try appender.append(chunk)
            }
            try appender.flush(after: block, unflushed: &unflushed)
            next = try reader.next()
        }
        try appender.close()
        return (Int(ordinal - lastOrdinal), bytes)
    }

    private func fold(_ capture: Capture, to lsn: LSN) async throws {
        guard let position = positions[capture.instance], lsn > position.base else { return }
        let tables = ReplicaTables(capture)
        let isWhole = lsn >= position.loaded
        let method = FoldMethod(rows: position.logRows, bytes: position.logBytes)
        let logRows = try await session.run { connection in
            func fold(by method: FoldMethod) throws {
                try connection.transaction {
                    try connection.execute(tables.fold(to: lsn, isWhole: isWhole, by: method))
                }
            }
            do {
                try fold(by: method)
            } catch let error as DuckDBError where error.kind == .outOfMemory && method != .leastMemory {
                // Of a file that was opened it is not known how wide the rows are.
                try fold(by: .leastMemory)
            }
            return try connection.scalar("SELECT count(*) FROM \(tables.log.qualified)").int64 ?? 0
        }
        positions[capture.instance]?.base = lsn
        positions[capture.instance]?.logRows = Int(logRows)
        positions[capture.instance]?.logBytes = position.logBytes / max(1, position.logRows) * Int(logRows)
    }

    /// Empties the tables of `instances`, to be loaded from staging again.
    private func reset(_ instances: [String]) async throws {
        for instance in instances {
            guard let capture = capture(instance) else { continue }
            try await session.run { connection in
                try connection.transaction { try connection.execute(ReplicaTables(capture).create) }
            }
            positions[instance] = .empty
        }
    }

    /// Runs `work` after all serial work asked for before it.
    private func serially(_ work: @escaping @Sendable () async throws -> Void) async throws {
        let previous = tail
        let task = Task {
            await previous?.value
            try Task.checkCancellation()
            try await work()
        }
        tail = Task { _ = await task.result }
        try await withTaskCancellationHandler {
            try await task.value
        } onCancel: {
            task.cancel()
        }
    }
}
