import GRDB
public import Tidemark

/// `ctl_sources`: what is known of a source, and what its history being another one leads to.
extension EmbeddedServing {
    public func source(_ name: String) async throws -> SourceRecord? {
        try await file.read { db in
            let row = try Row.fetchOne(
                db,
                sql: """
                    SELECT identity, epoch, mismatch, resync_requested, last_seen_at FROM ctl_sources
                    WHERE source_name = ?
                    """,
                arguments: [name])
            guard let row else { return nil }
            return SourceRecord(
                identity: SourceIdentity(text: row[0]), epoch: row[1], mismatch: row[2], isResyncRequested: row[3],
                lastSeen: try row.time(4) ?? .epoch)
        }
    }

    public func recordSource(_ name: String, identity: SourceIdentity, mismatch: String?) async throws {
        let time = now()
        try await file.write { db in
            try Self.record(name, identity, mismatch: mismatch, at: time, db)
            guard let mismatch else { return }
            try db.execute(
                sql: """
                    UPDATE ctl_ingestion_watermarks SET status = 'ERROR', last_error = ?, updated_at = ?
                    WHERE source_name = ?
                    """,
                arguments: [mismatch, time.description, name])
        }
    }

    private static func record(
        _ name: String, _ identity: SourceIdentity, mismatch: String?, at time: Timestamp, _ db: Database
    ) throws {
        try db.execute(
            sql: """
                INSERT INTO ctl_sources (source_name, identity, epoch, mismatch, resync_requested, last_seen_at)
                VALUES (:name, iif(:mismatch IS NULL, :identity, ''), 0, :mismatch, 0, :time)
                ON CONFLICT (source_name) DO UPDATE SET mismatch = :mismatch, last_seen_at = :time,
                    identity = iif(:mismatch IS NULL, :identity, identity)
                """,
            arguments: [
                "name": name, "identity": identity.text, "mismatch": mismatch, "time": time.description,
            ])
    }

    public func startOver(source: String, identity: SourceIdentity) async throws {
        let time = now()
        try await file.write { db in
            try Self.record(source, identity, mismatch: nil, at: time, db)
            try db.execute(
                sql: "UPDATE ctl_sources SET epoch = epoch + 1, resync_requested = 0 WHERE source_name = ?",
                arguments: [source])
            let captures = "(SELECT capture_instance FROM ctl_ingestion_watermarks WHERE source_name = :source)"
            let arguments: StatementArguments = ["source": source]
            // The table stays what it was at as_of_lsn of the former history, until it is built.
            try db.execute(
                sql: """
                    UPDATE ctl_projection_metadata SET status = 'INIT', last_error = NULL WHERE projection_name IN (
                        SELECT projection_name FROM ctl_projection_checkpoints WHERE capture_instance IN \(captures))
                    """,
                arguments: arguments)
            try db.execute(
                sql: """
                    DELETE FROM ctl_projection_checkpoints WHERE projection_name IN (
                        SELECT projection_name FROM ctl_projection_checkpoints WHERE capture_instance IN \(captures))
                    """,
                arguments: arguments)
            // What is staged lies beyond the watermark now; the first ingest deletes it.
            try db.execute(
                sql: """
                    UPDATE ctl_ingestion_watermarks
                    SET last_ingested_lsn = :zero, complete_from_lsn = NULL, last_commit_time = NULL, rows_ingested = 0,
                        status = 'INIT', last_error = NULL, resync_requested = 0, staging_token = 'given up',
                        updated_at = :time
                    WHERE source_name = :source
                    """,
                arguments: ["zero": LSN.zero.blob, "time": time.description, "source": source])
        }
    }

    public func requestResync(source: String, capture: String?) async throws -> Bool {
        try await file.write { db in
            if let capture {
                try db.execute(
                    sql: """
                        UPDATE ctl_ingestion_watermarks SET resync_requested = 1
                        WHERE source_name = ? AND capture_instance = ?
                        """,
                    arguments: [source, capture])
            } else {
                try db.execute(
                    sql: "UPDATE ctl_sources SET resync_requested = 1 WHERE source_name = ?", arguments: [source])
            }
            return db.changesCount > 0
        }
    }

    /// The compare of what moves a watermark: while the source has another history, nothing may.
    static func requireHistory(of source: String, _ db: Database) throws {
        let mismatch = try String.fetchOne(
            db.cachedStatement(sql: "SELECT mismatch FROM ctl_sources WHERE source_name = ? AND mismatch IS NOT NULL"),
            arguments: [source])
        if let mismatch { throw TidemarkError.otherHistory(mismatch) }
    }
}
