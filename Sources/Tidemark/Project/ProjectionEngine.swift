public import DuckDB

/// Evaluates one projection's query on the replica: what changed between two LSNs, or all of it at one.
///
/// Every evaluation is one DuckDB transaction, so it sees one version of the replica whatever other
/// workers load and fold meanwhile; it is rolled back at the end, which drops its temporary tables.
public struct ProjectionEngine: Sendable {
    public let definition: ProjectionDefinition
    /// The shape of the result, as DuckDB describes it.
    public let table: ProjectionTable
    /// Hash of everything that decides the result; another hash means another projection.
    public let definitionHash: String
    /// The capture instances the query reads.
    public let instances: Set<String>

    private let inputs: [ProjectionInput]
    private let session: Session

    /// Part of every definition hash. Raise it when the engine's results change for unchanged definitions,
    /// so that all projections are built anew.
    ///
    /// 2: days and hours of a TIMESTAMPTZ are those of UTC. Before, they were those of the process's time zone.
    private static let engineVersion = 2

    /// Binds `definition` to the captures it names and has DuckDB check its SQL.
    ///
    /// - Parameters:
    ///   - session: a connection to a replica of those captures, for this engine alone.
    ///   - refused: captures that are left out, which the error about a definition that needs one explains.
    /// - Throws: `TidemarkError.projection` naming what is wrong with the definition.
    public init(
        definition: ProjectionDefinition, captures: [Capture], refused: [RefusedCapture] = [], session: Session
    ) async throws {
        self.definition = definition
        self.session = session
        inputs = try definition.captures.map {
            try ProjectionInput($0, projection: definition.name, captures: captures, refused: refused)
        }
        try Self.requireDistinctNames(definition, inputs)
        instances = Set(inputs.map(\.capture.instance))
        let evaluation = Evaluation(definition: definition, inputs: inputs)
        let fingerprint = "engine \(Self.engineVersion)\n\(definition.fingerprint)"
        do {
            (table, definitionHash) = try await session.run { connection in
                let hash = try connection.scalar("SELECT sha256(?)", [.string(fingerprint)]).string ?? ""
                try evaluation.prepare(connection)
                return (try evaluation.describe(connection), hash)
            }
        } catch let error as DuckDBError {
            throw TidemarkError.projection(name: definition.name, reason: "\(error)")
        }
    }

    /// `affected.sql` sees the changes of a table `t` as `changed_t`, which may be the name of another table.
    private static func requireDistinctNames(_ definition: ProjectionDefinition, _ inputs: [ProjectionInput]) throws {
        var seen: Set<String> = []
        for input in inputs {
            let table = input.capture.table
            let names = [table] + (definition.affected == nil ? [] : [Evaluation.changedName(table)])
            for name in names where !seen.insert(ReservedName.folded(name)).inserted {
                throw TidemarkError.projection(
                    name: definition.name,
                    reason: """
                        \(name) would name two tables in its SQL: a captured one, and in affected.sql the changes of \
                        another; leave one of them out of `captures`, or remove affected.sql
                        """)
            }
        }
    }

    /// Streams to `producer` what the query's result gained, changed and lost between two LSNs the replica can show.
    ///
    /// With `affected.sql` the query runs for the keys it yields; without it, in full on both sides.
    ///
    /// - Throws: `StepTooLarge` when that takes DuckDB more memory than its limit; what was streamed is void then.
    public func changes(from: LSN, to: LSN, to producer: BlockProducer<ProjectionChange>) async throws {
        let evaluation = Evaluation(definition: definition, inputs: inputs)
        try await evaluating { [table] connection in
            do {
                try connection.rollingBack {
                    try evaluation.changes(connection, table: table, from: from, to: to) { producer.push($0) }
                }
            } catch let error as DuckDBError where error.kind == .outOfMemory {
                throw StepTooLarge(reason: "\(error)")
            }
        }
    }

    /// Streams the whole result as of `lsn` to `producer`. Blocks are at most a DuckDB chunk.
    public func rows(asOf lsn: LSN, to producer: BlockProducer<RowBatch>) async throws {
        let evaluation = Evaluation(definition: definition, inputs: inputs)
        try await evaluating { [table] connection in
            try connection.rollingBack {
                try evaluation.wholeResult(connection, table: table, asOf: lsn)
                try connection.stream("SELECT * FROM \(evaluation.after)", table.columns) { producer.push($0) }
            }
        }
    }

    /// Compares the result as of `lsn`, evaluated in full, with the rows `actual` hands out.
    public func differences(asOf lsn: LSN, from actual: any BlockReader<RowBatch>, sample: Int) async throws
        -> ProjectionDifference
    {
        let evaluation = Evaluation(definition: definition, inputs: inputs)
        return try await evaluating { [table] connection in
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
        do {
            return try await session.run { try body($0) }
        } catch let error as DuckDBError where error.kind != .corruption {
            throw TidemarkError.projection(name: definition.name, reason: "\(error)")
        }
    }
}

/// What changed cannot be computed within the memory there is. To compute everything takes less: the result alone.
struct StepTooLarge: Error, CustomStringConvertible {
    let reason: String

    var description: String { reason }
}

/// A captured table as one projection sees it.
struct ProjectionInput: Sendable {
    let capture: Capture
    /// The columns the query sees: the key, the listed ones, and `__lsn` where it is listed or all are.
    let columns: [String]

    init(
        _ use: ProjectionDefinition.CaptureUse, projection: String, captures: [Capture], refused: [RefusedCapture]
    ) throws {
        guard let capture = captures.first(where: { $0.instance == use.name || $0.table == use.name }) else {
            if let refused = refused.first(where: { $0.isNamed(use.name) }) {
                throw TidemarkError.projection(
                    name: projection,
                    reason: "the capture \(refused.instance), which it reads, is left out: \(refused.reason)")
            }
            let known = captures.map(\.table).sorted().joined(separator: ", ")
            throw TidemarkError.projection(
                name: projection,
                reason: """
                    the source has no capture named \(use.name) (it has: \(known.isEmpty ? "none" : known)); enable CDC on \
                    the table, or correct `captures` in projection.yml
                    """)
        }
        self.capture = capture
        let all = capture.columns.map(\.name) + [ReservedName.lsn]
        guard let listed = use.columns else {
            columns = all
            return
        }
        if let unknown = listed.first(where: { !all.contains($0) }) {
            throw TidemarkError.projection(
                name: projection,
                reason: "capture \(use.name) has no column \(unknown) (it has: \(all.joined(separator: ", ")))")
        }
        columns = all.filter { listed.contains($0) || capture.key.contains($0) }
    }
}
