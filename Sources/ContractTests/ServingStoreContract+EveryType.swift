import Testing
import Tidemark

/// Projections of every type, as values and as keys.
extension ServingStoreContract {
    /// Bytes of a text or binary value in a key of many columns. SQL Server's hold 900 together.
    private static let keyBytes = 100

    /// A projection with a column of every type.
    private static func typed(_ projection: String, key: [String]) -> ProjectionTable {
        ProjectionTable(
            projection: projection,
            columns: capture.columns.map { column in
                Column(name: column.name, type: column.type, isNullable: !key.contains(column.name))
            }, key: key)
    }

    /// Rows with these ids and with the extremes of all types, by their number, or with NULLs.
    ///
    /// - Parameter longest: bytes a text or binary value has at most.
    private static func typedRows(
        _ rows: [(id: Int64, extreme: Int?)], _ fixture: any ServingFixture, longest: Int = .max
    ) -> RowBatch {
        let extremes = extremes(withNUL: fixture.keepsNUL)
        var batch = RowBatch(columns: capture.columns)
        for row in rows {
            batch.columns[0].append(row.id)
            for index in 1..<capture.columns.count {
                if let extreme = row.extreme {
                    copy(extreme, of: extremes.columns[index], to: &batch.columns[index], longest: longest)
                } else {
                    batch.columns[index].appendNull()
                }
            }
        }
        return batch
    }

    private static func copy(
        _ row: Int, of column: ColumnVector, to other: inout ColumnVector, longest: Int = .max
    ) {
        guard !column.isNull(row) else { return other.appendNull() }
        switch column.type.byteWidth {
        case nil: column.withBytes(row) { other.append(bytes: UnsafeRawBufferPointer(rebasing: $0.prefix(longest))) }
        case 1: other.append(column.value(row, as: UInt8.self))
        case 2: other.append(column.value(row, as: Int16.self))
        case 4: other.append(column.value(row, as: Int32.self))
        case 8: other.append(column.value(row, as: Int64.self))
        default: other.append(column.value(row, as: Int128.self))
        }
    }

    /// Builds the table with the rows, and commits what follows.
    private static func check(
        _ table: ProjectionTable, _ fixture: any ServingFixture, built: RowBatch, deletes: RowBatch, upserts: RowBatch,
        written: Int, expected: RowBatch
    ) async throws {
        let build = ProjectionBuild(
            table: table, replacing: nil, asOf: lsn(10), asOfTime: nil, captures: ["dbo_a"], definitionHash: "abc")
        #expect(try await fixture.store.build(build, rows: ListReader([built])) == built.count)
        #expect(try await typedRows(of: table, fixture) == built.columns)
        let commit = ProjectionCommit(
            table: table, from: lsn(10), to: lsn(11), asOfTime: nil, captures: ["dbo_a"], definitionHash: "abc")
        let changes = ListReader<ProjectionChange>([.deletes(deletes), .upserts(upserts)])
        #expect(try await fixture.store.commit(commit, changes: changes) == written)
        #expect(try await typedRows(of: table, fixture) == expected.columns)
    }

    /// The table's columns, in the order of the ids.
    private static func typedRows(of table: ProjectionTable, _ fixture: any ServingFixture) async throws
        -> [ColumnVector]
    {
        let (_, reader) = try await fixture.store.readProjection(
            table.projection, columns: table.columns, blockRows: 1)
        var columns: [Int64: [ColumnVector]] = [:]
        for block in try reader.blocks() { columns[block.columns[0].value(0, as: Int64.self)] = block.columns }
        var all = RowBatch(columns: table.columns)
        for id in columns.keys.sorted() {
            for (index, column) in (columns[id] ?? []).enumerated() { copy(0, of: column, to: &all.columns[index]) }
        }
        return all.columns
    }

    static let everyType: [Clause] = [
        Clause("a projection keeps the extremes of every type, and NULLs, through a build and a commit") { fixture in
            func rows(_ rows: (id: Int64, extreme: Int?)...) -> RowBatch { typedRows(rows, fixture) }
            let table = typed("everything", key: ["id"])
            // One goes, one stays, values become others, NULL and values again, and one comes.
            try await check(
                table, fixture, built: rows((1, 0), (2, 1), (3, 2), (4, nil), (5, 0), (6, nil)),
                deletes: RowBatch(columns: Array(rows((1, nil)).columns.prefix(1))),
                upserts: rows((2, 1), (3, 0), (4, 2), (5, nil), (6, nil), (7, 1)), written: 5,
                expected: rows((2, 1), (3, 0), (4, 2), (5, nil), (6, nil), (7, 1)))
        },
        Clause("every type serves in a projection's key, down to its extremes") { fixture in
            func rows(_ rows: (id: Int64, extreme: Int?)...) -> RowBatch { typedRows(rows, fixture, longest: keyBytes) }
            let table = typed("keyed", key: capture.columns.dropFirst().map(\.name))
            try await check(
                table, fixture, built: rows((1, 0), (2, 1)),
                deletes: RowBatch(columns: Array(rows((0, 0)).columns.dropFirst())),
                upserts: rows((3, 1), (4, 2)), written: 3, expected: rows((3, 1), (4, 2)))
        },
    ]
}
