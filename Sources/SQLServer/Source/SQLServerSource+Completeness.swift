import Foundation
import ODBC
import Synchronization
public import Tidemark

extension SQLServerSource {
    /// How long the capture job is given to catch up with what was committed before the question.
    static let catchUpTime: Duration = .seconds(15)
    private static let catchUpPoll: TimeInterval = 0.25

    /// Rows that may be waiting for the capture job; with more than that the table is read rather than waited for.
    private static let unseenRows = 100_000

    /// Whether every row the table has held since the capture's min LSN was inserted after it.
    ///
    /// Needs SELECT on the change table, and the capture job to catch up while this waits; otherwise the answer is no,
    /// and the table is read once.
    ///
    /// Not only the rows of now count: one that was there at the min LSN and has been changed or deleted since would be
    /// missing from the states in between; its first change is no insert. Since the capture job is behind, a row of now
    /// may have no change yet, and neither may one that was deleted just before. So the change table is looked at when
    /// the log has passed the moment at which the table was looked at.
    ///
    /// A table that was empty when its capture was enabled, as `sql/source/003_cdc.sql` notes, has had no older rows. There
    /// it is enough that each row of now has a change, and no wait for the log, which stands still on an idle database.
    public func isComplete(_ capture: Capture) async throws -> Bool {
        let minLSN: LSN? = try await database.run { [self] connection in
            try reading(capture, connection) { entry in
                guard let table = entry.source, let changes = entry.readableChangeTable else { return nil }
                defer { _ = try? connection.execute("IF OBJECT_ID(N'tempdb..#unseen') IS NOT NULL DROP TABLE #unseen") }
                let minLSN = try Self.minLSN(capture, connection)
                guard minLSN > .zero,
                    var unseen = try collectUnseen(capture, table, changes, minLSN, connection)
                else { return nil }
                let mark = try Self.mark(connection)
                let beganEmpty = try Self.beganEmpty(capture, table, connection)
                let deadline = ContinuousClock.now + Self.catchUpTime
                while !(beganEmpty && unseen == 0), !Self.hasPassed(mark, try Self.bounds(connection)) {
                    guard ContinuousClock.now < deadline else { return nil }
                    Thread.sleep(forTimeInterval: Self.catchUpPoll)
                    guard beganEmpty else { continue }
                    guard let now = try collectUnseen(capture, table, changes, minLSN, connection) else {
                        return nil
                    }
                    unseen = now
                }
                let hasOlderRows = try database.data(connection) {
                    try Self.hasOlderRows(capture, entry, changes, minLSN, connection)
                }
                let isKept = try Self.minLSN(capture, connection) == minLSN
                return !hasOlderRows && isKept ? minLSN : nil
            }
        }
        guard let minLSN else { return false }
        state.withLock { $0.completeAt[capture.instance] = minLSN }
        return true
    }

    static func minLSN(_ capture: Capture, _ connection: Connection) throws -> LSN {
        let sql = "SELECT CAST(sys.fn_cdc_get_min_lsn(\(literal(capture.instance))) AS varbinary(10)) AS min_lsn"
        return try connection.scalar(sql).lsn() ?? .zero
    }

    /// Whether the table was empty when this very capture was enabled: the note names the capture and its date, so one
    /// that was enabled anew is another.
    static func beganEmpty(
        _ capture: Capture, _ table: ObjectName, _ connection: Connection
    ) throws -> Bool {
        let count = try connection.scalar(
            """
            SELECT COUNT(*) FROM sys.extended_properties AS p, cdc.change_tables AS t
            WHERE p.class = 1 AND p.minor_id = 0 AND p.name = N'tidemark_captured_empty'
                AND p.major_id = OBJECT_ID(\(literal(table.description))) AND t.capture_instance = \(literal(capture.instance))
                AND CAST(p.value AS nvarchar(200)) =
                    t.capture_instance + N' ' + CONVERT(nvarchar(30), t.create_date, 126)
            """
        ).int64
        return count == 1
    }

    /// Puts the keys of rows without a change into `#unseen`, and counts them; `nil` when there are too many.
    private func collectUnseen(
        _ capture: Capture, _ table: ObjectName, _ changes: ObjectName, _ minLSN: LSN, _ connection: Connection
    ) throws -> Int64? {
        try connection.execute("IF OBJECT_ID(N'tempdb..#unseen') IS NOT NULL DROP TABLE #unseen")
        let sql = """
            SELECT TOP (\(Self.unseenRows + 1)) \(Self.list(capture.key, of: "s")) INTO #unseen FROM \(table) AS s
            WHERE NOT EXISTS (
                SELECT 1 FROM \(changes) AS c WHERE c.[__$start_lsn] >= \(minLSN) AND c.[__$operation] IN (2, 4)
                    AND \(Self.equal(capture.key, "c", "s")))
            """
        try database.data(connection) { _ = try connection.execute(sql) }
        let count = try connection.scalar("SELECT COUNT_BIG(*) FROM #unseen").int64 ?? 0
        return count <= Self.unseenRows ? count : nil
    }

    /// Whether a row still has no change, or the first change of one is no insert.
    private static func hasOlderRows(
        _ capture: Capture, _ entry: CaptureEntry, _ changes: ObjectName, _ minLSN: LSN, _ connection: Connection
    ) throws -> Bool {
        let order = "[__$start_lsn], \(entry.hasCommandID ? "[__$command_id], " : "")[__$seqval], [__$operation]"
        let sql = """
            SELECT CASE WHEN EXISTS (
                SELECT 1 FROM #unseen AS s WHERE NOT EXISTS (
                    SELECT 1 FROM \(changes) AS c WHERE c.[__$start_lsn] >= \(minLSN) AND c.[__$operation] IN (2, 4)
                        AND \(equal(capture.key, "c", "s"))))
            OR EXISTS (
                SELECT 1 FROM (
                    SELECT [__$operation],
                        ROW_NUMBER() OVER (PARTITION BY \(quotedList(capture.key)) ORDER BY \(order)) AS place
                    FROM \(changes) WHERE [__$start_lsn] >= \(minLSN) AND [__$operation] IN (1, 2, 4)
                ) AS firsts WHERE place = 1 AND [__$operation] <> 2)
            THEN 1 ELSE 0 END AS has_older_rows
            """
        return try connection.scalar(sql).int64 != 0
    }
}
