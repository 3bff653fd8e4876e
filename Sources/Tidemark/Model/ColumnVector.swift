/// One column of a batch: values of one type, packed, with a validity bitmap.
///
/// Fixed-width values lie back to back in native byte order, as wide as `LogicalType.byteWidth` says, which
/// is the layout of DuckDB's vectors. Strings (UTF-8) and binary values lie in one byte arena with offsets.
/// A NULL takes a zero value or an empty range, and a cleared validity bit.
///
/// `append(_:)` trusts its caller about the width: the codecs that fill columns have checked the value.
public struct ColumnVector: Sendable, Equatable {
    public let type: LogicalType
    /// Number of values, NULLs included.
    public private(set) var count = 0
    /// Number of NULLs.
    public private(set) var nullCount = 0
    /// Fixed-width values: `count * byteWidth` bytes.
    @usableFromInline var fixed: [UInt8] = []
    /// Variable-width values: where each ends in `arena`.
    @usableFromInline var ends: [Int] = []
    @usableFromInline var arena: [UInt8] = []
    /// Bit `row % 64` of word `row / 64` is set when the value is not NULL.
    @usableFromInline var validity: [UInt64] = []

    public init(type: LogicalType, reserving capacity: Int = 0) {
        self.type = type
        if capacity > 0 {
            validity.reserveCapacity((capacity + 63) / 64)
            if let width = type.byteWidth {
                fixed.reserveCapacity(capacity * width)
            } else {
                ends.reserveCapacity(capacity)
            }
        }
    }

    /// Appends NULL.
    public mutating func appendNull() {
        if let width = type.byteWidth {
            fixed.append(contentsOf: repeatElement(0, count: width))
        } else {
            ends.append(arena.count)
        }
        mark(valid: false)
    }

    /// Appends a fixed-width value whose memory layout is the column's.
    @inlinable
    public mutating func append<Value: BitwiseCopyable>(_ value: Value) {
        assert(MemoryLayout<Value>.size == type.byteWidth)
        withUnsafeBytes(of: value) { fixed.append(contentsOf: $0) }
        mark(valid: true)
    }

    /// Appends a decimal given as an integer scaled by the column's scale, in the column's physical width.
    @inlinable
    public mutating func append(scaled value: Int128) {
        switch type.byteWidth {
        case 2: append(Int16(truncatingIfNeeded: value))
        case 4: append(Int32(truncatingIfNeeded: value))
        case 8: append(Int64(truncatingIfNeeded: value))
        default: append(value)
        }
    }

    /// Appends the bytes of a string (valid UTF-8) or a binary value.
    @inlinable
    public mutating func append(bytes: UnsafeRawBufferPointer) {
        arena.append(contentsOf: bytes)
        ends.append(arena.count)
        mark(valid: true)
    }

    public mutating func append(_ string: String) {
        var string = string
        string.withUTF8 { append(bytes: UnsafeRawBufferPointer($0)) }
    }

    /// Appends `rows` fixed-width values at once to an empty vector.
    ///
    /// - Parameters:
    ///   - bytes: `rows * byteWidth` bytes.
    ///   - validity: the validity bitmap of those rows; `nil` when none is NULL.
    public mutating func fill(rows: Int, bytes: UnsafeRawBufferPointer, validity words: UnsafeBufferPointer<UInt64>?) {
        precondition(count == 0, "only an empty vector is filled at once")
        fixed.append(contentsOf: bytes)
        count = rows
        validity = [UInt64](repeating: .max, count: (rows + 63) / 64)
        if rows & 63 != 0 { validity[rows >> 6] = (1 << UInt64(rows & 63)) - 1 }
        guard let words else { return }
        let width = bytes.count / max(rows, 1)
        for index in validity.indices { validity[index] &= words[index] }
        for row in 0..<rows where isNull(row) {
            nullCount += 1
            for byte in row * width..<(row + 1) * width { fixed[byte] = 0 }
        }
    }

    @usableFromInline
    mutating func mark(valid: Bool) {
        if count & 63 == 0 { validity.append(0) }
        if valid {
            validity[count >> 6] |= 1 << UInt64(count & 63)
        } else {
            nullCount += 1
        }
        count += 1
    }

    @inlinable
    public func isNull(_ row: Int) -> Bool {
        validity[row >> 6] & (1 << UInt64(row & 63)) == 0
    }

    /// The value at `row` as `Value`, whose layout must be the column's; zero for NULL.
    @inlinable
    public func value<Value: BitwiseCopyable>(_ row: Int, as: Value.Type = Value.self) -> Value {
        assert(MemoryLayout<Value>.size == type.byteWidth)
        return fixed.withUnsafeBytes {
            $0.loadUnaligned(fromByteOffset: row * MemoryLayout<Value>.size, as: Value.self)
        }
    }

    /// The scaled integer of a decimal column, whatever its physical width.
    @inlinable
    public func scaled(_ row: Int) -> Int128 {
        switch type.byteWidth {
        case 2: Int128(value(row, as: Int16.self))
        case 4: Int128(value(row, as: Int32.self))
        case 8: Int128(value(row, as: Int64.self))
        default: value(row, as: Int128.self)
        }
    }

    /// Calls `body` with the bytes of the string or binary value at `row`; no bytes for NULL.
    @inlinable
    public func withBytes<R>(_ row: Int, _ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        let start = row == 0 ? 0 : ends[row - 1]
        let end = ends[row]
        return try arena.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[start..<end])) }
    }

    /// The string at `row`; empty for NULL.
    public func string(_ row: Int) -> String {
        withBytes(row) { String(decoding: $0, as: UTF8.self) }
    }

    /// All fixed-width values, `count * byteWidth` bytes; empty for variable-width types.
    @inlinable
    public func withFixedBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try fixed.withUnsafeBytes(body)
    }

    /// Bytes of all values, with where they end and which are NULL.
    public var byteCount: Int {
        fixed.count + arena.count + ends.count * MemoryLayout<Int>.stride + validity.count * MemoryLayout<UInt64>.stride
    }

    /// Bytes of the values of variable width.
    @inlinable
    public var arenaBytes: Int { arena.count }

    /// The validity bitmap, `(count + 63) / 64` words.
    @inlinable
    public var validityWords: [UInt64] { validity }
}
