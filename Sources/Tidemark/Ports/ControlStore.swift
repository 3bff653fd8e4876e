/// The port to the control tables: their version, the lease, and what is known of sources and captures.
public protocol ControlStore: Sendable {
    /// Creates the control tables when they are missing and migrates those of an earlier version, one transaction for each
    /// version (`ControlSchema`); safe to repeat.
    ///
    /// - Throws: `TidemarkError.unavailable` when they are of a newer version.
    func bootstrap() async throws

    /// The version of the control tables; `nil` when they were made before versions were noted, or not at all.
    func schemaVersion() async throws -> Int?

    /// A random id given to the serving database when it was bootstrapped. A replica made from another
    /// serving database is recognised by it.
    func servingID() async throws -> String

    /// Tries to become the one pipeline that writes to this serving database.
    ///
    /// - Returns: `nil` when another process holds the lease. The lease ends when the value is released or
    ///   the process dies, however it dies.
    func acquireLease() async throws -> (any PipelineLease)?

    // MARK: Sources

    /// What is known of a source; `nil` before its first start.
    func source(_ name: String) async throws -> SourceRecord?

    /// Notes what a source says it is, and whether it still has the history that was read from it.
    ///
    /// - Parameter mismatch: why it has not. Every capture of the source is an ERROR with that sentence then, and until
    ///   it is noted as `nil` nothing is staged from the source: `ingest`, `advance` and `stageSnapshot` throw
    ///   `TidemarkError.otherHistory`.
    func recordSource(_ name: String, identity: SourceIdentity, mismatch: String?) async throws

    /// Begins a source's history anew, in one transaction: its captures are at `LSN.zero` again, and projections that
    /// have consumed any of them have no checkpoint. Their tables stay as they are until they are built.
    func startOver(source: String, identity: SourceIdentity) async throws

    /// Asks the pipeline that holds the lease to read a table anew; all of the source's when `capture` is `nil`.
    ///
    /// - Returns: whether there is such a capture, or source.
    func requestResync(source: String, capture: String?) async throws -> Bool

    // MARK: Captures

    /// All watermarks of `source`, by capture instance.
    func watermarks(source: String) async throws -> [String: Watermark]

    /// Marks a capture ERROR; the watermark stays.
    func recordError(_ message: String, capture: String, source: String) async throws
}

/// The right to be the one pipeline on a serving database.
public protocol PipelineLease: AnyObject, Sendable {
    func release()
}
