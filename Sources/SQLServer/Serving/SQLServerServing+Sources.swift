import ODBC
public import Tidemark

/// `ctl_sources`: what is known of a source, and what its history being another one leads to.
extension SQLServerServing {
    public func source(_ name: String) async throws -> SourceRecord? {
        try await database.run { connection in
            let row = try connection.query(
                """
                SELECT [identity], epoch, CAST(resync_requested AS int), last_seen_at, mismatch FROM [dbo].[ctl_sources]
                WHERE source_name = ?
                """, [.string(name)]
            ).rows().first
            guard let row else { return nil }
            return SourceRecord(
                identity: SourceIdentity(text: row[0].string ?? ""), epoch: Int(row[1].int64 ?? 0),
                mismatch: row[4].string, isResyncRequested: row[2].int64 == 1,
                lastSeen: try row[3].controlTime() ?? Timestamp(microseconds: 0))
        }
    }

    public func recordSource(_ name: String, identity: SourceIdentity, mismatch: String?) async throws {
        let time = now()
        try await write(attempts: Self.attempts) { connection in
            try Self.record(name, identity, mismatch: mismatch, at: time, connection)
            guard let mismatch else { return }
            try connection.execute(
                """
                UPDATE [dbo].[ctl_ingestion_watermarks] SET status = N'ERROR', last_error = ?, updated_at = ?
                WHERE source_name = ?
                """, [.string(mismatch), .time(time), .string(name)])
        } isDone: { connection in
            // Written again, it is the same.
            false
        }
    }

    private static func record(
        _ name: String, _ identity: SourceIdentity, mismatch: String?, at time: Timestamp, _ connection: Connection
    ) throws {
        let updated = try connection.affected(
            """
            UPDATE [dbo].[ctl_sources] SET mismatch = ?, last_seen_at = ?\(mismatch == nil ? ", [identity] = ?" : "")
            WHERE source_name = ?
            """,
            [mismatch.map { .string($0) } ?? .null, .time(time)] + (mismatch == nil ? [.string(identity.text)] : [])
                + [.string(name)])
        guard updated == 0 else { return }
        // What another source says of itself is not what this one is.
        try connection.execute(
            """
            INSERT INTO [dbo].[ctl_sources] (source_name, [identity], epoch, mismatch, resync_requested, last_seen_at)
            VALUES (?, ?, 0, ?, 0, ?)
            """,
            [
                .string(name), .string(mismatch == nil ? identity.text : ""), mismatch.map { .string($0) } ?? .null,
                .time(time),
            ])
    }

    public func startOver(source: String, identity: SourceIdentity) async throws {
        let time = now()
        let epoch = try await self.source(source)?.epoch ?? 0
        try await write(attempts: Self.attempts) { connection in
            try Self.record(source, identity, mismatch: nil, at: time, connection)
            try connection.execute(
                "UPDATE [dbo].[ctl_sources] SET epoch = ?, resync_requested = 0 WHERE source_name = ?",
                [.int(Int64(epoch + 1)), .string(source)])
            // The table stays what it was at as_of_lsn of the former history, until it is built.
            try connection.execute(
                """
                UPDATE [dbo].[ctl_projection_metadata] SET status = N'INIT', last_error = NULL
                WHERE projection_name IN (\(consumers))
                """, [.string(source)])
            try connection.execute(
                "DELETE FROM [dbo].[ctl_projection_checkpoints] WHERE projection_name IN (\(consumers))",
                [.string(source)])
            // What is staged lies beyond the watermark now; the first ingest deletes it.
            try connection.execute(
                """
                UPDATE [dbo].[ctl_ingestion_watermarks]
                SET last_ingested_lsn = ?, complete_from_lsn = NULL, last_commit_time = NULL, rows_ingested = 0,
                    status = N'INIT', last_error = NULL, resync_requested = 0, staging_token = N'given up', updated_at = ?
                WHERE source_name = ?
                """, [.lsn(.zero), .time(time), .string(source)])
        } isDone: { connection in
            try connection.query(
                "SELECT epoch FROM [dbo].[ctl_sources] WHERE source_name = ?", [.string(source)]
            ).rows().first?[0].int64 == Int64(epoch + 1)
        }
    }

    public func requestResync(source: String, capture: String?) async throws -> Bool {
        try await database.run { connection in
            if let capture {
                return try connection.affected(
                    """
                    UPDATE [dbo].[ctl_ingestion_watermarks] SET resync_requested = 1
                    WHERE source_name = ? AND capture_instance = ?
                    """, [.string(source), .string(capture)]) > 0
            }
            return try connection.affected(
                "UPDATE [dbo].[ctl_sources] SET resync_requested = 1 WHERE source_name = ?", [.string(source)]) > 0
        }
    }

    /// Has the projections built in full that consumed the capture before it began anew.
    static func voidProjections(of capture: String, _ connection: Connection) throws {
        try connection.execute(
            """
            UPDATE [dbo].[ctl_projection_metadata] SET status = N'INIT' WHERE projection_name IN (
                SELECT projection_name FROM [dbo].[ctl_projection_checkpoints]
                WHERE capture_instance = ? AND last_consumed_lsn > CAST(? AS binary(10)))
            """, [.string(capture), .lsn(.zero)])
    }

    /// The compare of what moves a watermark: while the source has another history, nothing may.
    static func requireHistory(of source: String, _ connection: Connection) throws {
        let row = try connection.query(
            "SELECT mismatch FROM [dbo].[ctl_sources] WHERE source_name = ? AND mismatch IS NOT NULL",
            [.string(source)]
        ).rows().first
        if let mismatch = row?[0].string { throw TidemarkError.otherHistory(mismatch) }
    }
}

/// The projections that have consumed a capture of the source in the parameter.
private let consumers = """
    SELECT projection_name FROM [dbo].[ctl_projection_checkpoints] WHERE capture_instance IN (
        SELECT capture_instance FROM [dbo].[ctl_ingestion_watermarks] WHERE source_name = ?)
    """
