import GRDB
import GRDBSQLite
import Synchronization
public import Tidemark

/// A source database in an SQLite file, change data capture included.
///
///     let source = try EmbeddedSource(path: "data/source.db")
///     try await source.enableCDC()
///     let bounds = try await source.bounds()
///
/// Any program may write the file while the pipeline runs: triggers append each change to the change table
/// `cdc_dbo_<table>_CT`, with the value of a clock row. The pipeline closes a position by advancing the clock in
/// a transaction of its own. SQLite runs one writing transaction at a time and a transaction sees the latest
/// clock, so a transaction has exactly one LSN, LSNs never go down in a change table, and everything below the
/// clock is complete. Several transactions may share an LSN.
///
/// The clock's value is bytes 0 to 7 of the LSN; bytes 8 and 9 are zero.
public final class EmbeddedSource: ChangeSource {
    let file: SQLiteFile
    let now: @Sendable () -> Timestamp
    let lastCleanup = Mutex<Timestamp?>(nil)
    /// Which captures there are to be.
    let filter: CaptureFilter
    /// What the schema last said of the captures.
    private let known = Mutex<CaptureConditions?>(nil)

    /// How long closing a position waits for a writer. Past that, the bounds stay at the last closed position.
    private static let closingWait: Duration = .milliseconds(500)

    /// Opens the file, creating it when it is missing. Change data capture is enabled by `enableCDC`.
    ///
    /// - Parameters:
    ///   - filter: which tables are captured and told of.
    ///   - now: the clock that dates positions and retention.
    /// - Throws: `TidemarkError.unavailable` when the file cannot be opened or written.
    public init(
        path: String, filter: CaptureFilter = .all, now: @escaping @Sendable () -> Timestamp = { .now() }
    ) throws {
        file = try SQLiteFile(path: path, role: "source", isFollowed: true)
        self.filter = filter
        self.now = now
    }

    /// Runs statements, as of a bootstrap script, in one transaction.
    public func execute(script: String) async throws {
        try await file.write { try $0.execute(sql: script) }
    }

    // MARK: Catalog

    public func catalog() async throws -> SourceCatalog {
        let path = file.label.place
        let filter = filter
        try await upgrade()
        return try await file.read { db in
            try Self.requireCDC(db, path: path)
            let tables = try Row.fetchAll(
                db, sql: "SELECT capture_instance, source_table FROM cdc_change_tables ORDER BY capture_instance")
            let names = try String.fetchAll(db, sql: "SELECT name \(Self.ownTables)")
            var catalog = SourceCatalog(
                captures: [], refused: [], warnings: filter.complaints(tables: names + tables.map { $0[1] }))
            for row in tables where filter.includes(row[1]) {
                do {
                    catalog.captures.append(try Self.capture(db, instance: row[0], table: row[1]))
                } catch let error as TidemarkError {
                    catalog.refused.append(RefusedCapture(instance: row[0], reason: error))
                }
                catalog.warnings += try CaptureSchema(row[0], table: row[1], db).warnings
            }
            return catalog
        }
    }

    /// Makes the tables and columns that a source file of an earlier version lacks.
    private func upgrade() async throws {
        let path = file.label.place
        let isOld = try await file.read { db in
            try Self.requireCDC(db, path: path)
            let columns = try String.fetchSet(db, sql: "SELECT name FROM pragma_table_info('cdc_change_tables')")
            return try !Self.hasTable("cdc_source", db) || !columns.isSuperset(of: CDCTables.restartColumns.map(\.0))
        }
        if isOld { try await file.write { try Self.install($0) } }
    }

    /// Makes the tables all captures share, or what they lack; safe to repeat.
    static func install(_ db: Database) throws {
        try db.execute(sql: CDCTables.bootstrap)
        let jobs = try String.fetchSet(db, sql: "SELECT name FROM pragma_table_info(?)", arguments: [CDCTables.jobs])
        if !jobs.contains("max_unread_changes") { try db.execute(sql: CDCTables.addUnreadLimit) }
        let captures = try String.fetchSet(db, sql: "SELECT name FROM pragma_table_info('cdc_change_tables')")
        for (name, type) in CDCTables.restartColumns where !captures.contains(name) {
            try db.execute(sql: "ALTER TABLE cdc_change_tables ADD COLUMN \(name) \(type)")
        }
    }

    /// The capture as it was enabled, whatever became of the source table since: `bounds` tells of that.
    static func capture(_ db: Database, instance: String, table: String) throws -> Capture {
        let rows = try Row.fetchAll(
            db,
            sql: """
                SELECT column_name, column_type, key_ordinal FROM cdc_captured_columns
                WHERE capture_instance = ? ORDER BY column_ordinal
                """,
            arguments: [instance])
        var key: [(Int, String)] = []
        let columns = try rows.map { row in
            let (name, declaration): (String, String) = (row[0], row[1])
            let ordinal: Int? = row[2]
            if let ordinal { key.append((ordinal, name)) }
            // The table itself keeps NULL from a NOT NULL column, and a migration may let it in.
            return Column(
                name: name, type: try type(ofColumn: name, declared: declaration, table: table),
                isNullable: ordinal == nil)
        }
        return Capture(
            instance: instance, table: table, columns: columns,
            key: key.sorted { $0.0 < $1.0 }.map(\.1))
    }

    /// - Throws: `TidemarkError.schema` for a type that cannot be captured.
    static func type(ofColumn name: String, declared: String, table: String) throws -> LogicalType {
        if let type = SQLiteType.logicalType(declared: declared) { return type }
        let problem = declared.isEmpty ? "has no declared type" : "has the type \(declared), which is not known"
        throw TidemarkError.schema(
            """
            column \(table).\(name) \(problem). Declare it as one of INTEGER, TINYINT, SMALLINT, MEDIUMINT, BOOLEAN, \
            REAL, DECIMAL_TEXT(p,s), TEXT, JSON, BLOB, DATE, TIME, DATETIME, DATETIMEOFFSET or UUID, or leave the table \
            out with CDC_EXCLUDE=\(table)
            """)
    }

    /// Whether there is a table, asked of the schema as it is: what GRDB knows of it is as old as its connection, and other
    /// programs change it.
    static func hasTable(_ name: String, _ db: Database) throws -> Bool {
        try Bool.fetchOne(
            db.cachedStatement(sql: "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?)"),
            arguments: [name])!
    }

    static func requireCDC(_ db: Database, path: String) throws {
        guard try hasTable("cdc_change_tables", db), try hasTable(CDCTables.clock, db) else {
            throw TidemarkError.unavailable(
                "change data capture is not enabled on the source database \(path): run tidemark bootstrap")
        }
    }

    // MARK: Bounds

    /// Where the log stands. When changes lie at the clock's present value, their position is closed first; when
    /// there are none, nothing is written.
    ///
    /// Each snapshot of the log is looked at together with the schema of that moment, so that no position is told of up
    /// to which a change may have gone uncaptured. Triggers that are missing, as after a migration that rebuilt their
    /// table, are made again in the same transaction as the position behind which the capture is complete again.
    public func bounds(verifying position: SourcePosition?) async throws -> SourceBounds {
        let now = now
        let path = file.label.place
        let known = known.withLock { $0 }
        if known == nil { try await upgrade() }
        let found: Look
        do {
            found = try await file.withWriter { db in
                var look: Look?
                try db.inTransaction(.deferred) {
                    look = try Self.look(db, known: known, path: path, verifying: position)
                    return .commit
                }
                return look!
            }
        } catch {
            // Another file may have taken the place, one of an earlier version.
            self.known.withLock { $0 = nil }
            throw error
        }
        self.known.withLock { $0 = found.conditions }
        guard found.isOpen || found.needsMending else { return found.bounds }
        let written = try await file.writeUnlessBusy(waiting: Self.closingWait) { db in
            // Somebody else may have closed the position since.
            let present = try Self.look(db, known: found.conditions, path: path, verifying: position)
            guard present.isOpen || present.needsMending else { return present }
            try Self.close(present, db, at: now())
            return try Self.look(db, known: present.conditions, path: path, verifying: position)
        }
        guard let written else { return found.bounds }
        self.known.withLock { $0 = written.conditions }
        return written.bounds
    }

    /// The log and the captures as one snapshot has them.
    struct Look: Sendable {
        /// As of the last closed position.
        var bounds: SourceBounds
        /// Whether there are changes past it.
        var isOpen: Bool
        var conditions: CaptureConditions

        var needsMending: Bool { conditions.conditions.values.contains(where: \.needsMending) }
    }

    /// What became of a position, in the snapshot `db` is in.
    static func finding(of position: SourcePosition, _ db: Database, maxLSN: LSN) throws -> PositionFinding {
        let row = try Row.fetchOne(
            db.cachedStatement(
                sql: """
                    SELECT (SELECT tran_end_time FROM cdc_lsn_time_mapping WHERE start_lsn = ?),
                        (SELECT min(start_lsn) FROM cdc_lsn_time_mapping)
                    """),
            arguments: [position.lsn.clock])
        return PositionFinding(
            of: position, found: (row?[0] as String?).flatMap { Timestamp($0) },
            oldest: (row?[1] as Int64?).map { LSN(clock: $0) }, maxLSN: maxLSN)
    }

    /// What the source is; nothing in a file of an earlier version.
    private static func identity(_ db: Database) throws -> SourceIdentity {
        guard try hasTable("cdc_source", db) else { return SourceIdentity() }
        let id = try String.fetchOne(db.cachedStatement(sql: "SELECT source_id FROM cdc_source WHERE id = 1"))
        return SourceIdentity(id.map { ["source_id": $0] } ?? [:])
    }

    /// Ends the position the clock stands at, and begins the next one; on the way, captures are mended that need it.
    static func close(_ look: Look, _ db: Database, at time: Timestamp) throws {
        let clock = look.bounds.maxLSN.clock + 1
        for condition in look.conditions.conditions.values {
            if let sweep = condition.sweep { try db.execute(sql: sweep) }
        }
        try mendTriggers(db, look.conditions, clock: clock)
        try db.execute(
            sql: "INSERT INTO cdc_lsn_time_mapping (start_lsn, tran_end_time) VALUES (?, ?)",
            arguments: [clock, time.description])
        try db.execute(sql: "UPDATE cdc_clock SET value = ? WHERE id = 1", arguments: [clock + 1])
    }

    static func look(
        _ db: Database, known: CaptureConditions?, path: String, verifying position: SourcePosition? = nil
    ) throws -> Look {
        let state: Row?
        do {
            state = try Row.fetchOne(
                db.cachedStatement(
                    sql: """
                        SELECT value,
                            (SELECT tran_end_time FROM cdc_lsn_time_mapping ORDER BY start_lsn DESC LIMIT 1)
                        FROM cdc_clock WHERE id = 1
                        """))
        } catch let error as DatabaseError where error.resultCode == .SQLITE_ERROR {
            try requireCDC(db, path: path)
            throw error
        }
        guard let state else {
            throw TidemarkError.unavailable("the row of cdc_clock is missing in the source database \(path)")
        }
        let conditions = try conditions(db, known: known)
        let clock: Int64 = state[0]
        let time = (state[1] as String?).flatMap { Timestamp($0) }
        let maxLSN = LSN(clock: clock - 1)
        var bounds = SourceBounds(
            maxLSN: maxLSN, maxCommitTime: time, captures: [:], identity: try identity(db),
            finding: try position.map { try finding(of: $0, db, maxLSN: maxLSN) } ?? .unasked)
        var isOpen = false
        let captures = try db.cachedStatement(
            sql: "SELECT capture_instance, start_lsn, restart_lsn, restart_reason FROM cdc_change_tables")
        for row in try Row.fetchAll(captures) {
            let instance: String = row[0]
            var own = CaptureBounds(
                minLSN: LSN(clock: row[1]), restartedAt: (row[2] as Int64?).map { LSN(clock: $0) },
                restartReason: row[3])
            defer { bounds.captures[instance] = own }
            switch conditions.conditions[instance] {
            case .faulty(let error, _):
                own.fault = error
                // Its change table may be gone.
                continue
            case .broken(let reason):
                own.fault = .schema(
                    "capture \(instance) \(reason). It is made anew as soon as no other program writes to the source")
            case .sound, .overtaken, nil:
                break
            }
            let last = try Int64.fetchOne(
                db.cachedStatement(
                    sql: """
                        SELECT "__$start_lsn" FROM \(quoted(CDCTables.changeTable(instance)))
                        ORDER BY "__$seqval" DESC LIMIT 1
                        """))
            if let last, last >= clock { isOpen = true }
        }
        return Look(bounds: bounds, isOpen: isOpen, conditions: conditions)
    }

    /// Closes a position, whether or not there are changes at it, so that the log passes the mark on an idle source too.
    public func mark() async throws -> SourceMark {
        let now = now
        let path = file.label.place
        return try await file.write { db in
            let time = now()
            let look = try Self.look(db, known: nil, path: path)
            // With it, captures are mended that need it: what was not captured so far is at this position.
            try Self.close(look, db, at: time)
            return SourceMark(lsn: LSN(clock: look.bounds.maxLSN.clock + 1), time: time, isPosition: true)
        }
    }

    public func hasPassed(_ mark: SourceMark, bounds: SourceBounds) async throws -> Bool {
        bounds.maxLSN >= mark.lsn
    }

    public func isComplete(_ capture: Capture) async throws -> Bool {
        try await file.read { db in
            try Bool.fetchOne(
                db, sql: "SELECT is_complete FROM cdc_change_tables WHERE capture_instance = ?",
                arguments: [capture.instance]) ?? false
        }
    }

    public func commitTime(of lsn: LSN) async throws -> Timestamp? {
        try await file.read { db in
            try String.fetchOne(
                db,
                sql: """
                    SELECT tran_end_time FROM cdc_lsn_time_mapping WHERE start_lsn <= ?
                    ORDER BY start_lsn DESC LIMIT 1
                    """,
                arguments: [lsn.clock])
        }.flatMap { Timestamp($0) }
    }

    // MARK: Changes

    public func windowEnd(of capture: Capture, after: LSN, upTo: LSN, maxRows: Int) async throws -> LSN {
        guard after < upTo else { return upTo }
        return try await file.read { db in
            let log = try ChangeLog(db, capture)
            guard let first = try log.firstRow(after: after.clock),
                let beyond = try log.row(from: first.id + Int64(min(max(maxRows, 1), Int(Int32.max)))),
                beyond.lsn <= upTo.clock
            else { return upTo }
            // `beyond` does not fit, nor does any change of its LSN.
            let fits = try log.lastRow(through: beyond.lsn - 1)
            return LSN(clock: fits.flatMap { $0.id >= first.id ? $0.lsn : nil } ?? beyond.lsn)
        }
    }

    public func changes(
        of capture: Capture, in window: LSNWindow, expecting positions: [SourcePosition], limits: BlockLimits
    ) async throws -> any BlockReader<ChangeBatch> {
        let label = file.label
        // Change tables only grow at their end, so blocks read one after the other are what one snapshot would show,
        // unless cleanup has deleted in between, which `start_lsn` tells.
        let progress = Progress()
        return try await file.openCursor { db in
            let state = try Row.fetchOne(
                db,
                sql: """
                    SELECT start_lsn, is_complete, restart_lsn, restart_reason FROM cdc_change_tables
                    WHERE capture_instance = ?
                    """,
                arguments: [capture.instance])
            guard let state else {
                throw TidemarkError.schema("there is no capture \(capture.instance) in \(label)")
            }
            let (minClock, isComplete): (Int64, Bool) = (state[0], state[1])
            // Cleanup may have run since the caller looked at the bounds, or asked whether the log is complete, or since
            // the last block.
            let isKept =
                progress.lsn.map { $0 >= minClock }
                ?? (window.after == .zero ? isComplete : window.after.clock >= minClock - 1)
            guard isKept else {
                throw TidemarkError.gap(
                    capture: capture.instance, watermark: window.after, minLSN: LSN(clock: minClock))
            }
            // Whoever asks for a window across the moment at which the capture was made anew does not know of it.
            if let restart: Int64 = state[2], window.after.clock < restart, window.through.clock >= restart,
                let error = CaptureBounds(minLSN: nil, restartedAt: LSN(clock: restart), restartReason: state[3])
                    .trouble(of: capture.instance, at: window.after)
            {
                throw error
            }
            // The file may have been put back from a backup since then, too.
            let clock = try Int64.fetchOne(db, sql: "SELECT value FROM cdc_clock WHERE id = 1") ?? 1
            for position in positions {
                switch try Self.finding(of: position, db, maxLSN: LSN(clock: clock - 1)) {
                case .kept, .forgotten, .unasked: continue
                case .beyond, .replaced:
                    throw TidemarkError.lost(position, in: label)
                }
            }
            if progress.rows == nil {
                let log = try ChangeLog(db, capture)
                progress.rows = (
                    try log.firstRow(after: window.after.clock)?.id ?? .max,
                    try log.lastRow(through: window.through.clock)?.id ?? .min
                )
            }
            let (first, last) = progress.rows ?? (.max, .min)
            let statement = try SQLiteStatement(
                db,
                """
                SELECT "__$start_lsn", "__$seqval", "__$command_id", "__$operation", \
                \(quotedList(capture.columns.map(\.name)))
                FROM \(quoted(CDCTables.changeTable(capture.instance)))
                WHERE "__$seqval" BETWEEN ? AND ? ORDER BY "__$seqval"
                """, in: label)
            try statement.bind(first, at: 1)
            try statement.bind(last, at: 2)
            let changeTable = CDCTables.changeTable(capture.instance)
            let decoder = SQLiteRowDecoder(
                table: capture.table, columns: capture.columns, key: capture.key, first: 4,
                remedy: "correct it in \(capture.table) and in \(changeTable), and the capture goes on")
            return SQLiteCursor<ChangeBatch>.Opening(statement: statement) { statement in
                try Self.nextBlock(statement, decoder, capture, window, limits, progress)
            }
        }
    }

    /// How far a window's changes have been read. Touched by one cursor only, on its connection's queue.
    private final class Progress: @unchecked Sendable {
        /// The ids of the next row to read and of the last one; `nil` before the first look.
        var rows: (next: Int64, last: Int64)?
        /// The last LSN read.
        var lsn: Int64?
    }

    private static func nextBlock(
        _ statement: SQLiteStatement, _ decoder: SQLiteRowDecoder, _ capture: Capture, _ window: LSNWindow,
        _ limits: BlockLimits, _ progress: Progress
    ) throws -> ChangeBatch? {
        let pointer = statement.pointer
        let budget = BlockBudget(limits, columns: capture.columns)
        var batch = ChangeBatch(columns: capture.columns, reserving: limits.reservation(for: capture.columns))
        while !budget.isFull(batch.columns, rows: batch.count), try statement.step() {
            let lsn = LSN(clock: sqlite3_column_int64(pointer, 0))
            guard window.contains(lsn), lsn.clock >= progress.lsn ?? 0 else {
                throw TidemarkError.schema(
                    """
                    change table \(CDCTables.changeTable(capture.instance)) is out of order at LSN \(lsn): it or \
                    cdc_clock was changed by hand. Start over with an empty serving database
                    """)
            }
            try decoder.decode(pointer, into: &batch.columns, lsn: lsn)
            progress.lsn = lsn.clock
            progress.rows?.next = sqlite3_column_int64(pointer, 1) + 1
            batch.lsns.append(lsn)
            batch.seqvals.append(LSN(high: UInt64(bitPattern: sqlite3_column_int64(pointer, 1)), low: 0))
            batch.commandIDs.append(sqlite3_column_int(pointer, 2))
            batch.operations.append(UInt8(truncatingIfNeeded: sqlite3_column_int(pointer, 3)))
        }
        return batch.isEmpty ? nil : batch
    }

    public func rows(of capture: Capture, limits: BlockLimits) async throws -> any BlockReader<RowBatch> {
        let label = file.label
        let select = "SELECT \(quotedList(capture.columns.map(\.name))) FROM \(quoted(capture.table))"
        let order = "ORDER BY \(quotedList(capture.key))"
        let decoder = SQLiteRowDecoder(
            table: capture.table, columns: capture.columns, key: capture.key, first: 0)
        let isInOrder = try await file.read { db in
            try Self.requireSound(capture, db)
            return try Self.isIndexed("\(select) \(order)", db)
        }
        guard isInOrder else {
            return try await file.openCursor(with: { db in
                try Self.requireSound(capture, db)
                let statement = try SQLiteStatement(db, select, in: label)
                let opening = SQLiteCursor<RowBatch>.Opening(statement: statement) { statement in
                    try RowBatch.next(statement, decoder, capture.columns, limits, lsn: .zero)
                }
                return ((), opening)
            }).1
        }
        let last = SQLiteKey(positions: capture.keyIndices.map { Int32($0) })
        return try await file.openCursor { db in
            try Self.requireSound(capture, db)
            let parameters = repeatElement("?", count: capture.key.count).joined(separator: ", ")
            let rest = last.isSet ? "WHERE (\(quotedList(capture.key))) > (\(parameters))" : ""
            let statement = try SQLiteStatement(db, "\(select) \(rest) \(order)", in: label)
            try last.bind(to: statement)
            return SQLiteCursor<RowBatch>.Opening(statement: statement) { statement in
                let batch = try RowBatch.next(statement, decoder, capture.columns, limits, lsn: .zero)
                if !statement.isAtEnd { last.take(from: statement) }
                return batch
            }
        }
    }

    /// Throws when the table is no longer the one that is captured.
    private static func requireSound(_ capture: Capture, _ db: Database) throws {
        if case .faulty(let error, _) = try condition(of: capture.instance, table: capture.table, db) { throw error }
    }

    /// Whether SQLite reads a query's rows in their order without sorting them. It sorts by a key that is declared with
    /// another collation or direction than its columns; then each block would sort all that is left.
    private static func isIndexed(_ query: String, _ db: Database) throws -> Bool {
        try Row.fetchAll(db, sql: "EXPLAIN QUERY PLAN \(query)")
            .allSatisfy { !($0["detail"] as String).contains("TEMP B-TREE") }
    }
}

extension RowBatch {
    /// The next rows of `statement`, a block of them; `nil` when there are none.
    static func next(
        _ statement: SQLiteStatement, _ decoder: SQLiteRowDecoder, _ columns: [Column], _ limits: BlockLimits, lsn: LSN
    ) throws -> RowBatch? {
        let budget = BlockBudget(limits, columns: columns)
        var batch = RowBatch(columns: columns, reserving: limits.reservation(for: columns))
        var count = 0
        while !budget.isFull(batch.columns, rows: count), try statement.step() {
            try decoder.decode(statement.pointer, into: &batch.columns, lsn: lsn)
            count += 1
        }
        return count == 0 ? nil : batch
    }
}

extension LSN {
    /// The LSN of a value of the clock.
    init(clock: Int64) { self.init(high: UInt64(clamping: clock), low: 0) }

    /// The clock's value in bytes 0 to 7.
    var clock: Int64 { Int64(clamping: high) }
}
