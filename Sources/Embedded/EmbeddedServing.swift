import Foundation
import GRDB
import GRDBSQLite
public import Tidemark

/// A serving database in an SQLite file: staging, control tables and projections.
///
///     let serving = try EmbeddedServing(path: "data/serving.db")
///     try await serving.bootstrap()
///
/// WAL mode lets any program read the projections while the pipeline commits. LSNs are 10-byte blobs, which
/// SQLite compares bytewise; times are UTC text; decimals are text with all their digits.
public final class EmbeddedServing: ServingStore {
    let file: SQLiteFile
    let now: @Sendable () -> Timestamp
    let warn: @Sendable (String) -> Void
    /// What is gathered before transactions of ingestors and of projections' steps.
    let pool = BlockPool()
    /// What is gathered before those of builds, which have many small ones.
    let buildPool = BlockPool(most: EmbeddedServing.buildTransactionBytes)

    /// Opens the file, creating it when it is missing.
    ///
    /// - Parameters:
    ///   - now: the clock for `updated_at`, `built_at` and `ingested_at`.
    ///   - warn: told, in sentences, of what an operator should know although the work goes on.
    /// - Throws: `TidemarkError.unavailable` when the file cannot be opened or written.
    public init(
        path: String, now: @escaping @Sendable () -> Timestamp = { .now() },
        warn: @escaping @Sendable (String) -> Void = { _ in }
    ) throws {
        file = try SQLiteFile(path: path, role: "serving")
        self.now = now
        self.warn = warn
    }

    /// Runs statements, as of a bootstrap script, in one transaction.
    public func execute(script: String) async throws {
        try await file.write { try $0.execute(sql: script) }
    }

    public func bootstrap() async throws {
        // On the writer's connection: were a reader's the last one to be closed, the tables would stay in the log.
        let found = try await file.write { try ServingMigrations.version($0) }
        for version in try ControlSchema.missing(found: found) {
            let time = now()
            try await file.write { try ServingMigrations.apply(version, at: time, $0) }
        }
    }

    public func schemaVersion() async throws -> Int? {
        try await file.read { try ServingMigrations.version($0) }
    }

    public func servingID() async throws -> String {
        let label = file.label
        return try await file.read { db in
            guard try ServingTables.exists("ctl_serving", db),
                let id = try String.fetchOne(db, sql: "SELECT serving_id FROM ctl_serving")
            else {
                throw TidemarkError.unavailable("\(label) is not set up: run tidemark bootstrap")
            }
            return id
        }
    }

    public func acquireLease() async throws -> (any PipelineLease)? {
        try file.requireInPlace()
        return try FileLease(on: file.lock)
    }

    // MARK: Staging

    public func prepareStaging(for capture: Capture, source: String) async throws {
        let now = now
        try await file.write { db in
            let other = try String.fetchOne(
                db,
                sql: """
                    SELECT source_name FROM ctl_ingestion_watermarks
                    WHERE capture_instance = ? AND source_name <> ? AND last_ingested_lsn > ?
                    """,
                arguments: [capture.instance, source, LSN.zero.blob])
            if let other { throw TidemarkError.stagedUnder(other, instead: source, capture: capture.instance) }
            let expected = try ServingTables.stagingColumns(capture)
            let found = try ServingTables.columns(of: capture.stagingTable, db)
            if found.isEmpty {
                try db.execute(sql: ServingTables.create(capture.stagingTable, expected))
            } else if found != expected {
                throw TidemarkError.schema(
                    """
                    \(capture.stagingTable) \(Self.difference(found, expected)): the captured columns of \
                    \(capture.table) are not those it was made for. Start over with an empty serving database
                    """)
            }
            try db.execute(
                sql: """
                    INSERT OR IGNORE INTO ctl_ingestion_watermarks
                        (source_name, capture_instance, last_ingested_lsn, staging_token, rows_ingested, status, updated_at)
                    VALUES (?, ?, ?, NULL, 0, 'INIT', ?)
                    """,
                arguments: [source, capture.instance, LSN.zero.blob, now().description])
        }
    }

    /// The first difference between the columns a table has and those it should have.
    static func difference(
        _ found: [ServingTables.Declaration], _ expected: [ServingTables.Declaration]
    ) -> String {
        for (have, want) in zip(found, expected) where have != want {
            if have.name != want.name { return "has column \(have.name) where \(want.name) is expected" }
            if have.type != want.type { return "declares \(have.name) \(have.type) instead of \(want.type)" }
            return "has \(have.name) in another place of its primary key"
        }
        return found.count < expected.count
            ? "lacks column \(expected[found.count].name)" : "has one column too many, \(found[expected.count].name)"
    }

    public func watermarks(source: String) async throws -> [String: Watermark] {
        try await file.read { db in
            let rows = try Row.fetchAll(
                db,
                sql: """
                    SELECT capture_instance, last_ingested_lsn, last_commit_time, rows_ingested, status, last_error,
                        updated_at, coalesce(complete_from_lsn, zeroblob(10)), resync_requested
                    FROM ctl_ingestion_watermarks WHERE source_name = ?
                    """,
                arguments: [source])
            var watermarks: [String: Watermark] = [:]
            for row in rows {
                watermarks[row[0]] = Watermark(
                    lastIngestedLSN: try row.lsn(1), completeFrom: try row.lsn(7), lastCommitTime: try row.time(2),
                    rowsIngested: row[3], status: try row.status(4), lastError: row[5], isResyncRequested: row[8],
                    updatedAt: try row.time(6) ?? .epoch)
            }
            return watermarks
        }
    }

    public func recordError(_ message: String, capture: String, source: String) async throws {
        let time = now()
        try await file.write { db in
            // The row is missing when the staging table could not be prepared: that is an error to be seen too.
            try db.execute(
                sql: """
                    INSERT INTO ctl_ingestion_watermarks
                        (source_name, capture_instance, last_ingested_lsn, rows_ingested, status, last_error,
                         updated_at)
                    VALUES (:source, :capture, :zero, 0, 'ERROR', :message, :now)
                    ON CONFLICT (source_name, capture_instance)
                    DO UPDATE SET status = 'ERROR', last_error = :message, updated_at = :now
                    """,
                arguments: [
                    "source": source, "capture": capture, "zero": LSN.zero.blob, "message": message,
                    "now": time.description,
                ])
        }
    }
}

extension Timestamp {
    static let epoch = Timestamp(microseconds: 0)
}

extension LSN {
    /// The binary form as a value of GRDB's.
    var blob: Data { Data(bytes) }
}

extension Row {
    /// The LSN in a column of a control table.
    func lsn(_ index: Int) throws -> LSN {
        guard let data: Data = self[index], let lsn = LSN(bytes: Array(data)) else {
            throw TidemarkError.schema("a control table of the serving database holds an LSN that is not 10 bytes long")
        }
        return lsn
    }

    /// The time in a column of a control table.
    func time(_ index: Int) throws -> Timestamp? {
        guard let text: String = self[index] else { return nil }
        guard let time = Timestamp(text) else {
            throw TidemarkError.schema("a control table of the serving database holds '\(text)' as a time")
        }
        return time
    }

    /// The status in a column of a control table.
    func status<Status: RawRepresentable<String>>(_ index: Int) throws -> Status {
        let text: String = self[index]
        guard let status = Status(rawValue: text) else {
            throw TidemarkError.schema("a control table of the serving database holds the status '\(text)'")
        }
        return status
    }
}
