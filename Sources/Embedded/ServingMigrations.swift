import Foundation
import GRDB
import Tidemark

/// The steps that make the control tables, one for each version of `ControlSchema`, oldest first.
///
/// Tables that were made before versions were noted may have what a step adds; the step leaves it alone then. A step that
/// was released is never changed.
enum ServingMigrations {
    static let steps: [@Sendable (Database) throws -> Void] = [
        { try first($0) },
        { try add("complete_from_lsn", "BINARY(10)", to: "ctl_ingestion_watermarks", $0) },
        { try sources($0) },
        { try stagingToken($0) },
    ]

    /// Applies the step to `version` unless that was done; the caller's transaction is the step's own.
    static func apply(_ version: Int, at time: Timestamp, _ db: Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE IF NOT EXISTS ctl_schema (
                    version    INT NOT NULL PRIMARY KEY,
                    applied_at DATETIME NOT NULL
                )
                """)
        // Another process may have been faster.
        guard try self.version(db) ?? 0 < version else { return }
        try steps[version - 1](db)
        try db.execute(
            sql: "INSERT INTO ctl_schema (version, applied_at) VALUES (?, ?)", arguments: [version, time.description])
    }

    /// The version that is noted; `nil` when none is.
    static func version(_ db: Database) throws -> Int? {
        guard try ServingTables.exists("ctl_schema", db) else { return nil }
        return try Int.fetchOne(db, sql: "SELECT max(version) FROM ctl_schema")
    }

    private static func first(_ db: Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE IF NOT EXISTS ctl_serving (
                    id         INTEGER PRIMARY KEY CHECK (id = 1),
                    serving_id TEXT NOT NULL
                );
                CREATE TABLE IF NOT EXISTS ctl_ingestion_watermarks (
                    source_name       TEXT NOT NULL,
                    capture_instance  TEXT NOT NULL,
                    last_ingested_lsn BINARY(10) NOT NULL,
                    last_commit_time  DATETIME,
                    rows_ingested     BIGINT NOT NULL,
                    status            TEXT NOT NULL,
                    last_error        TEXT,
                    updated_at        DATETIME NOT NULL,
                    PRIMARY KEY (source_name, capture_instance)
                );
                CREATE TABLE IF NOT EXISTS ctl_projection_checkpoints (
                    projection_name   TEXT NOT NULL,
                    capture_instance  TEXT NOT NULL,
                    last_consumed_lsn BINARY(10) NOT NULL,
                    updated_at        DATETIME NOT NULL,
                    PRIMARY KEY (projection_name, capture_instance)
                );
                CREATE TABLE IF NOT EXISTS ctl_projection_metadata (
                    projection_name TEXT NOT NULL PRIMARY KEY,
                    status          TEXT NOT NULL,
                    as_of_lsn       BINARY(10),
                    as_of_time      DATETIME,
                    built_at        DATETIME,
                    definition_hash TEXT NOT NULL,
                    rows_written    BIGINT NOT NULL,
                    last_error      TEXT
                );
                """)
        try db.execute(
            sql: "INSERT OR IGNORE INTO ctl_serving (id, serving_id) VALUES (1, ?)",
            arguments: [UUID().uuidString.lowercased()])
    }

    private static func sources(_ db: Database) throws {
        try db.execute(
            sql: """
                CREATE TABLE IF NOT EXISTS ctl_sources (
                    source_name      TEXT NOT NULL PRIMARY KEY,
                    identity         TEXT NOT NULL,
                    epoch            INT NOT NULL,
                    mismatch         TEXT,
                    resync_requested BOOLEAN NOT NULL,
                    last_seen_at     DATETIME NOT NULL
                )
                """)
        try add("resync_requested", "BOOLEAN NOT NULL DEFAULT 0", to: "ctl_ingestion_watermarks", db)
    }

    private static func stagingToken(_ db: Database) throws {
        guard try add("staging_token", "TEXT", to: "ctl_ingestion_watermarks", db) else { return }
        // Whether something is staged beyond a watermark was not noted before, so the token says that it may be.
        try db.execute(sql: "UPDATE ctl_ingestion_watermarks SET staging_token = 'unknown'")
    }

    /// - Returns: whether the column was missing.
    @discardableResult
    private static func add(
        _ column: String, _ declaration: String, to table: String, _ db: Database
    ) throws -> Bool {
        guard try !ServingTables.columns(of: table, db).contains(where: { $0.name == column }) else { return false }
        try db.execute(sql: "ALTER TABLE \(quoted(table)) ADD COLUMN \(quoted(column)) \(declaration)")
        return true
    }
}
