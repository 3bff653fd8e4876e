import DuckDB
public import Foundation
public import Logging
public import Tidemark

/// The engine on embedded DuckDB: a replica of the captured tables in a local file, or in memory, and a connection for each
/// projection.
///
///     let engine = DuckDBComputeEngine.factory(.init(directory: state), store: store, logger: logger)
///     let pipeline = Pipeline(source: source, store: store, engine: engine, …)
public struct DuckDBComputeEngine: ComputeEngine {
    /// What the engine may use of the machine.
    public struct Options: Sendable {
        /// Where the replica lives, the state directory; `nil` keeps it in memory.
        public var directory: URL?
        /// DuckDB's `memory_limit`, e.g. `1GB`; beyond it DuckDB spills to the directory.
        public var memoryLimit: String
        /// When logs are folded; tests fold after a few changes.
        package var foldLimits = Replica.FoldLimits()

        public init(directory: URL? = nil, memoryLimit: String = "1GB") {
            self.directory = directory
            self.memoryLimit = memoryLimit
        }
    }

    package let replica: Replica

    public var captures: [Capture] { replica.captures }
    public var refused: [RefusedCapture] { replica.refused }

    /// Opens the replica of `captures`, or makes it anew when its file is missing, damaged, or comes from another serving
    /// database.
    ///
    /// - Parameters:
    ///   - store: where staged changes come from.
    ///   - watermarks: how far staging goes, by capture instance.
    ///   - epoch: counts the histories of the source; a replica of an earlier one is made anew.
    /// - Throws: `TidemarkError.unavailable` when another process uses the directory, or it cannot be used.
    public init(
        _ options: Options, captures: [Capture], store: any ServingStore, watermarks: [String: Watermark],
        epoch: Int, logger: Logger
    ) async throws {
        replica = try await Replica(
            options, captures: captures, store: store, watermarks: watermarks, epoch: epoch, logger: logger)
    }

    /// Opens engines with these options over what is staged in `store`, one at a time where there is a directory.
    public static func factory(_ options: Options, store: any ServingStore, logger: Logger) -> EngineFactory {
        { captures, watermarks, epoch in
            try await DuckDBComputeEngine(
                options, captures: captures, store: store, watermarks: watermarks, epoch: epoch, logger: logger)
        }
    }

    public func prepare(_ definition: ProjectionDefinition, refused: [RefusedCapture]) async throws
        -> any PreparedProjection
    {
        try await tellingDamage {
            let session = try await replica.makeSession(name: definition.name)
            return try await DuckDBProjection(
                definition: definition, captures: captures, refused: refused, session: session)
        }
    }

    public func oldestLSN(of instances: Set<String>) async -> LSN { await replica.baseLSN(of: instances) }

    public func load(_ instances: Set<String>, upTo lsn: LSN) async throws {
        try await tellingDamage { try await replica.load(instances, upTo: lsn) }
    }

    public func retain(_ projection: String, captures instances: Set<String>, from lsn: LSN) async {
        await replica.pin(projection, captures: instances, at: lsn)
    }

    public func release(_ projection: String, captures instances: Set<String>, before lsn: LSN) async throws {
        await replica.pin(projection, captures: instances, at: lsn)
        try await tellingDamage { try await replica.foldIfDue() }
    }

    public func startOver(_ instances: Set<String>) async throws {
        try await tellingDamage { try await replica.startOver(instances) }
    }

    public func close() async { await replica.close() }

    public func comparison(of capture: Capture, with rows: any BlockReader<RowBatch>) async throws
        -> any TableComparison
    {
        try await tellingDamage {
            let session = try await replica.makeSession(name: "compare \(capture.table)")
            return try await DuckDBTableComparison(capture: capture, rows: rows, session: session)
        }
    }
}

/// Has `body`'s finding that the replica's file is damaged told as the port does; DuckDB's other errors pass.
func tellingDamage<Result>(_ body: () async throws -> Result) async throws -> Result {
    do {
        return try await body()
    } catch let error as DuckDBError where error.kind == .corruption {
        throw ComputeEngineError.damaged("\(error)")
    }
}
