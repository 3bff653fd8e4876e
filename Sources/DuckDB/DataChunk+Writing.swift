internal import CDuckDB

extension DataChunk {
    /// Passes the column's elements, all ``capacity`` of them, to be written as they are stored.
    ///
    /// - Throws: ``DuckDBError/typeMismatch(column:type:requested:)`` unless `Element` is how the
    ///   column's type is stored; see ``DuckDBType/storage-swift.property``.
    public func withMutableValues<Element: VectorElement, Result>(
        of element: Element.Type, column: Int, _ body: (UnsafeMutableBufferPointer<Element>) throws -> Result
    ) throws -> Result {
        precondition(isWritable, "a chunk of a result is read only")
        try check(element, column: column)
        return try withExtendedLifetime(self) {
            try Aligned.with(elements(column), of: element, count: Self.capacity, writeBack: true, body)
        }
    }

    /// Makes a value NULL.
    public func setNull(row: Int, column: Int) {
        let words = writableValidity(column)
        precondition(row >= 0 && row < Self.capacity, "row \(row) is out of bounds")
        words[row / 64] &= ~(1 << UInt64(row % 64))
    }

    /// Sets which rows of a column hold a value, 64 rows a word with bit 1 for a value and 0 for NULL.
    ///
    /// Rows past the last word stay as they are.
    public func setValidity(_ words: UnsafeBufferPointer<UInt64>, column: Int) {
        precondition(words.count <= (Self.capacity + 63) / 64, "more words than a chunk has rows")
        guard let source = words.baseAddress else { return }
        writableValidity(column).update(from: source, count: words.count)
    }

    /// Sets which rows of a column hold a value; see ``setValidity(_:column:)-(UnsafeBufferPointer<UInt64>,_)``.
    public func setValidity(_ words: [UInt64], column: Int) {
        words.withUnsafeBufferPointer { setValidity($0, column: column) }
    }

    private func writableValidity(_ column: Int) -> UnsafeMutablePointer<UInt64> {
        precondition(isWritable, "a chunk of a result is read only")
        duckdb_vector_ensure_validity_writable(vectors[column])
        return duckdb_vector_get_validity(vectors[column])
    }

    /// Sets a VARCHAR.
    public func setString(_ string: String, row: Int, column: Int) throws {
        var string = string
        try string.withUTF8 { try setValidatedBytes(UnsafeRawBufferPointer($0), row: row, column: column) }
    }

    /// Sets a BLOB, or a VARCHAR whose bytes are checked to be UTF-8.
    ///
    /// - Throws: ``DuckDBError/invalidValue(column:row:message:)`` for bytes that are not UTF-8.
    public func setBytes(_ bytes: UnsafeRawBufferPointer, row: Int, column: Int) throws {
        if types[column] == .varchar, let start = bytes.baseAddress, !bytes.isEmpty {
            var error = duckdb_valid_utf8_check(start.assumingMemoryBound(to: CChar.self), idx_t(bytes.count))
            defer { duckdb_destroy_error_data(&error) }
            if duckdb_error_data_has_error(error) {
                throw DuckDBError.invalidValue(
                    column: column, row: row, message: text(duckdb_error_data_message(error)))
            }
        }
        try setValidatedBytes(bytes, row: row, column: column)
    }

    /// Sets a BLOB, or a VARCHAR whose bytes the caller knows to be UTF-8.
    ///
    /// DuckDB's own checked assignment would turn invalid text into NULL without a word, and this one
    /// does not check: pass what came from elsewhere to ``setBytes(_:row:column:)``.
    public func setValidatedBytes(_ bytes: UnsafeRawBufferPointer, row: Int, column: Int) throws {
        precondition(isWritable, "a chunk of a result is read only")
        try checkBytes(column: column)
        precondition(row >= 0 && row < Self.capacity, "row \(row) is out of bounds")
        let start = bytes.baseAddress?.assumingMemoryBound(to: CChar.self) ?? emptyBytes
        duckdb_unsafe_vector_assign_string_element_len(vectors[column], idx_t(row), start, idx_t(bytes.count))
    }

    /// Sets a decimal, given times `10^scale`.
    ///
    /// - Throws: ``DuckDBError/invalidValue(column:row:message:)`` for more digits than the column has.
    public func setDecimal(_ value: Int128, row: Int, column: Int) throws {
        precondition(isWritable, "a chunk of a result is read only")
        guard case .decimal(let width, let scale) = types[column] else {
            throw DuckDBError.typeMismatch(column: column, type: types[column], requested: "a decimal")
        }
        precondition(row >= 0 && row < Self.capacity, "row \(row) is out of bounds")
        guard Decimals.fits(value, width: width) else {
            throw DuckDBError.invalidValue(
                column: column, row: row,
                message: "\(Decimals.text(value, scale: scale)) does not fit \(types[column])")
        }
        withExtendedLifetime(self) {
            let elements = elements(column)
            switch types[column].storage {
            case .int16: elements.storeBytes(of: Int16(value), toByteOffset: row * 2, as: Int16.self)
            case .int32: elements.storeBytes(of: Int32(value), toByteOffset: row * 4, as: Int32.self)
            case .int64: elements.storeBytes(of: Int64(value), toByteOffset: row * 8, as: Int64.self)
            default: elements.storeBytes(of: value, toByteOffset: row * 16, as: Int128.self)
            }
        }
    }

    /// Sets a UUID, given as the big-endian number of its 16 bytes.
    public func setUUID(_ value: UInt128, row: Int, column: Int) throws {
        precondition(isWritable, "a chunk of a result is read only")
        guard types[column] == .uuid else {
            throw DuckDBError.typeMismatch(column: column, type: types[column], requested: "a UUID")
        }
        precondition(row >= 0 && row < Self.capacity, "row \(row) is out of bounds")
        withExtendedLifetime(self) {
            elements(column).storeBytes(of: UUIDs.stored(value), toByteOffset: row * 16, as: Int128.self)
        }
    }
}
