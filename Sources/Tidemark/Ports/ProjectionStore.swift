/// The port to `proj_*`: projections' tables, their checkpoints and metadata.
public protocol ProjectionStore: Sendable {
    /// Checkpoints and metadata of a projection; `nil` when it was never built.
    func projection(_ name: String) async throws -> ProjectionState?

    /// States of all projections the serving database knows, by name.
    func projections() async throws -> [String: ProjectionState]

    /// Applies `changes` to the projection's table, moves its checkpoints and writes its metadata (status OK), in one
    /// transaction. Only rows that differ from what the table holds are written.
    ///
    /// The first changes are gathered before the transaction begins, all of them when they are few.
    ///
    /// - Parameter changes: deletes first, then upserts.
    /// - Returns: the number of rows written.
    @discardableResult
    func commit(_ commit: ProjectionCommit, changes: any BlockReader<ProjectionChange>) async throws -> Int

    /// Fills a new table with `rows` beside the projection's present one, then swaps it in, sets the
    /// checkpoints and writes metadata (status OK) in one transaction. Readers see the old table until then.
    /// A table left over from an attempt that was cut short is dropped first.
    ///
    /// - Returns: the number of rows written.
    func build(_ build: ProjectionBuild, rows: any BlockReader<RowBatch>) async throws -> Int

    /// Marks a projection ERROR; table and checkpoints stay. When a rebuild was asked for (status INIT), the
    /// definition's hash is emptied, so that it is still made.
    func recordError(_ message: String, projection: String) async throws

    /// Asks the pipeline that holds the lease to build a projection anew (status INIT; the table stays as it is until then).
    func requestRebuild(projection: String) async throws

    /// Reads a projection's table together with its state, in one snapshot.
    ///
    /// - Throws: `TidemarkError.schema` when the table's columns are not `columns`.
    func readProjection(_ name: String, columns: [Column], limits: BlockLimits) async throws
        -> (ProjectionState, any BlockReader<RowBatch>)
}

extension ProjectionStore {
    /// A projection's table in blocks of at most `blockRows` rows.
    public func readProjection(_ name: String, columns: [Column], blockRows: Int) async throws
        -> (ProjectionState, any BlockReader<RowBatch>)
    {
        try await readProjection(name, columns: columns, limits: BlockLimits(rows: blockRows))
    }

    /// A step in which nothing changed.
    @discardableResult
    public func commit(_ commit: ProjectionCommit) async throws -> Int {
        try await self.commit(commit, changes: NoBlocks())
    }
}

/// A reader that has nothing.
private final class NoBlocks<Block: Sendable>: BlockReader {
    func next() throws -> Block? { nil }
}
