import GRDBSQLite
import Tidemark

/// Reads the columns of a row into column vectors, with the strictness SQLite itself does not have: a value
/// that is not of its column's declared type is an error, never converted.
struct SQLiteRowDecoder {
    private struct Field {
        let name: String
        let type: LogicalType
        let allowsNull: Bool
        let index: Int32
    }

    private let table: String
    private let fields: [Field]
    /// What to do about a value that does not fit, for the end of the sentence.
    private let remedy: String?

    /// - Parameters:
    ///   - table: the table errors name.
    ///   - key: the columns that may not be NULL even when the table allows it.
    ///   - first: the position of the first column in the statement.
    ///   - remedy: what to do about a value that does not fit.
    init(table: String, columns: [Column], key: [String], first: Int32, remedy: String? = nil) {
        self.table = table
        self.remedy = remedy
        fields = columns.enumerated().map { offset, column in
            Field(
                name: column.name, type: column.type,
                allowsNull: column.isNullable && !key.contains(column.name), index: first + Int32(offset))
        }
    }

    /// Appends the row `statement` stands on to `vectors`.
    ///
    /// - Throws: `TidemarkError.value` for a value that does not fit its column.
    @inline(__always)
    func decode(_ statement: OpaquePointer, into vectors: inout [ColumnVector], lsn: LSN) throws(TidemarkError) {
        for position in fields.indices {
            do throws(UnreadableText) {
                try append(statement, fields[position], to: &vectors[position])
            } catch {
                let reason = remedy.map { "\(error.reason); \($0)" } ?? error.reason
                throw .value(table: table, column: fields[position].name, lsn: lsn, reason: reason)
            }
        }
    }

    @inline(__always)
    private func append(
        _ statement: OpaquePointer, _ field: Field, to vector: inout ColumnVector
    ) throws(UnreadableText) {
        let storage = sqlite3_column_type(statement, field.index)
        if storage == SQLITE_NULL {
            guard field.allowsNull else {
                throw UnreadableText("is NULL, which neither a key column nor a NOT NULL column can be")
            }
            return vector.appendNull()
        }
        switch field.type {
        case .int64:
            vector.append(try integer(statement, field, storage))
        case .int32:
            vector.append(try narrow(statement, field, storage, Int32.self))
        case .int16:
            vector.append(try narrow(statement, field, storage, Int16.self))
        case .uint8:
            vector.append(try narrow(statement, field, storage, UInt8.self))
        case .bool:
            let value = try integer(statement, field, storage)
            guard value == 0 || value == 1 else {
                throw UnreadableText("\(value) is not a boolean; write 0 or 1")
            }
            vector.append(UInt8(value))
        case .double:
            vector.append(try double(statement, field, storage))
        case .float:
            let value = try double(statement, field, storage)
            guard let exact = Float(exactly: value) else {
                throw UnreadableText("\(value) is not a number of single precision")
            }
            vector.append(exact)
        case .decimal(let precision, let scale):
            vector.append(scaled: try decimal(statement, field, storage, precision, scale))
        case .string:
            if storage == SQLITE_INTEGER || storage == SQLITE_FLOAT {
                return try appendNumber(statement, field, storage, to: &vector)
            }
            let bytes = try text(statement, field, storage)
            guard UTF8Text.isValid(bytes) else { throw UnreadableText("is not valid UTF-8") }
            vector.append(bytes: bytes)
        case .binary:
            guard storage == SQLITE_BLOB else { throw mismatch(statement, field, storage) }
            vector.append(bytes: blob(statement, field))
        case .date:
            vector.append(try CalendarText.parseDate(text(statement, field, storage)))
        case .time:
            vector.append(try CalendarText.parseTime(text(statement, field, storage)))
        case .timestamp, .timestampTZ:
            vector.append(try timestamp(statement, field, storage))
        case .uuid:
            vector.append(try uuid(statement, field, storage))
        }
    }

    /// A number in a column of text, which only a column declared as JSON holds: a column of another declaration for
    /// text has an affinity that makes text of it.
    private func appendNumber(
        _ statement: OpaquePointer, _ field: Field, _ storage: Int32, to vector: inout ColumnVector
    ) throws(UnreadableText) {
        var text: String
        if storage == SQLITE_INTEGER {
            text = "\(sqlite3_column_int64(statement, field.index))"
        } else {
            let value = sqlite3_column_double(statement, field.index)
            guard value.isFinite else { throw UnreadableText("\(value) is no number of JSON") }
            // The shortest text that reads as the same number.
            text = "\(value)"
        }
        text.withUTF8 { vector.append(bytes: UnsafeRawBufferPointer($0)) }
    }

    @inline(__always)
    private func integer(
        _ statement: OpaquePointer, _ field: Field, _ storage: Int32
    ) throws(UnreadableText) -> Int64 {
        guard storage == SQLITE_INTEGER else { throw mismatch(statement, field, storage) }
        return sqlite3_column_int64(statement, field.index)
    }

    private func narrow<Value: FixedWidthInteger>(
        _ statement: OpaquePointer, _ field: Field, _ storage: Int32, _: Value.Type
    ) throws(UnreadableText) -> Value {
        let wide = try integer(statement, field, storage)
        guard let value = Value(exactly: wide) else {
            throw UnreadableText("\(wide) is outside the range \(Value.min) to \(Value.max) of \(field.type)")
        }
        return value
    }

    private func double(
        _ statement: OpaquePointer, _ field: Field, _ storage: Int32
    ) throws(UnreadableText) -> Double {
        switch storage {
        case SQLITE_FLOAT:
            return sqlite3_column_double(statement, field.index)
        case SQLITE_INTEGER:
            let whole = sqlite3_column_int64(statement, field.index)
            guard let value = Double(exactly: whole) else {
                throw UnreadableText("\(whole) has no exact floating-point value")
            }
            return value
        default:
            throw mismatch(statement, field, storage)
        }
    }

    @inline(__always)
    private func decimal(
        _ statement: OpaquePointer, _ field: Field, _ storage: Int32, _ precision: Int, _ scale: Int
    ) throws(UnreadableText) -> Int128 {
        switch storage {
        case SQLITE_TEXT:
            return try DecimalText.parse(bytes(statement, field), precision: precision, scale: scale)
        case SQLITE_INTEGER:
            return try decimal(fromInteger: sqlite3_column_int64(statement, field.index), precision, scale)
        case SQLITE_FLOAT:
            return try decimal(fromReal: statement, field, precision, scale)
        default:
            throw mismatch(statement, field, storage)
        }
    }

    private func decimal(fromInteger whole: Int64, _ precision: Int, _ scale: Int) throws(UnreadableText) -> Int128 {
        let limit = DecimalText.power(precision - scale)
        guard Int128(whole) < limit, Int128(whole) > -limit else {
            throw UnreadableText(
                """
                is the integer \(whole), which has more digits than DECIMAL(\(precision),\(scale)) allows; \
                \(remedy(precision, scale))
                """)
        }
        let scaled = Int128(whole) * DecimalText.power(scale)
        // NUMERIC affinity makes an integer of '1000000000000000.01' too, by way of a double.
        guard scale == 0 || isWithinDouble(scaled) else {
            throw UnreadableText(
                "is the integer \(whole), whose digits after the point may be lost; \(remedy(precision, scale))")
        }
        return scaled
    }

    private func isWithinDouble(_ scaled: Int128) -> Bool {
        scaled.magnitude < UInt128(DecimalText.power(15).magnitude)
    }

    private func remedy(_ precision: Int, _ scale: Int) -> String {
        "declare the column DECIMAL_TEXT(\(precision),\(scale)), which keeps all digits"
    }

    /// A double carries 15 decimal digits (DBL_DIG), and SQLite's text of it has just those; a longer decimal
    /// has lost digits when SQLite turned it into a number.
    private func decimal(
        fromReal statement: OpaquePointer, _ field: Field, _ precision: Int, _ scale: Int
    ) throws(UnreadableText) -> Int128 {
        let remedy = remedy(precision, scale)
        let value = sqlite3_column_double(statement, field.index)
        let scaled: Int128
        do throws(UnreadableText) {
            scaled = try DecimalText.parse(bytes(statement, field), precision: precision, scale: scale)
        } catch {
            throw UnreadableText("is the floating-point number \(value), and \(error.reason); \(remedy)")
        }
        guard isWithinDouble(scaled) else {
            throw UnreadableText("is the floating-point number \(value), which is not exact; \(remedy)")
        }
        return scaled
    }

    @inline(__always)
    private func text(
        _ statement: OpaquePointer, _ field: Field, _ storage: Int32
    ) throws(UnreadableText) -> UnsafeRawBufferPointer {
        guard storage == SQLITE_TEXT else { throw mismatch(statement, field, storage) }
        return bytes(statement, field)
    }

    @inline(__always)
    private func timestamp(
        _ statement: OpaquePointer, _ field: Field, _ storage: Int32
    ) throws(UnreadableText) -> Int64 {
        guard storage == SQLITE_TEXT else {
            let found = mismatch(statement, field, storage)
            guard storage == SQLITE_INTEGER || storage == SQLITE_FLOAT else { throw found }
            throw UnreadableText(
                """
                \(found.reason): a number may be a Julian day, or seconds or milliseconds since 1970, and nothing tells \
                which; write it as text, YYYY-MM-DD HH:MM:SS
                """)
        }
        return try CalendarText.parseTimestamp(bytes(statement, field))
    }

    private func uuid(
        _ statement: OpaquePointer, _ field: Field, _ storage: Int32
    ) throws(UnreadableText) -> Int128 {
        guard storage == SQLITE_BLOB else { return try UUIDText.parse(text(statement, field, storage)) }
        let bytes = blob(statement, field)
        guard bytes.count == 16 else { throw UnreadableText("is a blob of \(bytes.count) bytes; a UUID has 16") }
        return UUIDText.packed(UInt128(bigEndian: bytes.loadUnaligned(as: UInt128.self)))
    }

    /// The bytes of the value as text; they stay until the statement moves.
    @inline(__always)
    private func bytes(_ statement: OpaquePointer, _ field: Field) -> UnsafeRawBufferPointer {
        let start = sqlite3_column_text(statement, field.index)
        return UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(statement, field.index)))
    }

    @inline(__always)
    private func blob(_ statement: OpaquePointer, _ field: Field) -> UnsafeRawBufferPointer {
        let start = sqlite3_column_blob(statement, field.index)
        return UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(statement, field.index)))
    }

    private func mismatch(_ statement: OpaquePointer, _ field: Field, _ storage: Int32) -> UnreadableText {
        let found: String
        switch storage {
        case SQLITE_INTEGER: found = "the integer \(sqlite3_column_int64(statement, field.index))"
        case SQLITE_FLOAT: found = "the floating-point number \(sqlite3_column_double(statement, field.index))"
        case SQLITE_TEXT:
            found = "the text '\(String(decoding: bytes(statement, field).prefix(60), as: UTF8.self))'"
        default: found = "a blob of \(sqlite3_column_bytes(statement, field.index)) bytes"
        }
        return UnreadableText("is \(found), but the column is declared as \(field.type)")
    }
}
