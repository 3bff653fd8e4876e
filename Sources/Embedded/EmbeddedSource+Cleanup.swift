import GRDB
import Synchronization
public import Tidemark

extension EmbeddedSource {
    /// How often `maintain` looks for changes past their retention.
    static let cleanupInterval: Duration = .seconds(300)

    /// Rows deleted in one transaction, so that writers wait milliseconds. SQL Server's cleanup job has the same
    /// threshold.
    static let cleanupBatch = 5000

    /// Purges changes past their retention, at most every five minutes.
    public func maintain() async throws -> String? {
        let time = now()
        let isDue = lastCleanup.withLock { last in
            if let last, time.seconds(since: last) < Double(Self.cleanupInterval.components.seconds) { return false }
            last = time
            return true
        }
        guard isDue else { return nil }
        let minutes = try await file.read { db in
            guard try Self.hasTable(CDCTables.jobs, db) else { return nil as Int64? }
            return try Int64.fetchOne(db, sql: "SELECT retention FROM cdc_jobs WHERE job_type = 'cleanup'")
        }
        guard let minutes else { return nil }
        let purged = try await cleanUp(
            olderThan: Timestamp(microseconds: time.microseconds - minutes * 60_000_000))
        return purged == 0 ? nil : "purged \(purged) changes older than their retention of \(minutes) minutes"
    }

    /// Notes how far a pipeline has read: cleanup keeps what it has not, up to a limit.
    public func acknowledge(_ reader: SourceReader) async throws {
        let time = now().description
        try await file.write { db in
            try db.execute(sql: "DELETE FROM cdc_readers WHERE reader_id = ?", arguments: [reader.id])
            for (instance, lsn) in reader.watermarks {
                try db.execute(
                    sql: """
                        INSERT INTO cdc_readers (reader_id, capture_instance, last_lsn, seen_at) VALUES (?, ?, ?, ?)
                        """,
                    arguments: [reader.id, instance, lsn.clock, time])
            }
        }
    }

    /// Purges the changes of positions closed before `time`, as SQL Server's cleanup job does, and returns how
    /// many there were.
    ///
    /// The last closed position is always kept, so that a pipeline that has read everything never finds a gap. A
    /// capture's min LSN moves in the first transaction that deletes: what it promises is there at every moment.
    ///
    /// What a known pipeline has not read is kept too, unless more than `cdc_jobs.max_unread_changes` wait to be purged:
    /// a pipeline that is gone for good must not fill the disk.
    @discardableResult
    public func cleanUp(olderThan time: Timestamp) async throws -> Int {
        let aged = try await file.read { db in
            try Int64.fetchOne(
                db,
                sql: """
                    SELECT coalesce(
                        (SELECT min(start_lsn) FROM cdc_lsn_time_mapping WHERE tran_end_time >= ?1),
                        (SELECT max(start_lsn) FROM cdc_lsn_time_mapping))
                    """,
                arguments: [time.description])
        }
        guard let aged else { return 0 }
        let marks = try await lowWaterMarks(aged)
        var purged = 0
        for (instance, lowWater) in marks {
            while true {
                let count = try await batch { try Self.purgeBatch(instance, below: lowWater, $0) }
                purged += count
                if count == 0 { break }
            }
        }
        let oldest = marks.map(\.lowWater).min() ?? aged
        while try await batch({ try Self.purgeTimes(below: oldest, $0) }) > 0 {}
        return purged
    }

    /// How far the changes of each capture may be purged: below `aged`, and not past what a reader has read.
    private func lowWaterMarks(_ aged: Int64) async throws -> [(instance: String, lowWater: Int64)] {
        try await file.read { db in
            let hasReaders = try Self.hasTable("cdc_readers", db)
            let limit = hasReaders ? try Self.unreadLimit(db) : 0
            let instances = try String.fetchAll(db, sql: "SELECT capture_instance FROM cdc_change_tables ORDER BY 1")
            let held = try instances.reduce(0 as Int64) { sum, instance in
                try sum + Self.heldChanges(of: instance, db)
            }
            return try instances.map { instance in
                guard hasReaders, held <= limit else { return (instance, aged) }
                let read = try Int64.fetchOne(
                    db, sql: "SELECT min(last_lsn) FROM cdc_readers WHERE capture_instance = ?", arguments: [instance])
                return (instance, min(aged, read ?? aged))
            }
        }
    }

    /// How many changes all change tables together may hold for the sake of readers.
    private static func unreadLimit(_ db: Database) throws -> Int64 {
        try Int64.fetchOne(db, sql: "SELECT max_unread_changes FROM cdc_jobs WHERE job_type = 'cleanup'")
            ?? CDCTables.maxUnreadChanges
    }

    /// The changes a change table holds, by its first and last number.
    private static func heldChanges(of instance: String, _ db: Database) throws -> Int64 {
        try Int64.fetchOne(
            db,
            sql: """
                SELECT coalesce(max("__$seqval") - min("__$seqval") + 1, 0)
                FROM \(quoted(CDCTables.changeTable(instance)))
                """) ?? 0
    }

    /// Runs one deletion; none when the source is busy, as nothing is lost by purging later.
    private func batch(_ delete: @Sendable @escaping (Database) throws -> Int) async throws -> Int {
        try await file.writeUnlessBusy(waiting: .milliseconds(500), delete) ?? 0
    }

    private static func purgeBatch(_ instance: String, below lowWater: Int64, _ db: Database) throws -> Int {
        let table = quoted(CDCTables.changeTable(instance))
        // The LSN bounds the delete too: rows of the batch may lie at or past the mark.
        try db.execute(
            sql: """
                DELETE FROM \(table) WHERE "__$start_lsn" < ?1 AND "__$seqval" < (
                    SELECT min("__$seqval") FROM \(table)) + \(cleanupBatch)
                """,
            arguments: [lowWater])
        let count = db.changesCount
        if count > 0 {
            try db.execute(
                sql: """
                    UPDATE cdc_change_tables SET start_lsn = max(start_lsn, ?), is_complete = 0
                    WHERE capture_instance = ?
                    """,
                arguments: [lowWater, instance])
        }
        return count
    }

    private static func purgeTimes(below lowWater: Int64, _ db: Database) throws -> Int {
        try db.execute(
            sql: """
                DELETE FROM cdc_lsn_time_mapping WHERE start_lsn IN (
                    SELECT start_lsn FROM cdc_lsn_time_mapping WHERE start_lsn < ? ORDER BY start_lsn
                    LIMIT \(cleanupBatch))
                """,
            arguments: [lowWater])
        return db.changesCount
    }
}
