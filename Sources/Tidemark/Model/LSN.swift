/// A 10-byte log sequence number: the position of a committed source transaction, ordered bytewise.
///
/// The same shape carries `__$seqval`, which SQL Server also documents as `binary(10)`.
public struct LSN: Hashable, Sendable {
    /// Bytes 0 to 7, big-endian.
    public let high: UInt64
    /// Bytes 8 and 9, big-endian.
    public let low: UInt16

    /// Length of the binary form in bytes.
    public static let byteCount = 10

    /// Before every transaction: the watermark of a capture nothing has been read from.
    public static let zero = LSN(high: 0, low: 0)

    /// The least LSN after `zero`, below that of every real transaction.
    public static let first = LSN(high: 0, low: 1)

    @inlinable
    public init(high: UInt64, low: UInt16) {
        self.high = high
        self.low = low
    }

    /// Reads the binary form; `nil` unless there are exactly 10 bytes.
    @inlinable
    public init?(bytes: UnsafeRawBufferPointer) {
        guard bytes.count == LSN.byteCount else { return nil }
        high = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self))
        low = UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt16.self))
    }

    /// Reads the binary form; `nil` unless there are exactly 10 bytes.
    public init?(bytes: [UInt8]) {
        guard let lsn = bytes.withUnsafeBytes({ LSN(bytes: $0) }) else { return nil }
        self = lsn
    }

    /// Reads `0x` followed by 20 hexadecimal digits, the form `description` writes.
    public init?(hex: some StringProtocol) {
        guard hex.hasPrefix("0x"), hex.utf8.count == 2 + 2 * LSN.byteCount,
            let high = UInt64(hex.dropFirst(2).prefix(16), radix: 16),
            let low = UInt16(hex.suffix(4), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }

    /// The least LSN above this one.
    public var next: LSN { low == .max ? LSN(high: high + 1, low: 0) : LSN(high: high, low: low + 1) }

    /// Calls `body` with the 10 bytes of the binary form.
    @inlinable
    public func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        // Not a local tuple under `withUnsafeBytes(of:)`: inlined into another module, Swift 6.3.1's optimizer drops
        // its initialization and the bytes read are whatever the stack held.
        try withUnsafeTemporaryAllocation(byteCount: LSN.byteCount, alignment: 8) { buffer in
            buffer.storeBytes(of: high.bigEndian, as: UInt64.self)
            buffer.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt16.self)
            return try body(UnsafeRawBufferPointer(buffer))
        }
    }

    /// The 10 bytes of the binary form.
    public var bytes: [UInt8] { withBytes { Array($0) } }
}

extension LSN: Comparable {
    @inlinable
    public static func < (a: LSN, b: LSN) -> Bool {
        a.high == b.high ? a.low < b.low : a.high < b.high
    }
}

extension LSN: CustomStringConvertible {
    /// `0x` and 20 hexadecimal digits, as SQL Server tools print it.
    public var description: String {
        let digits = String(high, radix: 16)
        let tail = String(low, radix: 16)
        return "0x" + String(repeating: "0", count: 16 - digits.count) + digits
            + String(repeating: "0", count: 4 - tail.count) + tail
    }
}

/// A half-open stretch of the log, `(after, through]`: what one read takes in.
public struct LSNWindow: Hashable, Sendable, CustomStringConvertible {
    /// The LSN before the first one in the window.
    public let after: LSN
    /// The last LSN in the window.
    public let through: LSN

    public init(after: LSN, through: LSN) {
        self.after = after
        self.through = through
    }

    public var isEmpty: Bool { through <= after }

    public func contains(_ lsn: LSN) -> Bool { lsn > after && lsn <= through }

    public var description: String { "(\(after), \(through)]" }
}
