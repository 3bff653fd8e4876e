import Foundation
import ODBC
import Synchronization
public import Tidemark

/// A serving database on SQL Server: staging, control tables and projections.
///
///     let serving = SQLServerServing(database, scripts: scripts)
///     try await serving.bootstrap()
///
/// Every write takes the row lock that its compare-and-swap needs first, so two pipelines wait for one another before
/// they write, not after. Readers of the projections are not blocked when READ_COMMITTED_SNAPSHOT is on. There is no
/// MERGE: see docs/decisions/0007-no-merge.md.
public final class SQLServerServing: ServingStore {
    let database: SQLServerDatabase
    let now: @Sendable () -> Timestamp
    private let scripts: [(name: String, text: String)]
    let warn: @Sendable (String) -> Void
    let shapes = ServingTableShapes()
    /// What is gathered before transactions.
    let pool = BlockPool()
    private let hasJSON = Mutex<SQLServerBulkInsert.JSONSupport?>(nil)

    /// - Parameters:
    ///   - scripts: names and texts of those of `sql/serving/*.sql` that make tables; `bootstrap()` applies them.
    ///   - now: the clock for `updated_at`, `built_at` and `ingested_at`.
    ///   - warn: told, in one sentence, what an operator should mend.
    public init(
        _ database: SQLServerDatabase, scripts: [(name: String, text: String)],
        now: @escaping @Sendable () -> Timestamp = { .now() }, warn: @escaping @Sendable (String) -> Void = { _ in }
    ) {
        self.database = database
        self.scripts = scripts.sorted { $0.name < $1.name }
        self.now = now
        self.warn = warn
    }

    // MARK: Setting up

    public func bootstrap() async throws {
        // The scripts of the control tables are in the order of their versions.
        let missing = try ControlSchema.missing(found: try await schemaVersion())
        var version = 0
        for script in scripts {
            let isControl = script.name.contains("_control")
            if isControl { version += 1 }
            guard !isControl || missing.contains(version) else { continue }
            try await database.apply(script: script.text, name: script.name, inTransaction: isControl)
        }
        if try await database.run({ try $0.readsCommittedSnapshots() }) == false {
            warn(
                """
                \(database.label) has READ_COMMITTED_SNAPSHOT off: readers of the projections and the pipeline wait for \
                one another. Run ALTER DATABASE CURRENT SET READ_COMMITTED_SNAPSHOT ON WITH ROLLBACK IMMEDIATE
                """)
        }
    }

    public func schemaVersion() async throws -> Int? {
        try await database.run { connection in
            let isThere = try connection.scalar(
                "SELECT CASE WHEN OBJECT_ID(N'[dbo].[ctl_schema]', N'U') IS NULL THEN 0 ELSE 1 END"
            ).int64
            guard isThere == 1 else { return nil }
            return try connection.scalar("SELECT MAX(version) FROM [dbo].[ctl_schema]").int64.map { Int($0) }
        }
    }

    /// What the database's OPENJSON is good for; asked once.
    func jsonSupport() async throws -> SQLServerBulkInsert.JSONSupport {
        if let known = hasJSON.withLock({ $0 }) { return known }
        let answer = try await database.run { try SQLServerBulkInsert.jsonSupport($0) }
        hasJSON.withLock { $0 = answer }
        return answer
    }

    public func servingID() async throws -> String {
        let label = database.label
        return try await database.run { connection in
            let isThere = try connection.scalar(
                "SELECT CASE WHEN OBJECT_ID(N'[dbo].[ctl_serving]', N'U') IS NULL THEN 0 ELSE 1 END"
            ).int64
            let id = isThere == 1 ? try connection.query("SELECT serving_id FROM [dbo].[ctl_serving]").rows() : []
            guard let id = id.first?.first?.string else {
                throw TidemarkError.unavailable("\(label) is not set up: run tidemark bootstrap")
            }
            return id
        }
    }

    public func acquireLease() async throws -> (any PipelineLease)? {
        try await SQLServerLease.acquire(in: database, warn: warn)
    }

    // MARK: Watermarks

    public func watermarks(source: String) async throws -> [String: Watermark] {
        try await database.run { connection in
            let rows = try connection.query(
                """
                SELECT capture_instance, last_ingested_lsn, last_commit_time, rows_ingested, status, updated_at, last_error,
                    complete_from_lsn, CAST(resync_requested AS int)
                FROM [dbo].[ctl_ingestion_watermarks] WHERE source_name = ?
                """, [.string(source)]
            ).rows()
            var watermarks: [String: Watermark] = [:]
            for row in rows {
                watermarks[row[0].string ?? ""] = Watermark(
                    lastIngestedLSN: try row[1].controlLSN(),
                    completeFrom: row[7].isNull ? .zero : try row[7].controlLSN(),
                    lastCommitTime: try row[2].controlTime(),
                    rowsIngested: Int(row[3].int64 ?? 0), status: try row[4].controlStatus(), lastError: row[6].string,
                    isResyncRequested: row[8].int64 == 1,
                    updatedAt: try row[5].controlTime() ?? Timestamp(microseconds: 0))
            }
            return watermarks
        }
    }

    public func advance(_ moves: [WatermarkMove], source: String, commitTime: Timestamp?) async throws {
        guard !moves.isEmpty else { return }
        let time = now()
        // In one order, so that two pipelines do not wait for one another in a circle.
        let moves = moves.sorted { $0.capture < $1.capture }
        try await write(attempts: Self.attempts) { connection in
            for move in moves {
                let present = try Self.lockPosition(of: move.capture, source, connection)
                try Self.requireHistory(of: source, connection)
                if let conflict = StagingAttempt.conflict(move, source: source, present) { throw conflict }
                try Self.move(
                    move.capture, move.window, source, commitTime, at: time, connection,
                    keepsToken: move.window.isEmpty)
            }
        } isDone: { connection in
            try moves.allSatisfy {
                try Self.lockPosition(of: $0.capture, source, connection)?.watermark == $0.window.through
            }
        }
    }

    public func recordError(_ message: String, capture: String, source: String) async throws {
        let time = now()
        // The row is missing when the staging table could not be prepared: that is an error to be seen too.
        try await upsert { connection in
            try connection.affected(
                """
                UPDATE [dbo].[ctl_ingestion_watermarks] SET status = N'ERROR', last_error = ?, updated_at = ?
                WHERE source_name = ? AND capture_instance = ?
                """, [.string(message), .time(time), .string(source), .string(capture)])
        } insert: { connection in
            try connection.execute(
                """
                INSERT INTO [dbo].[ctl_ingestion_watermarks]
                    (source_name, capture_instance, last_ingested_lsn, rows_ingested, status, last_error, updated_at)
                VALUES (?, ?, ?, 0, N'ERROR', ?, ?)
                """, [.string(source), .string(capture), .lsn(.zero), .string(message), .time(time)])
        }
    }

    /// Moves a watermark by compare-and-swap, which holds its row until the transaction ends. `false`, with nothing done,
    /// when the watermark is another, or when something is staged beyond it.
    static func moveUnstaged(
        _ capture: String, _ window: LSNWindow, _ source: String, _ commitTime: Timestamp?, at time: Timestamp,
        _ connection: Connection
    ) throws -> Bool {
        let isMoved =
            try connection.affected(
                "\(moveSQL(keepsToken: true)) AND staging_token IS NULL",
                moveValues(capture, window, source, commitTime, at: time)) > 0
        if isMoved { try requireHistory(of: source, connection) }
        return isMoved
    }

    /// Moves a watermark whose compare was made; its row is held.
    static func move(
        _ capture: String, _ window: LSNWindow, _ source: String, _ commitTime: Timestamp?, at time: Timestamp,
        _ connection: Connection, keepsToken: Bool = false
    ) throws {
        try connection.execute(
            moveSQL(keepsToken: keepsToken), moveValues(capture, window, source, commitTime, at: time))
    }

    static func moveSQL(keepsToken: Bool) -> String {
        """
        UPDATE [dbo].[ctl_ingestion_watermarks]
        SET last_ingested_lsn = ?, last_commit_time = ?, status = N'OK', last_error = NULL, updated_at = ?\
        \(keepsToken ? "" : ", staging_token = NULL")
        WHERE source_name = ? AND capture_instance = ? AND last_ingested_lsn = CAST(? AS binary(10))
        """
    }

    private static func moveValues(
        _ capture: String, _ window: LSNWindow, _ source: String, _ commitTime: Timestamp?, at time: Timestamp
    ) -> [Value] {
        [
            .lsn(window.through), .time(commitTime), .time(time), .string(source), .string(capture),
            .lsn(window.after),
        ]
    }

    /// Where a capture stands once no other transaction holds its row; `nil` when it has none. An update that changes
    /// nothing takes the row lock on every server; lock hints do not.
    static func lockPosition(of capture: String, _ source: String, _ connection: Connection) throws
        -> StagingAttempt.Position?
    {
        let key: [Value] = [.string(source), .string(capture)]
        try connection.execute(
            """
            UPDATE [dbo].[ctl_ingestion_watermarks] SET updated_at = updated_at
            WHERE source_name = ? AND capture_instance = ?
            """, key)
        let row = try connection.query(
            """
            SELECT last_ingested_lsn, staging_token FROM [dbo].[ctl_ingestion_watermarks]
            WHERE source_name = ? AND capture_instance = ?
            """, key
        ).rows().first
        return try row.map { StagingAttempt.Position(watermark: try $0[0].controlLSN(), token: $0[1].string) }
    }
}
