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
        try await file.write { db in
            try db.execute(sql: ServingTables.bootstrap)
            for (table, column, declaration) in ServingTables.laterColumns
            where try !ServingTables.columns(of: table, db).contains(where: { $0.name == column }) {
                try db.execute(sql: "ALTER TABLE \(quoted(table)) ADD COLUMN \(quoted(column)) \(declaration)")
            }
            try db.execute(
                sql: "INSERT OR IGNORE INTO ctl_serving (id, serving_id) VALUES (1, ?)",
                arguments: [UUID().uuidString.lowercased()])
        }
    }

    public func servingID() async throws -> String {
        let label = file.label
        return try await file.read { db in
            guard try db.tableExists("ctl_serving"),
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
                        (source_name, capture_instance, last_ingested_lsn, rows_ingested, status, updated_at)
                    VALUES (?, ?, ?, 0, 'INIT', ?)
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

    public func stageSnapshot(
        of capture: Capture, source: String, after watermark: LSN, from changes: any BlockReader<ChangeBatch>
    ) async throws -> Int {
        let label = file.label
        let time = now()
        return try await file.write { db in
            try Self.requireWatermark(watermark, of: capture.instance, source, db)
            try db.execute(
                sql: "DELETE FROM \(quoted(capture.stagingTable)) WHERE lsn > ?", arguments: [watermark.blob])
            let writer = try StagingWriter(db, capture, ingestedAt: time, in: label)
            var count = 0
            while let batch = try changes.next() {
                try writer.append(batch, LSNWindow(after: watermark, through: batch.lsns.last ?? watermark))
                count += batch.count
            }
            return count
        }
    }

    public func ingest(
        _ capture: Capture, source: String, window: LSNWindow, commitTime: Timestamp?, snapshot: Int?,
        from reader: any BlockReader<ChangeBatch>
    ) async throws -> Int {
        let label = file.label
        let time = now()
        return try await file.write { db in
            // The write lock is held from here, so the compare-and-swap at the end cannot fail any more: better
            // to find out before a million rows than after.
            try Self.requireWatermark(window.after, of: capture.instance, source, db)
            // Rows beyond the watermark are of a read that was given up; those of this window's snapshot are not.
            if snapshot == nil {
                try db.execute(
                    sql: "DELETE FROM \(quoted(capture.stagingTable)) WHERE lsn > ?", arguments: [window.after.blob])
            }
            let writer = try StagingWriter(db, capture, ingestedAt: time, in: label)
            var count = 0
            while let batch = try reader.next() {
                try writer.append(batch, window)
                count += batch.count
            }
            try Self.move(
                capture.instance, window, source, commitTime, rows: (snapshot ?? 0) + count, at: time, db)
            if snapshot != nil {
                try db.execute(
                    sql: """
                        UPDATE ctl_ingestion_watermarks
                        SET complete_from_lsn = last_ingested_lsn, resync_requested = 0
                        WHERE source_name = ? AND capture_instance = ?
                        """,
                    arguments: [source, capture.instance])
            }
            if window.after == .zero { try Self.voidProjections(of: capture.instance, db) }
            return count
        }
    }

    public func advance(_ moves: [WatermarkMove], source: String, commitTime: Timestamp?) async throws {
        guard !moves.isEmpty else { return }
        let time = now()
        try await file.write { db in
            for move in moves {
                try Self.move(move.capture, move.window, source, commitTime, rows: 0, at: time, db)
            }
        }
    }

    /// Has the projections built in full that consumed the capture before it began anew.
    private static func voidProjections(of capture: String, _ db: Database) throws {
        try db.execute(
            sql: """
                UPDATE ctl_projection_metadata SET status = 'INIT' WHERE projection_name IN (
                    SELECT projection_name FROM ctl_projection_checkpoints
                    WHERE capture_instance = ? AND last_consumed_lsn > ?)
                """,
            arguments: [capture, LSN.zero.blob])
    }

    /// - Throws: `TidemarkError.otherHistory` while nothing may be staged from the source, `.conflict` unless the
    ///   watermark is `lsn`.
    private static func requireWatermark(
        _ lsn: LSN, of capture: String, _ source: String, _ db: Database
    ) throws {
        try requireHistory(of: source, db)
        let present = try Row.fetchOne(
            db,
            sql: """
                SELECT last_ingested_lsn FROM ctl_ingestion_watermarks
                WHERE source_name = ? AND capture_instance = ?
                """,
            arguments: [source, capture])
        guard let present else {
            throw TidemarkError.conflict("capture \(capture) of \(source) has no watermark in the serving database")
        }
        guard try present.lsn(0) == lsn else {
            throw TidemarkError.conflict(
                """
                the watermark of \(capture) is \(try present.lsn(0)), not \(lsn): another pipeline writes to this \
                serving database
                """)
        }
    }

    private static func move(
        _ capture: String, _ window: LSNWindow, _ source: String, _ commitTime: Timestamp?, rows: Int,
        at time: Timestamp, _ db: Database
    ) throws {
        try requireHistory(of: source, db)
        try db.cachedStatement(
            sql: """
                UPDATE ctl_ingestion_watermarks
                SET last_ingested_lsn = :to, last_commit_time = :commit_time, rows_ingested = rows_ingested + :rows,
                    status = 'OK', last_error = NULL, updated_at = :now
                WHERE source_name = :source AND capture_instance = :capture AND last_ingested_lsn = :from
                """
        ).execute(arguments: [
            "to": window.through.blob, "commit_time": commitTime?.description, "rows": rows,
            "now": time.description, "source": source, "capture": capture, "from": window.after.blob,
        ])
        if db.changesCount == 0 { try requireWatermark(window.after, of: capture, source, db) }
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

    public func staged(_ capture: Capture, in window: LSNWindow, blockRows: Int) async throws
        -> any BlockReader<ChangeBatch>
    {
        let label = file.label
        return try await file.openCursor { db in
            let statement = try SQLiteStatement(db, ServingTables.selectStaged(capture), in: label)
            try statement.bind(window.after, at: 1)
            try statement.bind(window.through, at: 2)
            let decoder = SQLiteRowDecoder(
                table: capture.stagingTable, columns: capture.columns, key: capture.key, first: 4)
            return SQLiteCursor<ChangeBatch>.Opening(statement: statement) { statement in
                try Self.nextStaged(statement, decoder, capture, blockRows)
            }
        }
    }

    private static func nextStaged(
        _ statement: SQLiteStatement, _ decoder: SQLiteRowDecoder, _ capture: Capture, _ blockRows: Int
    ) throws -> ChangeBatch? {
        let pointer = statement.pointer
        var batch = ChangeBatch(columns: capture.columns, reserving: blockRows)
        while batch.count < blockRows, try statement.step() {
            guard let lsn = statement.lsn(at: 0), let seqval = statement.lsn(at: 2) else {
                throw TidemarkError.schema("\(capture.stagingTable) holds an LSN that is not 10 bytes long")
            }
            try decoder.decode(pointer, into: &batch.columns, lsn: lsn)
            batch.lsns.append(lsn)
            batch.commandIDs.append(sqlite3_column_int(pointer, 1))
            batch.seqvals.append(seqval)
            batch.operations.append(UInt8(truncatingIfNeeded: sqlite3_column_int(pointer, 3)))
        }
        return batch.isEmpty ? nil : batch
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
