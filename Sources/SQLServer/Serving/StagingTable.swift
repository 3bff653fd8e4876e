import ODBC
import Tidemark

/// A capture's staging table on SQL Server: its columns, and the SQL that writes and reads it.
struct StagingTable: Sendable {
    /// A column the table should have.
    private struct Expected {
        let name: String
        let declaration: String
        let keyOrdinal: Int
        let isNullable: Bool
    }

    private static let head = [
        Expected(name: "lsn", declaration: "binary(10)", keyOrdinal: 1, isNullable: false),
        Expected(name: "command_id", declaration: "int", keyOrdinal: 2, isNullable: false),
        Expected(name: "seqval", declaration: "binary(10)", keyOrdinal: 3, isNullable: false),
        Expected(name: "op", declaration: "tinyint", keyOrdinal: 4, isNullable: false),
    ]
    private static let ingestedAt = Expected(
        name: "ingested_at", declaration: "datetime2(6)", keyOrdinal: 0, isNullable: false)

    let capture: Capture

    /// - Throws: `TidemarkError.schema` when a captured column has the name of one of the table's own.
    init(_ capture: Capture) throws {
        try Capture.requireOwnNames(of: capture.columns.map(\.name), table: capture.table)
        self.capture = capture
    }

    /// The quoted name.
    var name: String { servingTable(capture.stagingTable) }

    var columns: [String] { Self.head.map(\.name) + capture.columns.map(\.name) + [Self.ingestedAt.name] }

    private var expected: [Expected] {
        let captured = capture.columns.map {
            Expected(
                name: $0.name, declaration: $0.type.declaration(maxLength: $0.maxLength), keyOrdinal: 0,
                isNullable: true)
        }
        return Self.head + captured + [Self.ingestedAt]
    }

    /// The rows lie in log order, which is how replicas read them.
    var create: String {
        let lines = expected.map { "\(quoted($0.name)) \($0.declaration) \($0.isNullable ? "NULL" : "NOT NULL")" }
        return """
            CREATE TABLE \(name) (
                \(lines.joined(separator: ",\n    ")),
                PRIMARY KEY CLUSTERED (\(quotedList(Self.head.map(\.name))))
            )
            """
    }

    /// What makes a table unfit for the capture, `nil` when nothing does.
    ///
    /// A captured column fits when it keeps every value of the source's column: its type may be wider.
    func misfit(_ shape: ServingTableShape) -> String? {
        for (position, want) in expected.enumerated() {
            guard position < shape.columns.count else { return "lacks column \(want.name)" }
            let have = shape.columns[position]
            guard ServingTableShape.isSame(have.name, want.name) else {
                return "has column \(have.name) where \(want.name) is expected"
            }
            let index = position - Self.head.count
            let isFit =
                capture.columns.indices.contains(index)
                ? have.type.keeps(capture.columns[index], isLengthOpen: false)
                : want.declaration.hasPrefix("datetime2")
                    ? have.type.name == "datetime2" : have.type.description == want.declaration
            guard isFit else { return "declares \(have.name) \(have.type) instead of \(want.declaration)" }
            guard have.keyOrdinal == want.keyOrdinal else {
                return "has \(have.name) in another place of its primary key"
            }
            guard have.isNullable || !want.isNullable else { return "declares \(have.name) NOT NULL" }
        }
        return shape.columns.count == expected.count
            ? nil : "has one column too many, \(shape.columns[expected.count].name)"
    }

    /// Deletes so many rows beyond an LSN, which is the parameter.
    func delete(rows: Int) -> String { "DELETE TOP (\(rows)) FROM \(name) WHERE lsn > CAST(? AS binary(10))" }

    /// What fills the table's columns with a batch.
    func sources(_ batch: ChangeBatch, _ shape: ServingTableShape, at time: Timestamp) -> [SQLServerBulkInsert.Source] {
        let captured = zip(capture.columns, batch.columns).map { column, vector in
            SQLServerBulkInsert.Source.values(
                vector,
                SQLServerRowEncoder(
                    column: column,
                    declared: shape.column(column.name)?.type ?? SQLServerType(column.type, maxLength: nil),
                    isRequired: capture.key.contains(column.name)))
        }
        return [.lsns(batch.lsns), .integers(batch.commandIDs), .lsns(batch.seqvals), .operations(batch.operations)]
            + captured + [.time(time)]
    }

    /// Selects a window in log order; its bounds are the parameters.
    func select(_ shape: ServingTableShape) -> String {
        let captured = capture.columns.map { column in
            shape.column(column.name)?.type.expression(quoted(column.name), as: column.type) ?? quoted(column.name)
        }
        return """
            SELECT lsn, command_id, seqval, op, \(captured.joined(separator: ", "))
            FROM \(name) WHERE lsn > CAST(? AS binary(10)) AND lsn <= CAST(? AS binary(10))
            ORDER BY lsn, command_id, seqval, op
            """
    }
}

/// Watches that changes come in log order within a window, and remembers the first that does not: when the primary key
/// refuses a row, that is the one.
struct LogOrder: Sendable {
    private let capture: Capture
    private let window: LSNWindow
    private var last: (LSN, Int32, LSN, UInt8)?
    private var repeated: (LSN, Int32, LSN, UInt8)?

    init(_ capture: Capture, _ window: LSNWindow) {
        self.capture = capture
        self.window = window
    }

    /// - Throws: `TidemarkError.schema` for changes outside the window.
    mutating func append(_ batch: ChangeBatch) throws {
        for row in 0..<batch.count {
            let change = (batch.lsns[row], batch.commandIDs[row], batch.seqvals[row], batch.operations[row])
            guard window.contains(change.0) else {
                throw TidemarkError.schema(
                    "the source handed out changes of \(capture.instance) outside the window \(window)")
            }
            if repeated == nil, let last, change <= last { repeated = change }
            last = change
        }
    }

    var duplicate: TidemarkError {
        guard let (lsn, commandID, seqval, operation) = repeated else {
            return .schema(
                """
                \(capture.stagingTable) already holds a change within \(window), which the watermark says is not staged: \
                the table was written to by hand. Delete its rows beyond the watermark
                """)
        }
        return .schema(
            """
            \(capture.stagingTable) already holds the change (lsn \(lsn), command_id \(commandID), seqval \(seqval), op \
            \(operation)): the source handed it out twice
            """)
    }
}
