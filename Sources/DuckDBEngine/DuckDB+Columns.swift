import DuckDB
import Tidemark

// Columns go to DuckDB's vectors and back as blocks of memory: both sides lay values out alike.

extension LogicalType {
    /// DuckDB's type for the column.
    var duckDBType: DuckDBType {
        switch self {
        case .bool: .bool
        case .uint8: .uint8
        case .int16: .int16
        case .int32: .int32
        case .int64: .int64
        case .float: .float
        case .double: .double
        case .decimal(let precision, let scale): .decimal(width: precision, scale: scale)
        case .string: .varchar
        case .binary: .blob
        case .date: .date
        case .time: .time
        case .timestamp: .timestamp
        case .timestampTZ: .timestampTZ
        case .uuid: .uuid
        }
    }

    /// The type's name in DuckDB's SQL. Part of the replica's layout: under another name its tables start empty.
    var duckDBName: String {
        switch self {
        case .bool: "BOOLEAN"
        case .uint8: "UTINYINT"
        case .int16: "SMALLINT"
        case .int32: "INTEGER"
        case .int64: "BIGINT"
        case .float: "FLOAT"
        case .double: "DOUBLE"
        case .decimal(let precision, let scale): "DECIMAL(\(precision),\(scale))"
        case .string: "VARCHAR"
        case .binary: "BLOB"
        case .date: "DATE"
        case .time: "TIME"
        case .timestamp: "TIMESTAMP"
        case .timestampTZ: "TIMESTAMPTZ"
        case .uuid: "UUID"
        }
    }

    /// The type of a DuckDB column; `nil` for types no serving database has, such as HUGEINT.
    init?(_ type: DuckDBType) {
        switch type {
        case .bool: self = .bool
        case .uint8: self = .uint8
        case .int16: self = .int16
        case .int32: self = .int32
        case .int64: self = .int64
        case .float: self = .float
        case .double: self = .double
        case .decimal(let width, let scale): self = .decimal(precision: width, scale: scale)
        case .varchar: self = .string
        case .blob: self = .binary
        case .date: self = .date
        case .time: self = .time
        case .timestamp: self = .timestamp
        case .timestampTZ: self = .timestampTZ
        case .uuid: self = .uuid
        case .int8, .uint16, .uint32, .uint64, .hugeint, .uhugeint: return nil
        }
    }
}

extension DataChunk {
    /// Copies rows of a column vector into the chunk's `column`, from row 0 on.
    ///
    /// - Parameter rows: starts at a multiple of 64 and is no longer than a chunk.
    func copy(_ vector: ColumnVector, rows: Range<Int>, to column: Int) throws {
        switch types[column].storage {
        case .bool: try copyFixed(Bool.self, vector, rows, column)
        case .int8: try copyFixed(Int8.self, vector, rows, column)
        case .int16: try copyFixed(Int16.self, vector, rows, column)
        case .int32: try copyFixed(Int32.self, vector, rows, column)
        case .int64: try copyFixed(Int64.self, vector, rows, column)
        case .int128: try copyFixed(Int128.self, vector, rows, column)
        case .uint8: try copyFixed(UInt8.self, vector, rows, column)
        case .uint16: try copyFixed(UInt16.self, vector, rows, column)
        case .uint32: try copyFixed(UInt32.self, vector, rows, column)
        case .uint64: try copyFixed(UInt64.self, vector, rows, column)
        case .uint128: try copyFixed(UInt128.self, vector, rows, column)
        case .float: try copyFixed(Float.self, vector, rows, column)
        case .double: try copyFixed(Double.self, vector, rows, column)
        case .bytes:
            for row in rows where !vector.isNull(row) {
                try vector.withBytes(row) { try setValidatedBytes($0, row: row - rows.lowerBound, column: column) }
            }
        }
        guard vector.nullCount > 0 else { return }
        let words = rows.lowerBound / 64..<(rows.upperBound + 63) / 64
        setValidity(Array(vector.validityWords[words]), column: column)
    }

    private func copyFixed<Element: VectorElement>(
        _ element: Element.Type, _ vector: ColumnVector, _ rows: Range<Int>, _ column: Int
    ) throws {
        let width = MemoryLayout<Element>.size
        try withMutableValues(of: element, column: column) { values in
            vector.withFixedBytes { bytes in
                let slice = UnsafeRawBufferPointer(
                    rebasing: bytes[rows.lowerBound * width..<rows.upperBound * width])
                UnsafeMutableRawBufferPointer(values).copyMemory(from: slice)
            }
        }
    }

    /// Hands out the chunk's rows as columns of the given types, which are the chunk's own, until `body` returns `false`.
    ///
    /// A chunk has 2,048 rows whatever their width, so one of wide rows is more than one block.
    ///
    /// - Returns: whether all rows were handed out.
    func forEachBatch(_ columns: [Column], limits: BlockLimits, _ body: (RowBatch) -> Bool) throws -> Bool {
        let budget = BlockBudget(limits, columns: columns)
        let texts = types.indices.filter { types[$0].storage == .bytes }
        var start = 0
        var bytes = 0
        for row in 0..<count where !texts.isEmpty {
            for column in texts where isValid(row: row, column: column) {
                bytes += try withBytes(row: row, column: column) { $0.count }
            }
            guard budget.isFull(arenaBytes: bytes, rows: row + 1 - start) else { continue }
            guard body(try rowBatch(columns, start..<row + 1)) else { return false }
            (start, bytes) = (row + 1, 0)
        }
        return start == count ? true : body(try rowBatch(columns, start..<count))
    }

    private func rowBatch(_ columns: [Column], _ rows: Range<Int>) throws -> RowBatch {
        var batch = RowBatch(columns: columns, reserving: 0)
        for index in columns.indices {
            if rows == 0..<count {
                try read(column: index, into: &batch.columns[index])
            } else {
                for row in rows { try read(row, column: index, into: &batch.columns[index]) }
            }
        }
        return batch
    }

    private func read(_ row: Int, column: Int, into vector: inout ColumnVector) throws {
        guard isValid(row: row, column: column) else { return vector.appendNull() }
        switch types[column].storage {
        case .bool: try append(Bool.self, row, column, &vector)
        case .int8: try append(Int8.self, row, column, &vector)
        case .int16: try append(Int16.self, row, column, &vector)
        case .int32: try append(Int32.self, row, column, &vector)
        case .int64: try append(Int64.self, row, column, &vector)
        case .int128: try append(Int128.self, row, column, &vector)
        case .uint8: try append(UInt8.self, row, column, &vector)
        case .uint16: try append(UInt16.self, row, column, &vector)
        case .uint32: try append(UInt32.self, row, column, &vector)
        case .uint64: try append(UInt64.self, row, column, &vector)
        case .uint128: try append(UInt128.self, row, column, &vector)
        case .float: try append(Float.self, row, column, &vector)
        case .double: try append(Double.self, row, column, &vector)
        case .bytes: try withBytes(row: row, column: column) { vector.append(bytes: $0) }
        }
    }

    private func append<Element: VectorElement>(
        _ element: Element.Type, _ row: Int, _ column: Int, _ vector: inout ColumnVector
    ) throws {
        try withValues(of: element, column: column) { vector.append($0[row]) }
    }

    private func read(column: Int, into vector: inout ColumnVector) throws {
        switch types[column].storage {
        case .bool: try readFixed(Bool.self, column, &vector)
        case .int8: try readFixed(Int8.self, column, &vector)
        case .int16: try readFixed(Int16.self, column, &vector)
        case .int32: try readFixed(Int32.self, column, &vector)
        case .int64: try readFixed(Int64.self, column, &vector)
        case .int128: try readFixed(Int128.self, column, &vector)
        case .uint8: try readFixed(UInt8.self, column, &vector)
        case .uint16: try readFixed(UInt16.self, column, &vector)
        case .uint32: try readFixed(UInt32.self, column, &vector)
        case .uint64: try readFixed(UInt64.self, column, &vector)
        case .uint128: try readFixed(UInt128.self, column, &vector)
        case .float: try readFixed(Float.self, column, &vector)
        case .double: try readFixed(Double.self, column, &vector)
        case .bytes:
            try forEachBytes(column: column) { _, bytes in
                if let bytes { vector.append(bytes: bytes) } else { vector.appendNull() }
            }
        }
    }

    private func readFixed<Element: VectorElement>(
        _ element: Element.Type, _ column: Int, _ vector: inout ColumnVector
    ) throws {
        try withValues(of: element, column: column) { values in
            withValidity(column: column) {
                vector.fill(rows: count, bytes: UnsafeRawBufferPointer(values), validity: $0)
            }
        }
    }
}

extension LSN {
    /// The LSN as a BLOB literal of DuckDB's SQL.
    var sqlLiteral: String {
        "'" + bytes.map { "\\x" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() + "'::BLOB"
    }
}
