internal import CDuckDB

extension DataChunk {
    /// Whether the value is not NULL.
    public func isValid(row: Int, column: Int) -> Bool {
        precondition(row >= 0 && row < Self.capacity, "row \(row) is out of bounds")
        guard let words = duckdb_vector_get_validity(vectors[column]) else { return true }
        return words[row / 64] >> UInt64(row % 64) & 1 == 1
    }

    /// Passes the column's validity bitmap, 64 rows a word with bit 1 for a value, or nil when no row is NULL.
    ///
    /// There are as many words as ``count`` needs; bits past the last row mean nothing.
    public func withValidity<Result>(
        column: Int, _ body: (UnsafeBufferPointer<UInt64>?) throws -> Result
    ) rethrows -> Result {
        try withExtendedLifetime(self) {
            guard let words = duckdb_vector_get_validity(vectors[column]) else { return try body(nil) }
            return try body(UnsafeBufferPointer(start: words, count: (count + 63) / 64))
        }
    }

    /// Passes the column's ``count`` elements as they are stored. What stands at a NULL is undefined.
    ///
    /// - Throws: ``DuckDBError/typeMismatch(column:type:requested:)`` unless `Element` is how the
    ///   column's type is stored; see ``DuckDBType/storage-swift.property``.
    public func withValues<Element: VectorElement, Result>(
        of element: Element.Type, column: Int, _ body: (UnsafeBufferPointer<Element>) throws -> Result
    ) throws -> Result {
        try check(element, column: column)
        return try withExtendedLifetime(self) {
            try Aligned.with(elements(column), of: element, count: count) { try body(UnsafeBufferPointer($0)) }
        }
    }

    /// Passes the bytes of a VARCHAR or BLOB, valid only within `body`. The value must not be NULL.
    public func withBytes<Result>(
        row: Int, column: Int, _ body: (UnsafeRawBufferPointer) throws -> Result
    ) throws -> Result {
        try checkBytes(column: column)
        precondition(row >= 0 && row < count && isValid(row: row, column: column), "row \(row) has no value")
        return try withExtendedLifetime(self) { try body(StringElement.bytes(elements(column), row)) }
    }

    /// Passes each row of a VARCHAR or BLOB column in order: its number and its bytes, nil for NULL.
    public func forEachBytes(column: Int, _ body: (Int, UnsafeRawBufferPointer?) throws -> Void) throws {
        try checkBytes(column: column)
        try withValidity(column: column) { words in
            let elements = elements(column)
            for row in 0..<count {
                let isValid = words.map { $0[row / 64] >> UInt64(row % 64) & 1 == 1 } ?? true
                try body(row, isValid ? StringElement.bytes(elements, row) : nil)
            }
        }
    }

    /// A VARCHAR as a string. The value must not be NULL.
    public func string(row: Int, column: Int) throws -> String {
        try withBytes(row: row, column: column) { String(decoding: $0, as: UTF8.self) }
    }

    /// A decimal times `10^scale`, whichever integer its width is stored as. The value must not be NULL.
    public func decimal(row: Int, column: Int) throws -> Int128 {
        guard case .decimal = types[column] else {
            throw DuckDBError.typeMismatch(column: column, type: types[column], requested: "a decimal")
        }
        precondition(row >= 0 && row < count, "row \(row) is out of bounds")
        return withExtendedLifetime(self) { decimalElement(row, column) }
    }

    /// Passes a decimal column's ``count`` values times `10^scale`. What stands at a NULL is undefined.
    ///
    /// Columns of more than 18 digits are stored so; narrower ones are widened into a copy.
    public func withDecimals<Result>(
        column: Int, _ body: (UnsafeBufferPointer<Int128>) throws -> Result
    ) throws -> Result {
        guard case .decimal = types[column] else {
            throw DuckDBError.typeMismatch(column: column, type: types[column], requested: "decimals")
        }
        if types[column].storage == .int128 { return try withValues(of: Int128.self, column: column, body) }
        let widened = withExtendedLifetime(self) { (0..<count).map { decimalElement($0, column) } }
        return try widened.withUnsafeBufferPointer(body)
    }

    private func decimalElement(_ row: Int, _ column: Int) -> Int128 {
        let elements = elements(column)
        return switch types[column].storage {
        case .int16: Int128(elements.load(fromByteOffset: row * 2, as: Int16.self))
        case .int32: Int128(elements.load(fromByteOffset: row * 4, as: Int32.self))
        case .int64: Int128(elements.load(fromByteOffset: row * 8, as: Int64.self))
        default: elements.loadUnaligned(fromByteOffset: row * 16, as: Int128.self)
        }
    }

    /// A UUID's 16 bytes in the order of its text, as a big-endian number. The value must not be NULL.
    public func uuid(row: Int, column: Int) throws -> UInt128 {
        guard types[column] == .uuid else {
            throw DuckDBError.typeMismatch(column: column, type: types[column], requested: "a UUID")
        }
        precondition(row >= 0 && row < count, "row \(row) is out of bounds")
        return withExtendedLifetime(self) {
            UUIDs.number(stored: elements(column).loadUnaligned(fromByteOffset: row * 16, as: Int128.self))
        }
    }

    /// One value, of any type. Slower than the columnar access above.
    public func value(row: Int, column: Int) throws -> Value {
        precondition(row >= 0 && row < count, "row \(row) is out of bounds")
        guard isValid(row: row, column: column) else { return .null }
        func load<Element: VectorElement>(_: Element.Type) -> Element {
            withExtendedLifetime(self) {
                elements(column).loadUnaligned(fromByteOffset: row * MemoryLayout<Element>.stride, as: Element.self)
            }
        }
        return switch types[column] {
        case .bool: .bool(load(Bool.self))
        case .int8: .int(Int64(load(Int8.self)))
        case .int16: .int(Int64(load(Int16.self)))
        case .int32: .int(Int64(load(Int32.self)))
        case .int64: .int(load(Int64.self))
        case .uint8: .int(Int64(load(UInt8.self)))
        case .uint16: .int(Int64(load(UInt16.self)))
        case .uint32: .int(Int64(load(UInt32.self)))
        case .uint64: .uint64(load(UInt64.self))
        case .hugeint: .hugeint(load(Int128.self))
        case .uhugeint: .uhugeint(load(UInt128.self))
        case .float: .float(load(Float.self))
        case .double: .double(load(Double.self))
        case .decimal(_, let scale): .decimal(try decimal(row: row, column: column), scale: scale)
        case .varchar: .string(try string(row: row, column: column))
        case .blob: .blob(try withBytes(row: row, column: column) { [UInt8]($0) })
        case .date: .date(load(Int32.self))
        case .time: .time(load(Int64.self))
        case .timestamp: .timestamp(load(Int64.self))
        case .timestampTZ: .timestampTZ(load(Int64.self))
        case .uuid: .uuid(UUIDs.text(try uuid(row: row, column: column)))
        }
    }
}

/// DuckDB's 16-byte string element: a 4-byte length, then the bytes themselves when there are at most 12,
/// else 4 bytes of prefix and a pointer.
private enum StringElement {
    private static let size = 16
    private static let inlineCapacity = 12
    private static let inlineOffset = 4
    private static let pointerOffset = 8

    static func bytes(_ elements: UnsafeMutableRawPointer, _ row: Int) -> UnsafeRawBufferPointer {
        let element = UnsafeRawPointer(elements + row * size)
        let length = Int(element.load(as: UInt32.self))
        let start =
            length <= inlineCapacity
            ? element + inlineOffset : element.load(fromByteOffset: pointerOffset, as: UnsafeRawPointer.self)
        return UnsafeRawBufferPointer(start: start, count: length)
    }
}
