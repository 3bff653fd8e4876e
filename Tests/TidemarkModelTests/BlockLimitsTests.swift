import Testing
import Tidemark

@Suite("How large a block gets")
struct BlockLimitsTests {
    private static let columns = [
        Column(name: "id", type: .int64, isNullable: false), Column(name: "text", type: .string),
    ]

    @Test("a block ends at its rows or at its bytes, whichever comes first")
    func full() {
        let budget = BlockBudget(BlockLimits(rows: 3, bytes: 1_000), columns: Self.columns)
        var batch = RowBatch(columns: Self.columns)
        func append(_ text: String) {
            batch.columns[0].append(Int64(1))
            batch.columns[1].append(text)
        }
        #expect(!budget.isFull(batch.columns, rows: 0))
        append("short")
        #expect(!budget.isFull(batch.columns, rows: batch.count))
        append("short")
        append("short")
        #expect(budget.isFull(batch.columns, rows: batch.count))
        batch = RowBatch(columns: Self.columns)
        append(String(repeating: "x", count: 984))
        #expect(budget.isFull(batch.columns, rows: batch.count))
    }

    @Test("room is made for no more rows than fit, however many columns there are")
    func reservation() {
        #expect(BlockLimits.standard.reservation(for: Self.columns) == BlockLimits.rows)
        let many = (0..<1_000).map { Column(name: "c\($0)", type: .int64) }
        #expect(BlockLimits.standard.reservation(for: many) == BlockLimits.bytes / 8_000)
        #expect(BlockLimits(rows: 10, bytes: 1).reservation(for: many) == 1)
    }

    @Test("the blocks of many readers take no more memory together than those of a few")
    func shared() {
        #expect(BlockLimits.shared(among: 1) == .standard)
        #expect(BlockLimits.shared(among: 3) == .standard)
        #expect(BlockLimits.shared(among: 64).bytes * 64 == 32 << 20)
        #expect(BlockLimits.shared(among: 100_000).bytes == 256 << 10)
    }

    @Test("a column knows its bytes")
    func bytes() {
        var batch = RowBatch(columns: Self.columns)
        batch.columns[0].append(Int64(1))
        batch.columns[1].append("four")
        // The number, the text, where it ends, and a word of validity for each column.
        #expect(batch.byteCount == 8 + 4 + 8 + 2 * 8)
        #expect(ProjectionChange.upserts(batch).byteCount == batch.byteCount)
    }

    @Test("gathering ends with the stream, or at its bytes, and gives the memory back")
    func gathering() async throws {
        var batch = RowBatch(columns: Self.columns)
        batch.columns[0].append(Int64(1))
        batch.columns[1].append(String(repeating: "x", count: 1_000))
        let pool = BlockPool(most: 2_500, total: 4_000)
        let reader = Repeating(batch, count: 7)
        var first: GatheredBlocks<RowBatch>? = try await pool.gather(from: reader)
        #expect(first?.blocks.count == 3)
        #expect(first?.isAtEnd == false)
        // Another one gets at least a block, although most of the memory is taken.
        let second = try await pool.gather(from: reader)
        #expect(second.blocks.count == 1)
        first = nil
        let third = try await pool.gather(from: reader)
        #expect(third.blocks.count == 3)
        let end = try await pool.gather(from: reader)
        #expect(end.blocks.isEmpty)
        #expect(end.isAtEnd)
    }

    private final class Repeating: BlockReader, @unchecked Sendable {
        private let batch: RowBatch
        private var left: Int

        init(_ batch: RowBatch, count: Int) {
            self.batch = batch
            left = count
        }

        func next() throws -> RowBatch? {
            guard left > 0 else { return nil }
            left -= 1
            return batch
        }
    }
}
