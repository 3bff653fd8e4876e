import ODBC
import Synchronization
public import Tidemark

extension SQLServerServing {
    // MARK: State

    public func projection(_ name: String) async throws -> ProjectionState? {
        try await database.run { try Self.states(of: name, $0)[name] }
    }

    public func projections() async throws -> [String: ProjectionState] {
        try await database.run { try Self.states(of: nil, $0) }
    }

    /// One statement, so that metadata and checkpoints are of one moment.
    static func states(of name: String?, _ connection: Connection) throws -> [String: ProjectionState] {
        let rows = try connection.query(
            """
            SELECT m.projection_name, m.status, m.as_of_lsn, m.as_of_time, m.built_at, m.definition_hash, m.rows_written,
                c.capture_instance, c.last_consumed_lsn, m.last_error
            FROM [dbo].[ctl_projection_metadata] AS m
            LEFT JOIN [dbo].[ctl_projection_checkpoints] AS c ON c.projection_name = m.projection_name
            \(name == nil ? "" : "WHERE m.projection_name = ?")
            """, name.map { [.string($0)] } ?? []
        ).rows()
        var states: [String: ProjectionState] = [:]
        for row in rows {
            let name = row[0].string ?? ""
            if states[name] == nil {
                states[name] = ProjectionState(
                    checkpoints: [:], status: try row[1].controlStatus(),
                    asOfLSN: row[2].isNull ? nil : try row[2].controlLSN(), asOfTime: try row[3].controlTime(),
                    builtAt: try row[4].controlTime(), definitionHash: row[5].string ?? "",
                    rowsWritten: Int(row[6].int64 ?? 0), lastError: row[9].string)
            }
            if let capture = row[7].string { states[name]?.checkpoints[capture] = try row[8].controlLSN() }
        }
        return states
    }

    /// The state as it stands once no other transaction holds it; it is held until this one ends. Whoever writes to a
    /// projection takes this row's lock first.
    private static func lockState(of name: String, _ connection: Connection) throws -> ProjectionState? {
        try connection.execute(
            "UPDATE [dbo].[ctl_projection_metadata] SET status = status WHERE projection_name = ?", [.string(name)])
        return try states(of: name, connection)[name]
    }

    // MARK: Commit

    public func commit(_ commit: ProjectionCommit, changes: any BlockReader<ProjectionChange>) async throws -> Int {
        let name = commit.table.projection
        let sql = ProjectionTableSQL(commit.table)
        let time = now()
        let json = try await jsonSupport()
        let gathered = try await pool.gather(from: changes)
        do {
            // What comes after the gathered changes comes only once.
            return try await write(attempts: gathered.isAtEnd ? Self.attempts : 1) { [self] connection in
                let present = try Self.lockState(of: name, connection)
                if let conflict = commit.conflict(with: present) { throw conflict }
                let step = ProjectionStep(self, commit.table, sql, json, connection)
                let rows = try database.data(connection) {
                    for change in gathered.blocks { try step.apply(change) }
                    if !gathered.isAtEnd {
                        while let change = try changes.next() { try step.apply(change) }
                    }
                    return try step.finish()
                }
                try connection.execute(
                    """
                    UPDATE [dbo].[ctl_projection_checkpoints] SET last_consumed_lsn = ?, updated_at = ?
                    WHERE projection_name = ?
                    """, [.lsn(commit.to), .time(time), .string(name)])
                try connection.execute(
                    """
                    UPDATE [dbo].[ctl_projection_metadata]
                    SET status = ?, as_of_lsn = ?, as_of_time = ?, rows_written = ?, last_error = NULL
                    WHERE projection_name = ?
                    """,
                    [
                        .string(commit.status(after: present).rawValue), .lsn(commit.to), .time(commit.asOfTime),
                        .int(Int64(rows)), .string(name),
                    ])
                return rows
            } isDone: { connection in
                commit.isDone(in: try Self.lockState(of: name, connection))
            }
        } catch {
            shapes.forget(commit.table.name)
            throw error
        }
    }

    // MARK: Build

    public func build(_ build: ProjectionBuild, rows: any BlockReader<RowBatch>) async throws -> Int {
        let sql = ProjectionTableSQL(build.table)
        let json = try await jsonSupport()
        shapes.forget(build.table.name)
        do {
            let shape = try await database.transaction { connection in
                let present = try Self.lockState(of: build.table.projection, connection)
                if let conflict = build.conflict(with: present) { throw conflict }
                let shape = sql.shape(like: try ServingTableShape.read(build.table.name, connection))
                // Left over by an earlier version, unless another projection's table is called so.
                let other = build.table.formerBuildProjection
                if try Self.states(of: other, connection)[other] == nil {
                    try connection.execute("DROP TABLE IF EXISTS \(servingTable(build.table.formerBuildName))")
                }
                try connection.execute("DROP TABLE IF EXISTS \(sql.next)")
                try connection.execute(sql.create(shape))
                return shape
            }
            // Nobody waits for these: the first rows may be long in coming, and the new table is nobody else's.
            let count = try await database.run { [self] connection in
                try database.data(connection) {
                    var count = 0
                    let fill = ProjectionFill(
                        connection, sql.next, build.table.columns, shape, build.table, json: json)
                    while let batch = try rows.next() {
                        try connection.transaction { try fill.append(batch) }
                        count += batch.count
                    }
                    try keyed(build.table) { _ = try connection.execute(sql.addKey(to: sql.next)) }
                    try carryOver(to: sql, connection)
                    return count
                }
            }
            try await publish(build, sql, count)
            return count
        } catch {
            // The next build drops what is left over, if this one cannot.
            _ = try? await database.run { try $0.execute("DROP TABLE IF EXISTS \(sql.next)") }
            throw error
        }
    }

    /// Makes the projection's table what the new one is.
    ///
    /// A table that fits is changed row by row, in place: its indexes, permissions and statistics stay, and with
    /// READ_COMMITTED_SNAPSHOT no reader waits. Any other is dropped, and the new one gets its name; `carryOver` has
    /// given it what it could.
    private func publish(_ build: ProjectionBuild, _ sql: ProjectionTableSQL, _ count: Int) async throws {
        let name = build.table.projection
        let time = now()
        try await write(attempts: Self.attempts) { [self] connection in
            let present = try Self.lockState(of: name, connection)
            if let conflict = build.conflict(with: present) { throw conflict }
            try Self.setState(build, rows: count, at: time, present, connection)
            if let shape = try ServingTableShape.read(build.table.name, connection), sql.fits(shape) {
                try database.data(connection) {
                    try connection.execute(sql.delete(keysNotIn: sql.next))
                    if let update = sql.update(from: sql.next) { try connection.execute(update) }
                    try connection.execute(sql.insert(from: sql.next))
                }
                try connection.execute("DROP TABLE \(sql.next)")
            } else {
                for statement in sql.swap { try connection.execute(statement) }
            }
        } isDone: { connection in
            let state = try Self.lockState(of: name, connection)
            return state?.builtAt == time && state?.asOfLSN == build.asOf
        }
    }

    private static func setState(
        _ build: ProjectionBuild, rows: Int, at time: Timestamp, _ present: ProjectionState?,
        _ connection: Connection
    ) throws {
        let name = build.table.projection
        let values: [Value] = [
            .string(build.status(after: present).rawValue), .lsn(build.asOf), .time(build.asOfTime), .time(time),
            .string(build.definitionHash),
            .int(Int64(rows)), .string(name),
        ]
        if present != nil {
            try connection.execute(
                """
                UPDATE [dbo].[ctl_projection_metadata]
                SET status = ?, as_of_lsn = ?, as_of_time = ?, built_at = ?, definition_hash = ?, rows_written = ?,
                    last_error = NULL
                WHERE projection_name = ?
                """, values)
        } else {
            do {
                try connection.execute(
                    """
                    INSERT INTO [dbo].[ctl_projection_metadata]
                        (status, as_of_lsn, as_of_time, built_at, definition_hash, rows_written, projection_name)
                    VALUES (?, ?, ?, ?, ?, ?, ?)
                    """, values)
            } catch let error as ODBCError where error.isKeyViolation {
                throw build.conflict
            }
        }
        try connection.execute(
            "DELETE FROM [dbo].[ctl_projection_checkpoints] WHERE projection_name = ?", [.string(name)])
        for capture in Set(build.captures).sorted() {
            try connection.execute(
                """
                INSERT INTO [dbo].[ctl_projection_checkpoints]
                    (projection_name, capture_instance, last_consumed_lsn, updated_at)
                VALUES (?, ?, ?, ?)
                """, [.string(name), .string(capture), .lsn(build.asOf), .time(time)])
        }
    }

    // MARK: Status

    public func recordError(_ message: String, projection: String) async throws {
        // A rebuild asked for, which may be what failed, stays asked for: no definition has an empty hash.
        try await setStatus(
            "ERROR", .string(message), projection, hash: "CASE WHEN status = N'INIT' THEN N'' ELSE definition_hash END")
    }

    public func requestRebuild(projection: String) async throws {
        try await setStatus("INIT", .null, projection)
    }

    private func setStatus(
        _ status: String, _ message: Value, _ name: String, hash: String = "definition_hash"
    ) async throws {
        try await upsert { connection in
            try connection.affected(
                """
                UPDATE [dbo].[ctl_projection_metadata] SET status = ?, last_error = ?, definition_hash = \(hash)
                WHERE projection_name = ?
                """, [.string(status), message, .string(name)])
        } insert: { connection in
            try connection.execute(
                """
                INSERT INTO [dbo].[ctl_projection_metadata]
                    (projection_name, status, definition_hash, rows_written, last_error)
                VALUES (?, ?, N'', 0, ?)
                """, [.string(name), .string(status), message])
        }
    }

    // MARK: Reading

    public func readProjection(_ name: String, columns: [Tidemark.Column], limits: BlockLimits) async throws
        -> (ProjectionState, any BlockReader<RowBatch>)
    {
        let table = ProjectionTable(projection: name, columns: columns, key: [])
        let (producer, consumer) = BlockChannel.make(of: RowBatch.self)
        let state = try await withCheckedThrowingContinuation { continuation in
            // Once the state is out, what goes wrong comes to the reader.
            let isOpen = Mutex(false)
            Task.detached { [database] in
                do {
                    try await database.run { connection in
                        // It ends on the connection's thread: readers block, and those that block all threads tasks run
                        // on would wait for ever for this task to go on.
                        do {
                            try Self.snapshot(of: name, connection) {
                                let (state, select) = try Self.open(table, connection)
                                isOpen.withLock { $0 = true }
                                continuation.resume(returning: state)
                                try database.data(connection) {
                                    try Self.push(select, table, state, limits, connection) { producer.push($0) }
                                }
                            }
                            producer.finish()
                        } catch {
                            producer.finish(throwing: SQLServerFailure.readable(error, in: database.label))
                            throw error
                        }
                    }
                } catch {
                    if !isOpen.withLock({ $0 }) { continuation.resume(throwing: error) }
                }
            }
        }
        return (state, consumer)
    }

    /// Runs `body` in a transaction that sees one moment: SNAPSHOT where the database allows it. Elsewhere the
    /// projection's row is held, so that commits wait until the reader is done.
    private static func snapshot(of name: String, _ connection: Connection, _ body: () throws -> Void) throws {
        guard try connection.allowsSnapshot() else {
            return try connection.transaction {
                _ = try lockState(of: name, connection)
                try body()
            }
        }
        try connection.execute("SET TRANSACTION ISOLATION LEVEL SNAPSHOT")
        defer { _ = try? connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED") }
        try connection.transaction(body)
    }

    private static func open(_ table: ProjectionTable, _ connection: Connection) throws -> (ProjectionState, String) {
        guard let state = try states(of: table.projection, connection)[table.projection], state.asOfLSN != nil else {
            throw TidemarkError.projection(name: table.projection, reason: "it has not been built yet")
        }
        let shape = try ServingTableShape.read(table.name, connection)
        let found = shape?.columns ?? []
        let isFit =
            found.count == table.columns.count
            && zip(found, table.columns).allSatisfy { have, want in
                have.name == want.name && have.type.keeps(want, isLengthOpen: true)
            }
        guard isFit else {
            let expected = table.columns.map { "\($0.name) \($0.type.declaration(maxLength: $0.maxLength))" }
            throw TidemarkError.schema(
                """
                \(table.name) has the columns (\(found.map { "\($0.name) \($0.type)" }.joined(separator: ", "))) instead \
                of (\(expected.joined(separator: ", "))): rebuild projection \(table.projection)
                """)
        }
        let selected = zip(found, table.columns).map { $0.type.expression(quoted($0.name), as: $1.type) }
        return (state, "SELECT \(selected.joined(separator: ", ")) FROM \(servingTable(table.name))")
    }

    private static func push(
        _ select: String, _ table: ProjectionTable, _ state: ProjectionState, _ limits: BlockLimits,
        _ connection: Connection, _ push: (RowBatch) -> Bool
    ) throws {
        let decoder = SQLServerRowDecoder(table: table.name, columns: table.columns, key: [], first: 0)
        let cursor = try connection.query(select, options: .init(limits))
        defer { cursor.close() }
        while try cursor.fetch() {
            var batch = RowBatch(columns: table.columns, reserving: cursor.count)
            try decoder.decode(cursor, into: &batch.columns) { _ in state.asOfLSN ?? .zero }
            guard push(batch) else { return }
        }
    }
}
