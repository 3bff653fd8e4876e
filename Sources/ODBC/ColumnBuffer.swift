internal import CODBC

/// A column's memory for a block of rows, which the driver writes to.
final class ColumnBuffer {
    /// Bound values, back to back.
    let data: UnsafeMutableRawPointer
    /// Each value's length in bytes, or -1 for NULL.
    let indicators: UnsafeMutablePointer<SQLLEN>
    /// Streamed values: their bytes, and where each ends.
    private(set) var arena: UnsafeMutableRawPointer
    var ends: [Int] = []
    var used = 0
    private var reserved = 0

    init(_ column: Column, rows: Int) {
        let bytes = max(16, column.width * rows)
        data = .allocate(byteCount: bytes, alignment: 16)
        // What stands at a NULL is undefined, but not whatever the memory held before.
        data.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
        indicators = .allocate(capacity: rows)
        indicators.initialize(repeating: 0, count: rows)
        arena = .allocate(byteCount: 16, alignment: 16)
        reserved = 16
    }

    /// A buffer for streamed bytes only.
    init() {
        data = .allocate(byteCount: 16, alignment: 16)
        indicators = .allocate(capacity: 1)
        indicators.initialize(to: 0)
        arena = .allocate(byteCount: 16, alignment: 16)
        reserved = 16
    }

    deinit {
        data.deallocate()
        indicators.deallocate()
        arena.deallocate()
    }

    /// Forgets the streamed values.
    func reset() {
        ends.removeAll(keepingCapacity: true)
        used = 0
    }

    /// Makes room for `bytes` more in the arena.
    func reserve(_ bytes: Int) {
        guard used + bytes > reserved else { return }
        reserved = max(used + bytes, reserved * 2)
        let larger = UnsafeMutableRawPointer.allocate(byteCount: reserved, alignment: 16)
        larger.copyMemory(from: arena, byteCount: used)
        arena.deallocate()
        arena = larger
    }
}
