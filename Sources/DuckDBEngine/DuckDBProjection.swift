import DuckDB
import Tidemark

/// Evaluates one projection's query on the replica: what changed between two LSNs, or all of it at one.
///
/// Every evaluation is one DuckDB transaction, so it sees one version of the replica whatever other
/// workers load and fold meanwhile; it is rolled back at the end, which drops its temporary tables.
struct DuckDBProjection: PreparedProjection {
    let plan: ProjectionPlan

    private let evaluation: Evaluation
    private let session: Session

    /// Part of every definition hash. Raise it when the engine's results change for unchanged definitions,
    /// so that all projections are built anew.
    ///
    /// 2: days and hours of a TIMESTAMPTZ are those of UTC. Before, they were those of the process's time zone.
    private static let engineVersion = 2

    /// Binds `definition` to the captures it names and has DuckDB check its SQL.
    ///
    /// - Parameters:
    ///   - session: a connection to a replica of those captures, for this projection alone.
    ///   - refused: captures that are left out, which the error about a definition that needs one explains.
    /// - Throws: `TidemarkError.projection` naming what is wrong with the definition.
    init(
        definition: ProjectionDefinition, captures: [Capture], refused: [RefusedCapture], session: Session
    ) async throws {
        self.session = session
        let inputs = try ProjectionInput.inputs(of: definition, captures: captures, refused: refused)
        let evaluation = Evaluation(definition: definition, inputs: inputs)
        self.evaluation = evaluation
        let fingerprint = "engine \(Self.engineVersion)\n\(definition.fingerprint)"
        do {
            let (table, hash) = try await session.run { connection in
                let hash = try connection.scalar("SELECT sha256(?)", [.string(fingerprint)]).string ?? ""
                try evaluation.prepare(connection)
                return (try evaluation.describe(connection), hash)
            }
            plan = ProjectionPlan(
                definition: definition, table: table, definitionHash: hash,
                instances: Set(inputs.map(\.capture.instance)),
                upkeep: definition.affected == nil ? .inFull : .byAffectedKeys,
                upkeepReason: definition.affected == nil
                    ? "there is no affected.sql to tell which keys a change touches"
                    : "affected.sql tells which keys a change touches")
        } catch let error as DuckDBError {
            throw TidemarkError.projection(name: definition.name, reason: "\(error)")
        }
    }

    /// Streams to `producer` what the query's result gained, changed and lost between two LSNs the replica can show.
    ///
    /// With `affected.sql` the query runs for the keys it yields; without it, in full on both sides.
    ///
    /// - Throws: `ComputeEngineError.stepTooLarge` when that takes DuckDB more memory than its limit.
    func changes(from: LSN, to: LSN, to producer: BlockProducer<ProjectionChange>) async throws {
        try await evaluating { [evaluation, table = plan.table] connection in
            do {
                try connection.rollingBack {
                    try evaluation.changes(connection, table: table, from: from, to: to) { producer.push($0) }
                }
            } catch let error as DuckDBError where error.kind == .outOfMemory {
                throw ComputeEngineError.stepTooLarge("\(error)")
            }
        }
    }

    /// Streams the whole result as of `lsn` to `producer`. Blocks are at most a DuckDB chunk.
    func rows(asOf lsn: LSN, to producer: BlockProducer<RowBatch>) async throws {
        try await evaluating { [evaluation, table = plan.table] connection in
            try connection.rollingBack {
                try evaluation.wholeResult(connection, table: table, asOf: lsn)
                try connection.stream("SELECT * FROM \(evaluation.after)", table.columns) { producer.push($0) }
            }
        }
    }

    /// Compares the result as of `lsn`, evaluated in full, with the rows `actual` hands out.
    func differences(asOf lsn: LSN, from actual: any BlockReader<RowBatch>, sample: Int) async throws
        -> ProjectionDifference
    {
        try await evaluating { [evaluation, table = plan.table] connection in
            try connection.rollingBack {
                try evaluation.wholeResult(connection, table: table, asOf: lsn)
                try connection.createTable(
                    ProjectionDifference.actual, columns: table.columns, filledFrom: actual)
                return try ProjectionDifference(connection, table: table, expected: evaluation.after, sample: sample)
            }
        }
    }

    /// What DuckDB says against the definition or its data names the projection; a damaged replica has nothing to
    /// do with it.
    private func evaluating<Result: Sendable>(
        _ body: @escaping @Sendable (Connection) throws -> Result
    ) async throws -> Result {
        try await tellingDamage {
            do {
                return try await session.run { try body($0) }
            } catch let error as DuckDBError where error.kind != .corruption {
                throw TidemarkError.projection(name: plan.definition.name, reason: "\(error)")
            }
        }
    }
}
