import GRDB
public import Tidemark

extension EmbeddedServing {
    /// Bytes a build inserts in one transaction, some 20,000 rows of ten columns: ingestors wait a fraction of a second
    /// at most.
    static let buildTransactionBytes = 2 << 20

    public func projection(_ name: String) async throws -> ProjectionState? {
        try await file.read { try Self.state(of: name, $0) }
    }

    public func projections() async throws -> [String: ProjectionState] {
        try await file.read { db in
            var states: [String: ProjectionState] = [:]
            for name in try String.fetchAll(db, sql: "SELECT projection_name FROM ctl_projection_metadata") {
                states[name] = try Self.state(of: name, db)
            }
            return states
        }
    }

    private static func state(of name: String, _ db: Database) throws -> ProjectionState? {
        let metadata = try Row.fetchOne(
            db,
            sql: """
                SELECT status, as_of_lsn, as_of_time, built_at, definition_hash, rows_written, last_error
                FROM ctl_projection_metadata WHERE projection_name = ?
                """,
            arguments: [name])
        guard let metadata else { return nil }
        let rows = try Row.fetchAll(
            db,
            sql: """
                SELECT capture_instance, last_consumed_lsn FROM ctl_projection_checkpoints WHERE projection_name = ?
                """,
            arguments: [name])
        var checkpoints: [String: LSN] = [:]
        for row in rows { checkpoints[row[0]] = try row.lsn(1) }
        return ProjectionState(
            checkpoints: checkpoints, status: try metadata.status(0),
            asOfLSN: metadata.hasNull(atIndex: 1) ? nil : try metadata.lsn(1), asOfTime: try metadata.time(2),
            builtAt: try metadata.time(3), definitionHash: metadata[4], rowsWritten: metadata[5],
            lastError: metadata[6])
    }

    // MARK: Commit

    public func commit(_ commit: ProjectionCommit, changes: any BlockReader<ProjectionChange>) async throws -> Int {
        let label = file.label
        let time = now()
        // Before the transaction, which would keep ingestors waiting for a query.
        let gathered = try await pool.gather(from: changes)
        return try await file.write { db in
            let name = commit.table.projection
            let present = try Self.state(of: name, db)
            if let conflict = commit.conflict(with: present) { throw conflict }
            let deletes = try ProjectionWriter(db, ServingTables.delete(commit.table), commit.table, .keys, in: label)
            let upserts = try ProjectionWriter(db, ServingTables.upsert(commit.table), commit.table, .rows, in: label)
            func apply(_ change: ProjectionChange) throws -> Int {
                switch change {
                case .deletes(let keys): try deletes.append(keys)
                case .upserts(let rows): try upserts.append(rows)
                }
            }
            var rows = 0
            for change in gathered.blocks { rows += try apply(change) }
            if !gathered.isAtEnd {
                while let change = try changes.next() { rows += try apply(change) }
            }
            try db.execute(
                sql: """
                    UPDATE ctl_projection_checkpoints SET last_consumed_lsn = ?, updated_at = ?
                    WHERE projection_name = ? AND last_consumed_lsn = ?
                    """,
                arguments: [commit.to.blob, time.description, name, commit.from.blob])
            try db.execute(
                sql: """
                    UPDATE ctl_projection_metadata
                    SET status = :status, as_of_lsn = :lsn, as_of_time = :time,
                        rows_written = :rows, last_error = NULL
                    WHERE projection_name = :name
                    """,
                arguments: [
                    "status": commit.status(after: present).rawValue, "lsn": commit.to.blob,
                    "time": commit.asOfTime?.description, "rows": rows, "name": name,
                ])
            return rows
        }
    }

    // MARK: Build

    public func build(_ build: ProjectionBuild, rows: any BlockReader<RowBatch>) async throws -> Int {
        let table = build.table
        let next = table.buildName
        do {
            try await file.write { db in
                if let conflict = build.conflict(with: try Self.state(of: table.projection, db)) { throw conflict }
                // Left over by an earlier version, unless another projection's table is called so.
                if try Self.state(of: table.formerBuildProjection, db) == nil {
                    try db.execute(sql: "DROP TABLE IF EXISTS \(quoted(table.formerBuildName))")
                }
                try db.execute(sql: "DROP TABLE IF EXISTS \(quoted(next))")
                try db.execute(sql: ServingTables.create(next, ServingTables.projectionColumns(table)))
            }
            var count = 0
            var isAtEnd = false
            while !isAtEnd {
                // Before the transaction: the first rows wait for a query that can take long, and ingestors must not
                // wait with it.
                let gathered = try await buildPool.gather(from: rows)
                try await fill(next, table, gathered.blocks)
                count += gathered.blocks.reduce(0) { $0 + $1.count }
                isAtEnd = gathered.isAtEnd
            }
            try await swap(next, build, count)
            return count
        } catch {
            // The next build drops what is left over, if this one cannot.
            try? await file.write { try $0.execute(sql: "DROP TABLE IF EXISTS \(quoted(next))") }
            throw error
        }
    }

    /// Inserts blocks in one transaction.
    private func fill(_ next: String, _ table: ProjectionTable, _ batches: [RowBatch]) async throws {
        guard !batches.isEmpty else { return }
        let label = file.label
        try await file.write { db in
            let insert = ServingTables.insert(next, table.columns.map(\.name))
            let writer = try ProjectionWriter(db, insert, table, .rows, in: label)
            for batch in batches { try writer.append(batch) }
        }
    }

    private func swap(_ next: String, _ build: ProjectionBuild, _ count: Int) async throws {
        let name = build.table.projection
        let time = now().description
        let lost = try await file.write { db in
            let present = try Self.state(of: name, db)
            if let conflict = build.conflict(with: present) { throw conflict }
            let additions = try TableAdditions(of: build.table.name, db)
            try db.execute(sql: "DROP TABLE IF EXISTS \(quoted(build.table.name))")
            try db.execute(sql: "ALTER TABLE \(quoted(next)) RENAME TO \(quoted(build.table.name))")
            let lost = try additions.make(on: build.table, db)
            try db.execute(
                sql: "DELETE FROM ctl_projection_checkpoints WHERE projection_name = ?", arguments: [name])
            for capture in Set(build.captures) {
                try db.execute(
                    sql: """
                        INSERT INTO ctl_projection_checkpoints
                            (projection_name, capture_instance, last_consumed_lsn, updated_at)
                        VALUES (?, ?, ?, ?)
                        """,
                    arguments: [name, capture, build.asOf.blob, time])
            }
            try db.execute(
                sql: """
                    INSERT OR REPLACE INTO ctl_projection_metadata
                        (projection_name, status, as_of_lsn, as_of_time, built_at, definition_hash, rows_written,
                         last_error)
                    VALUES (?, ?, ?, ?, ?, ?, ?, NULL)
                    """,
                arguments: [
                    name, build.status(after: present).rawValue, build.asOf.blob, build.asOfTime?.description, time,
                    build.definitionHash, count,
                ])
            return lost
        }
        for sentence in lost { warn(sentence) }
    }

    // MARK: Status

    public func recordError(_ message: String, projection: String) async throws {
        // A rebuild asked for, which may be what failed, stays asked for: no definition has an empty hash.
        try await setStatus("ERROR", message, projection, hash: "iif(status = 'INIT', '', definition_hash)")
    }

    public func requestRebuild(projection: String) async throws {
        try await setStatus("INIT", nil, projection)
    }

    private func setStatus(
        _ status: String, _ message: String?, _ name: String, hash: String = "definition_hash"
    ) async throws {
        try await file.write { db in
            try db.execute(
                sql: """
                    INSERT INTO ctl_projection_metadata
                        (projection_name, status, definition_hash, rows_written, last_error)
                    VALUES (:name, :status, '', 0, :message)
                    ON CONFLICT (projection_name) DO UPDATE
                    SET status = :status, last_error = :message, definition_hash = \(hash)
                    """,
                arguments: ["name": name, "status": status, "message": message])
        }
    }

    // MARK: Reading

    public func readProjection(_ name: String, columns: [Tidemark.Column], limits: BlockLimits) async throws
        -> (ProjectionState, any BlockReader<RowBatch>)
    {
        let label = file.label
        let table = ProjectionTable(projection: name, columns: columns, key: []).name
        let (state, cursor) = try await file.openCursor(with: { db in
            guard let state = try Self.state(of: name, db), let lsn = state.asOfLSN else {
                throw TidemarkError.projection(name: name, reason: "it has not been built yet")
            }
            let found = try ServingTables.columns(of: table, db).map { "\($0.name) \($0.type)" }
            let expected = columns.map { "\($0.name) \(SQLiteType.declaration(of: $0.type))" }
            guard found == expected else {
                throw TidemarkError.schema(
                    """
                    \(table) has the columns (\(found.joined(separator: ", "))) instead of \
                    (\(expected.joined(separator: ", "))): rebuild projection \(name)
                    """)
            }
            let statement = try SQLiteStatement(
                db, "SELECT \(quotedList(columns.map(\.name))) FROM \(quoted(table))", in: label)
            let decoder = SQLiteRowDecoder(table: table, columns: columns, key: [], first: 0)
            let opening = SQLiteCursor<RowBatch>.Opening(statement: statement) { statement in
                try RowBatch.next(statement, decoder, columns, limits, lsn: lsn)
            }
            return (state, opening)
        })
        return (state, cursor)
    }
}
