/// The port to the engine that evaluates projections: it is loaded with staged changes, and answers with results and
/// differences, as of any LSN it can show.
///
/// An engine is opened over one history of a source (`EngineFactory`). What it keeps is a copy of what is staged: a cache,
/// which it may lose or start over at any time. Where and how it keeps it, and when it folds changes into state, is its
/// own affair.
///
///     let projection = try await engine.prepare(definition, refused: [])
///     await engine.retain("orders_latest", captures: projection.plan.instances, from: checkpoint)
///     try await engine.load(projection.plan.instances, upTo: cutoff)
///     try await projection.changes(from: checkpoint, to: cutoff, to: producer)
///     try await engine.release("orders_latest", captures: projection.plan.instances, before: cutoff)
///
/// Calls may come from several tasks at a time. Each evaluation sees one version of what is loaded, whatever others load and
/// release meanwhile. Every call may throw `ComputeEngineError.damaged`; what else an engine throws is its own error, and
/// says something about the machine it runs on.
///
/// Every implementation passes the suite `ComputeEngineContract`.
public protocol ComputeEngine: Sendable {
    /// The captures it carries.
    var captures: [Capture] { get }

    /// The captures it was opened with and cannot carry, with the reason.
    var refused: [RefusedCapture] { get }

    /// Binds `definition` to the captures it names and checks its SQL.
    ///
    /// - Parameter refused: captures that are left out, which the error about a definition that needs one explains.
    /// - Throws: `TidemarkError.projection` naming what is wrong with the definition.
    func prepare(_ definition: ProjectionDefinition, refused: [RefusedCapture]) async throws -> any PreparedProjection

    /// The oldest LSN at which the state of all of `instances` can be shown.
    func oldestLSN(of instances: Set<String>) async -> LSN

    /// Loads staged changes of `instances` up to `lsn`. What is loaded already is not read again.
    func load(_ instances: Set<String>, upTo lsn: LSN) async throws

    /// Says that `projection` needs the state of `instances` at `lsn` and later; what was said of it before is void.
    ///
    /// A projection that has stopped need not be waited for without end: its next step finds `oldestLSN` past its
    /// checkpoint then, and the projection is built in full.
    func retain(_ projection: String, captures instances: Set<String>, from lsn: LSN) async

    /// The same, and that what lies before may be let go of now. The engine folds, if that is due, before this returns.
    func release(_ projection: String, captures instances: Set<String>, before lsn: LSN) async throws

    /// Forgets what is loaded of `instances`; the next `load` reads all of it from staging.
    ///
    /// An evaluation that needs them meanwhile throws `ComputeEngineError.moved`.
    func startOver(_ instances: Set<String>) async throws

    /// Ends everything that is open, of prepared projections and comparisons too. Another engine may be opened over what
    /// this one keeps once it returns; later calls throw.
    func close() async

    /// Takes in the rows of a source table that was read anew, to be compared with what is loaded of it.
    ///
    /// No version of what is loaded is held while the rows are read, which may take long.
    ///
    /// - Parameter rows: the columns of `capture`, in its order.
    /// - Throws: what the reader throws.
    func comparison(of capture: Capture, with rows: any BlockReader<RowBatch>) async throws -> any TableComparison
}

/// Opens an engine over one history of a source. Another history, or other captures, take another engine; the one before
/// is closed by then.
///
/// - Parameters:
///   - captures: what it is to carry.
///   - watermarks: how far staging goes, by capture instance. An engine that kept more than that starts over.
///   - epoch: counts the histories of the source; what was kept of an earlier one is void.
/// - Throws: `TidemarkError.unavailable` when what the engine keeps cannot be used, with the remedy.
public typealias EngineFactory =
    @Sendable (_ captures: [Capture], _ watermarks: [String: Watermark], _ epoch: Int) async throws -> any ComputeEngine

/// A projection that an engine has checked and can evaluate. One task evaluates it at a time.
public protocol PreparedProjection: Sendable {
    /// What the engine makes of the definition.
    var plan: ProjectionPlan { get }

    /// Streams the whole result as of `lsn` to `producer`, columns as in `plan.table`. Nothing is streamed before the
    /// result is known to have each key once, and none with a NULL.
    ///
    /// - Throws: `TidemarkError.projection` for a result that cannot be computed or is wrong, `ComputeEngineError.moved`.
    func rows(asOf lsn: LSN, to producer: BlockProducer<RowBatch>) async throws

    /// Streams to `producer` what the result gained, changed and lost between two LSNs: deletes first, then upserts.
    ///
    /// Rows that did not change may be among the upserts, and keys without a row among the deletes.
    ///
    /// - Throws: as `rows`, and `ComputeEngineError.stepTooLarge`; what was streamed is void then.
    func changes(from: LSN, to: LSN, to producer: BlockProducer<ProjectionChange>) async throws

    /// Compares the result as of `lsn`, evaluated in full, with the rows `actual` hands out.
    ///
    /// - Parameters:
    ///   - actual: columns as in `plan.table`.
    ///   - sample: lines of a sample on each side, at most.
    /// - Throws: as `rows`, and what the reader throws.
    func differences(asOf lsn: LSN, from actual: any BlockReader<RowBatch>, sample: Int) async throws
        -> ProjectionDifference
}

/// A source table's rows as they were read, beside what is staged of it.
public protocol TableComparison: Sendable {
    /// Streams to `producer` the changes that turn the state as of `watermark` into the rows, in log order.
    ///
    /// - Parameter lsn: the LSN the changes get.
    /// - Throws: `TidemarkError.transient` when the state as of `watermark` is not loaded, or not any more.
    func changes(from watermark: LSN, at lsn: LSN, to producer: BlockProducer<ChangeBatch>) async throws

    /// Compares the state as of `watermark` with the rows, but for the keys that changed after it.
    ///
    /// - Parameters:
    ///   - changed: those keys, columns in the order of the capture's key; any of them more than once.
    ///   - sample: lines of a sample on each side, at most.
    /// - Returns: the difference, and how many keys were left out.
    func differences(asOf watermark: LSN, leavingOut changed: any BlockReader<RowBatch>, sample: Int) async throws
        -> (difference: ProjectionDifference, leftOut: Int)
}

/// What an engine makes of a projection's definition.
public struct ProjectionPlan: Sendable, Equatable {
    /// How a projection is kept in step.
    public enum Upkeep: Sendable, Equatable {
        /// The rows under the output keys that changes can touch are computed anew.
        case byAffectedKeys
        /// The result is computed in full before and after the changes, and compared.
        case inFull
    }

    public let definition: ProjectionDefinition
    /// The shape of the result.
    public let table: ProjectionTable
    /// Hash of everything that decides the result, hexadecimal; another hash means another projection.
    public let definitionHash: String
    /// The capture instances it reads.
    public let instances: Set<String>
    public let upkeep: Upkeep
    /// Why it is kept that way, as a clause: "affected.sql tells …".
    public let upkeepReason: String

    public init(
        definition: ProjectionDefinition, table: ProjectionTable, definitionHash: String, instances: Set<String>,
        upkeep: Upkeep, upkeepReason: String
    ) {
        self.definition = definition
        self.table = table
        self.definitionHash = definitionHash
        self.instances = instances
        self.upkeep = upkeep
        self.upkeepReason = upkeepReason
    }
}

/// What an engine tells a worker that the worker can do something about.
public enum ComputeEngineError: Error, Sendable, Equatable {
    /// A state cannot be shown that was asked of it, or not any more: it was released or started over meanwhile. The next
    /// attempt decides anew.
    case moved(projection: String, from: LSN, to: LSN)
    /// What changed cannot be computed within the memory there is. To compute everything takes less: the result alone.
    case stepTooLarge(String)
    /// What is loaded is damaged. `startOver` has it read from staging again.
    case damaged(String)
}

extension ComputeEngineError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .moved(let projection, let from, let to):
            """
            projection \(projection): the replica does not hold the states from \(from) to \(to); the next step tries again
            """
        case .stepTooLarge(let reason), .damaged(let reason):
            reason
        }
    }
}
