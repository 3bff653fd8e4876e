/// The storage of a `ColumnVector`, for codecs that go through a whole block.
///
/// Valid only inside `ColumnVector.withBuffers`.
public struct ColumnBuffers {
    /// Fixed-width values, back to back; empty for variable-width types.
    public let fixed: UnsafeRawBufferPointer
    /// Variable-width values: where each ends in `arena`.
    public let ends: UnsafeBufferPointer<Int>
    public let arena: UnsafeRawBufferPointer
    /// Bit `row % 64` of word `row / 64` is set when the value is not NULL.
    public let validity: UnsafeBufferPointer<UInt64>

    @inlinable
    init(
        fixed: UnsafeRawBufferPointer, ends: UnsafeBufferPointer<Int>, arena: UnsafeRawBufferPointer,
        validity: UnsafeBufferPointer<UInt64>
    ) {
        self.fixed = fixed
        self.ends = ends
        self.arena = arena
        self.validity = validity
    }

    @inlinable
    public func isNull(_ row: Int) -> Bool {
        validity[row >> 6] & (1 << UInt64(row & 63)) == 0
    }

    /// The value at `row` as `Value`, whose layout must be the column's.
    @inlinable
    public func value<Value: BitwiseCopyable>(_ row: Int, as: Value.Type = Value.self) -> Value {
        fixed.loadUnaligned(fromByteOffset: row * MemoryLayout<Value>.size, as: Value.self)
    }

    /// The bytes of the string or binary value at `row`.
    @inlinable
    public func bytes(_ row: Int) -> UnsafeRawBufferPointer {
        let start = row == 0 ? 0 : ends[row - 1]
        return UnsafeRawBufferPointer(rebasing: arena[start..<ends[row]])
    }
}

extension ColumnVector {
    /// Calls `body` with the vector's storage.
    @inlinable
    public func withBuffers<R>(_ body: (ColumnBuffers) throws -> R) rethrows -> R {
        try fixed.withUnsafeBytes { fixed in
            try ends.withUnsafeBufferPointer { ends in
                try arena.withUnsafeBytes { arena in
                    try validity.withUnsafeBufferPointer { validity in
                        try body(ColumnBuffers(fixed: fixed, ends: ends, arena: arena, validity: validity))
                    }
                }
            }
        }
    }
}
