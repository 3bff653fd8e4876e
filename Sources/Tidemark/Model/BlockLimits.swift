/// How large a block gets before it is handed on: it ends when either limit is reached. One row may be larger.
///
/// Memory follows from these numbers and from how many blocks there are at a time, whatever the tables hold: each
/// reader has one in the making, two waiting (`BlockChannel`) and one in its consumer's hands.
public struct BlockLimits: Sendable, Equatable {
    /// Rows in a block at most.
    public var rows: Int
    /// Bytes of values in a block, give or take the last row.
    public var bytes: Int

    public init(rows: Int = BlockLimits.rows, bytes: Int = BlockLimits.bytes) {
        self.rows = max(1, rows)
        self.bytes = max(1, bytes)
    }

    /// Enough that the cost of handing a block over vanishes.
    public static let rows = 16_384
    /// 4 MiB: a full block of narrow rows has about half of it, so it matters to wide rows only.
    public static let bytes = 4 << 20
    public static let standard = BlockLimits()

    /// 32 MiB: blocks of all readers together that read at the same time. A source of many tables gets smaller blocks.
    private static let sharedBytes = 32 << 20
    /// 256 KiB: a block does not get smaller than this, for the cost of handing it over.
    private static let leastBytes = 256 << 10

    /// The limits for each of `readers` that may all read at the same time.
    public static func shared(among readers: Int) -> BlockLimits {
        BlockLimits(bytes: min(bytes, max(leastBytes, sharedBytes / max(1, readers))))
    }

    /// 32 MiB: what is gathered before a serving transaction begins, and what one writes at most. It is committed within
    /// a second or so, which is how long other writers wait.
    public static let transactionBytes = 32 << 20
    /// Rows that are deleted in one transaction, with the same in mind.
    public static let transactionRows = 100_000

    /// The room to make for blocks of `columns`: as many rows as fit, were there nothing in the columns of variable width.
    public func reservation(for columns: [Column]) -> Int {
        min(rows, max(1, bytes / BlockBudget.rowBytes(columns)))
    }
}

/// Tells when a block of certain columns is full.
public struct BlockBudget: Sendable {
    private let limits: BlockLimits
    private let rowBytes: Int
    /// The columns whose width is not known beforehand.
    private let variable: [Int]

    public init(_ limits: BlockLimits, columns: [Column]) {
        self.limits = limits
        rowBytes = Self.rowBytes(columns)
        variable = columns.indices.filter { columns[$0].type.byteWidth == nil }
    }

    /// Whether a block of `rows` rows in `columns` is full.
    @inline(__always)
    public func isFull(_ columns: [ColumnVector], rows: Int) -> Bool {
        var bytes = 0
        for index in variable { bytes += columns[index].arenaBytes }
        return isFull(arenaBytes: bytes, rows: rows)
    }

    /// Whether a block of `rows` rows is full that has so many bytes in its columns of variable width.
    @inline(__always)
    public func isFull(arenaBytes: Int, rows: Int) -> Bool {
        rows >= limits.rows || rows * rowBytes + arenaBytes >= limits.bytes
    }

    /// Bytes of a row beside those in columns of variable width, which take one offset there.
    static func rowBytes(_ columns: [Column]) -> Int {
        max(1, columns.reduce(0) { $0 + ($1.type.byteWidth ?? MemoryLayout<Int>.size) })
    }
}

/// A block that knows how much memory its values take.
public protocol MeasuredBlock: Sendable {
    var byteCount: Int { get }
}

extension ChangeBatch: MeasuredBlock {
    /// What a change has beside its columns: two LSNs, the command's id and the operation.
    private static let changeBytes = 2 * MemoryLayout<LSN>.stride + MemoryLayout<Int32>.size + 1

    public var byteCount: Int { columns.reduce(count * Self.changeBytes) { $0 + $1.byteCount } }
}

extension RowBatch: MeasuredBlock {
    public var byteCount: Int { columns.reduce(0) { $0 + $1.byteCount } }
}
