/// Gives typed access to elements in memory that may not be aligned for their type.
enum Aligned {
    /// Passes `count` elements at `address`: in place where aligned, else through a copy.
    ///
    /// DuckDB aligns vectors as `malloc` does or to 8 bytes, and Swift's 128-bit integers want 16.
    static func with<Element: BitwiseCopyable, Result>(
        _ address: UnsafeMutableRawPointer, of element: Element.Type, count: Int, writeBack: Bool = false,
        _ body: (UnsafeMutableBufferPointer<Element>) throws -> Result
    ) throws -> Result {
        if Int(bitPattern: address).isMultiple(of: MemoryLayout<Element>.alignment) {
            // DuckDB's allocation has no type that Swift knows of.
            let start = address.bindMemory(to: element, capacity: count)
            return try body(UnsafeMutableBufferPointer(start: start, count: count))
        }
        let byteCount = count * MemoryLayout<Element>.stride
        let copy = UnsafeMutablePointer<Element>.allocate(capacity: count)
        defer { copy.deallocate() }
        UnsafeMutableRawPointer(copy).copyMemory(from: address, byteCount: byteCount)
        defer {
            if writeBack { address.copyMemory(from: copy, byteCount: byteCount) }
        }
        return try body(UnsafeMutableBufferPointer(start: copy, count: count))
    }
}

/// Somewhere to point at for no bytes, since DuckDB refuses a null pointer even then.
nonisolated(unsafe) let emptyBytes: UnsafePointer<CChar> = {
    let byte = UnsafeMutablePointer<CChar>.allocate(capacity: 1)
    byte.pointee = 0
    return UnsafePointer(byte)
}()
