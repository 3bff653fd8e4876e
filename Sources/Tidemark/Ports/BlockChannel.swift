import DequeModule
import Foundation

/// A bounded hand-over of blocks from one thread to another.
///
/// The producer's `push` blocks while `capacity` blocks wait, so memory stays bounded however far the
/// consumer lags. Dropping the consumer's end tells the producer to stop.
public enum BlockChannel {
    /// Makes both ends of a channel that holds `capacity` waiting blocks.
    public static func make<Block: Sendable>(
        of: Block.Type = Block.self, capacity: Int = 2
    ) -> (BlockProducer<Block>, BlockConsumer<Block>) {
        let state = ChannelState<Block>(capacity: capacity)
        return (BlockProducer(state: state), BlockConsumer(state: state))
    }

    /// Runs `reader` ahead of its consumer on a thread of its own, so that reading one block overlaps with
    /// using the one before.
    public static func prefetch<Block: Sendable>(_ reader: any BlockReader<Block>) -> any BlockReader<Block> {
        let (producer, consumer) = make(of: Block.self)
        let thread = Thread {
            do {
                while let block = try reader.next() {
                    guard producer.push(block) else { return }
                }
                producer.finish()
            } catch {
                producer.finish(throwing: error)
            }
        }
        thread.name = "tidemark.prefetch"
        thread.start()
        return consumer
    }

    /// Hands what `produce` pushes to `consume` while it is made, and waits for both.
    ///
    /// - Throws: what `consume` throws; it meets what `produce` throws where it takes the next block.
    public static func pipe<Block: Sendable, Success: Sendable>(
        of: Block.Type = Block.self, from produce: @escaping @Sendable (BlockProducer<Block>) async throws -> Void,
        to consume: (BlockConsumer<Block>) async throws -> Success
    ) async throws -> Success {
        let (producer, consumer) = make(of: Block.self)
        async let produced: Void = {
            do {
                try await produce(producer)
                producer.finish()
            } catch {
                producer.finish(throwing: error)
            }
        }()
        let consumed: Result<Success, any Error>
        do {
            consumed = .success(try await consume(consumer))
        } catch {
            consumed = .failure(error)
        }
        // A consumer that gives up early must not leave the producer waiting for room.
        consumer.close()
        await produced
        return try consumed.get()
    }
}

/// The sending end of a `BlockChannel`. Dropping it without `finish` ends the stream with an error.
public final class BlockProducer<Block: Sendable>: Sendable {
    private let state: ChannelState<Block>

    fileprivate init(state: ChannelState<Block>) { self.state = state }

    deinit { state.finish(throwing: TidemarkError.unavailable("a reader ended before its last block")) }

    /// Hands `block` over, waiting for room. Returns `false` when nobody will take it any more.
    public func push(_ block: Block) -> Bool { state.push(block) }

    /// Ends the stream after the blocks pushed so far. Later calls have no effect.
    public func finish(throwing error: (any Error)? = nil) { state.finish(throwing: error) }
}

/// The receiving end of a `BlockChannel`.
public final class BlockConsumer<Block: Sendable>: BlockReader {
    private let state: ChannelState<Block>

    fileprivate init(state: ChannelState<Block>) { self.state = state }

    deinit { state.close() }

    public func next() throws -> Block? { try state.next() }

    /// Tells the producer that nobody takes blocks any more; dropping the consumer does the same.
    public func close() { state.close() }
}

/// What both ends share, guarded by one condition variable.
private final class ChannelState<Block: Sendable>: @unchecked Sendable {
    private let capacity: Int
    private let condition = NSCondition()
    private var waiting: Deque<Block> = []
    private var end: Result<Void, any Error>?
    private var isClosed = false

    init(capacity: Int) { self.capacity = capacity }

    func push(_ block: Block) -> Bool {
        condition.withLock {
            while waiting.count >= capacity, !isClosed { condition.wait() }
            guard !isClosed else { return false }
            waiting.append(block)
            condition.signal()
            return true
        }
    }

    func finish(throwing error: (any Error)?) {
        condition.withLock {
            guard end == nil else { return }
            end = error.map { .failure($0) } ?? .success(())
            condition.broadcast()
        }
    }

    func close() {
        condition.withLock {
            isClosed = true
            waiting = []
            condition.broadcast()
        }
    }

    func next() throws -> Block? {
        try condition.withLock {
            while waiting.isEmpty, end == nil { condition.wait() }
            if let block = waiting.popFirst() {
                condition.signal()
                return block
            }
            try end?.get()
            return nil
        }
    }
}
