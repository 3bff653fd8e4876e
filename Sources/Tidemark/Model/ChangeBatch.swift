/// What a change did, with the codes SQL Server writes to `__$operation`.
public enum ChangeOperation: UInt8, Sendable, CaseIterable {
    case delete = 1
    case insert = 2
    case updateBefore = 3
    case updateAfter = 4
}

/// A block of changes of one capture, column by column, in log order `(lsn, command_id, seqval, op)`.
public struct ChangeBatch: Sendable {
    /// Commit LSN of each change's transaction.
    public var lsns: [LSN] = []
    /// Order of the statement-level command inside the transaction.
    public var commandIDs: [Int32] = []
    /// Order of the change inside the transaction, as the source numbers it.
    public var seqvals: [LSN] = []
    /// `ChangeOperation` codes.
    public var operations: [UInt8] = []
    /// One vector per captured column, each as long as `lsns`.
    public var columns: [ColumnVector]

    /// An empty batch for `columns`, with room for `capacity` rows.
    public init(columns: [Column], reserving capacity: Int = 0) {
        self.columns = columns.map { ColumnVector(type: $0.type, reserving: capacity) }
        lsns.reserveCapacity(capacity)
        commandIDs.reserveCapacity(capacity)
        seqvals.reserveCapacity(capacity)
        operations.reserveCapacity(capacity)
    }

    /// Rows of a table as inserts at `lsn`, in the order they are handed out.
    ///
    /// - Parameter firstRow: how many rows came before.
    public init(snapshot rows: RowBatch, at lsn: LSN, firstRow: Int) {
        let operations = Array(repeating: ChangeOperation.insert.rawValue, count: rows.count)
        self.init(rows, operations: operations, at: lsn, firstRow: firstRow)
    }

    /// Rows of a table as changes at `lsn`, in the order they are handed out.
    ///
    /// - Parameters:
    ///   - operations: one for each row.
    ///   - firstRow: how many rows came before.
    package init(_ rows: RowBatch, operations: [UInt8], at lsn: LSN, firstRow: Int) {
        columns = rows.columns
        lsns = Array(repeating: lsn, count: rows.count)
        commandIDs = Array(repeating: 0, count: rows.count)
        seqvals = (0..<rows.count).map { LSN(high: UInt64(firstRow + $0), low: 0) }
        self.operations = operations
    }

    /// Number of changes.
    public var count: Int { lsns.count }
    public var isEmpty: Bool { lsns.isEmpty }
}

/// A block of rows of one table, column by column.
public struct RowBatch: Sendable {
    public var columns: [ColumnVector]

    public init(columns: [ColumnVector]) { self.columns = columns }

    /// An empty batch for `columns`, with room for `capacity` rows.
    public init(columns: [Column], reserving capacity: Int = 0) {
        self.columns = columns.map { ColumnVector(type: $0.type, reserving: capacity) }
    }

    /// Number of rows.
    public var count: Int { columns.first?.count ?? 0 }
    public var isEmpty: Bool { count == 0 }
}
