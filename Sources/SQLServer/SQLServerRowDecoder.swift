import ODBC
import Tidemark

/// Reads columns of a block into column vectors, without a detour through text where the driver has a binary form.
///
/// A value that does not fit its column's type is an error that names the column, never changed.
struct SQLServerRowDecoder {
    /// The table errors name.
    let table: String
    let columns: [Tidemark.Column]
    /// Columns that may not be NULL even when the table allows it.
    let key: [String]
    /// The position of the first column in the result.
    let first: Int

    /// Appends rows of the block to `vectors`.
    ///
    /// - Parameter lsn: the LSN of a row, for errors.
    /// - Throws: `TidemarkError.value`.
    func decode(
        _ cursor: BlockCursor, into vectors: inout [ColumnVector], lsn: (Int) -> LSN
    ) throws {
        for index in columns.indices {
            let column = columns[index]
            var row = 0
            do {
                try append(cursor, first + index, column.type, to: &vectors[index], row: &row)
            } catch let refusal as UnreadableText {
                throw TidemarkError.value(table: table, column: column.name, lsn: lsn(row), reason: refusal.reason)
            } catch let error as ODBCError {
                guard case .invalidValue(_, _, let row, let message) = error else { throw error }
                throw TidemarkError.value(table: table, column: column.name, lsn: lsn(row), reason: message)
            }
            guard vectors[index].nullCount > 0, key.contains(column.name) || !column.isNullable else { continue }
            let start = vectors[index].count - cursor.count
            if let row = (0..<cursor.count).first(where: { vectors[index].isNull(start + $0) }) {
                throw TidemarkError.value(
                    table: table, column: column.name, lsn: lsn(row),
                    reason: "is NULL, which neither a key column nor a NOT NULL column can be")
            }
        }
    }

    private func append(
        _ cursor: BlockCursor, _ index: Int, _ type: LogicalType, to vector: inout ColumnVector, row: inout Int
    ) throws {
        switch type {
        case .bool, .uint8: try fixed(cursor, index, UInt8.self, &vector)
        case .int16: try fixed(cursor, index, Int16.self, &vector)
        case .int32: try fixed(cursor, index, Int32.self, &vector)
        case .int64: try fixed(cursor, index, Int64.self, &vector)
        case .float: try fixed(cursor, index, Float.self, &vector)
        case .double: try fixed(cursor, index, Double.self, &vector)
        case .decimal(let precision, let scale):
            try cursor.forEachDecimal(column: index, scale: scale) { at, value in
                row = at
                guard let value else { return vector.appendNull() }
                guard value.magnitude < DecimalText.power(precision).magnitude else {
                    throw UnreadableText("has more digits than DECIMAL(\(precision),\(scale)) allows")
                }
                vector.append(scaled: value)
            }
        case .string, .binary:
            try cursor.forEachBytes(column: index) { _, bytes in
                if let bytes { vector.append(bytes: bytes) } else { vector.appendNull() }
            }
        case .date:
            try convert(cursor, index, DateParts.self, &vector, &row) { Int32($0.daysSince1970) }
        case .time:
            try cursor.forEachTime(column: index) { at, value in
                row = at
                guard let value else { return vector.appendNull() }
                vector.append(try Self.microseconds(value.nanoseconds))
            }
        case .timestamp:
            try convert(cursor, index, TimestampParts.self, &vector, &row) { try Self.microseconds($0) }
        case .timestampTZ:
            try convert(cursor, index, TimestampOffsetParts.self, &vector, &row) { parts in
                try Self.microseconds(parts.local) - Int64(parts.offsetMinutes) * 60_000_000
            }
        case .uuid:
            try convert(cursor, index, GUIDParts.self, &vector, &row) { UUIDText.packed($0.number) }
        }
    }

    private func fixed<Element: BitwiseCopyable>(
        _ cursor: BlockCursor, _ index: Int, _ element: Element.Type, _ vector: inout ColumnVector
    ) throws {
        try cursor.withValues(of: element, column: index) { values in
            cursor.withLengths(column: index) { lengths in
                for row in values.indices {
                    if lengths[row] == -1 { vector.appendNull() } else { vector.append(values[row]) }
                }
            }
        }
    }

    private func convert<Element: BitwiseCopyable, Value: BitwiseCopyable>(
        _ cursor: BlockCursor, _ index: Int, _ element: Element.Type, _ vector: inout ColumnVector, _ row: inout Int,
        _ body: (Element) throws -> Value
    ) throws {
        try cursor.withValues(of: element, column: index) { values in
            try cursor.withLengths(column: index) { lengths in
                for at in values.indices {
                    row = at
                    if lengths[at] == -1 { vector.appendNull() } else { vector.append(try body(values[at])) }
                }
            }
        }
    }

    private static func microseconds(_ parts: TimestampParts) throws -> Int64 {
        Int64(parts.date.daysSince1970) * 86_400_000_000 + (try microseconds(parts.time.nanoseconds))
    }

    private static func microseconds(_ nanoseconds: Int64) throws -> Int64 {
        let (whole, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000)
        guard rest == 0 else { throw UnreadableText("has more than six digits of a second's fraction") }
        return whole
    }
}
