import Foundation
import Synchronization

/// Blocks read before a transaction begins, so that it waits for no one; at most so many bytes of them.
///
///     let gathered = try await pool.gather(from: reader)
///     try await write { for block in gathered.blocks { … } }
///
/// The memory counts against its pool for as long as the value is referred to.
public final class GatheredBlocks<Block: MeasuredBlock>: Sendable {
    public let blocks: [Block]
    /// Whether the reader has nothing more.
    public let isAtEnd: Bool
    private let pool: BlockPool
    private let bytes: Int

    fileprivate init(_ blocks: [Block], isAtEnd: Bool, bytes: Int, of pool: BlockPool) {
        self.blocks = blocks
        self.isAtEnd = isAtEnd
        self.bytes = bytes
        self.pool = pool
    }

    deinit { pool.giveBack(bytes) }
}

/// The memory that a serving database's writers share for what they gather before their transactions.
///
/// Nobody waits for it: who gets no more begins the transaction with what there is.
public final class BlockPool: Sendable {
    /// Bytes one writer gathers at most.
    private let most: Int
    private let left: Mutex<Int>

    /// - Parameters:
    ///   - most: bytes one writer gathers.
    ///   - total: bytes all of them gather; enough for two by default.
    public init(most: Int = BlockLimits.transactionBytes, total: Int? = nil) {
        self.most = most
        left = Mutex(total ?? 2 * most)
    }

    /// Reads blocks until the reader ends or the memory is used up; one in any case.
    ///
    /// - Throws: what the reader throws.
    public func gather<Block: MeasuredBlock>(from reader: any BlockReader<Block>) async throws -> GatheredBlocks<Block>
    {
        // Readers block. A thread of its own, as many may wait for slow sources at the same time.
        try await withCheckedThrowingContinuation { continuation in
            let thread = Thread { continuation.resume(with: Result { try self.gather(reader) }) }
            thread.name = "tidemark.gather"
            thread.start()
        }
    }

    /// The same on the caller's thread, which it blocks.
    public func gather<Block: MeasuredBlock>(_ reader: any BlockReader<Block>) throws -> GatheredBlocks<Block> {
        var blocks: [Block] = []
        var bytes = 0
        do {
            while let block = try reader.next() {
                let size = block.byteCount
                blocks.append(block)
                bytes += size
                guard take(size), bytes < most else {
                    return GatheredBlocks(blocks, isAtEnd: false, bytes: bytes, of: self)
                }
            }
        } catch {
            giveBack(bytes)
            throw error
        }
        return GatheredBlocks(blocks, isAtEnd: true, bytes: bytes, of: self)
    }

    /// Takes memory, whether there is some or not; false when there is none left after that.
    private func take(_ bytes: Int) -> Bool {
        left.withLock { left in
            left -= bytes
            return left > 0
        }
    }

    fileprivate func giveBack(_ bytes: Int) { left.withLock { $0 += bytes } }
}
