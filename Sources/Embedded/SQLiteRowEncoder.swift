import GRDBSQLite
import Tidemark

/// Binds rows of column vectors to a statement.
///
/// Text and binary values are bound where they lie in the vector, values that need formatting in the encoder's
/// own scratch space; both stay until the statement is stepped and reset, so nothing is copied.
final class SQLiteRowEncoder {
    /// Why a value cannot be stored, and in which column.
    struct Refusal: Error {
        let column: String
        let reason: String
    }

    private let statement: SQLiteStatement
    private let columns: [Column]
    private let required: [Bool]
    private let first: Int32
    private let scratch: UnsafeMutableRawPointer

    /// Room for the longest formatted value: a decimal of 41 bytes.
    private static let slot = 48

    /// - Parameters:
    ///   - first: the number of the parameter of the first column.
    ///   - key: columns that may not be NULL.
    init(_ statement: SQLiteStatement, columns: [Column], key: [String], first: Int32) {
        self.statement = statement
        self.columns = columns
        self.first = first
        required = columns.map { key.contains($0.name) }
        scratch = .allocate(byteCount: max(1, columns.count) * Self.slot, alignment: 16)
    }

    deinit { scratch.deallocate() }

    /// Calls `body` with the storage of all `vectors` at once.
    static func withBuffers<R>(
        _ vectors: [ColumnVector], _ body: ([ColumnBuffers]) throws -> R
    ) rethrows -> R {
        try withBuffers(vectors[...], [], body)
    }

    private static func withBuffers<R>(
        _ vectors: ArraySlice<ColumnVector>, _ buffers: [ColumnBuffers], _ body: ([ColumnBuffers]) throws -> R
    ) rethrows -> R {
        guard let vector = vectors.first else { return try body(buffers) }
        return try vector.withBuffers { try withBuffers(vectors.dropFirst(), buffers + [$0], body) }
    }

    /// Binds row `row`; the buffers must stay until the statement is reset.
    ///
    /// - Throws: `Refusal` for a value SQLite cannot hold.
    @inline(__always)
    func bind(_ row: Int, of buffers: [ColumnBuffers]) throws {
        for position in columns.indices {
            let code = try bind(row, buffers[position], position)
            if code != SQLITE_OK { throw statement.failure() }
        }
    }

    @inline(__always)
    private func bind(_ row: Int, _ buffers: ColumnBuffers, _ position: Int) throws -> Int32 {
        let pointer = statement.pointer
        let index = first + Int32(position)
        if buffers.isNull(row) {
            guard !required[position] else {
                throw Refusal(column: columns[position].name, reason: "a key column is NULL")
            }
            return sqlite3_bind_null(pointer, index)
        }
        switch columns[position].type {
        case .bool, .uint8: return sqlite3_bind_int64(pointer, index, Int64(buffers.value(row, as: UInt8.self)))
        case .int16: return sqlite3_bind_int64(pointer, index, Int64(buffers.value(row, as: Int16.self)))
        case .int32: return sqlite3_bind_int64(pointer, index, Int64(buffers.value(row, as: Int32.self)))
        case .int64: return sqlite3_bind_int64(pointer, index, buffers.value(row, as: Int64.self))
        case .float: return try bind(Double(buffers.value(row, as: Float.self)), index, position)
        case .double: return try bind(buffers.value(row, as: Double.self), index, position)
        case .string:
            let bytes = buffers.bytes(row)
            return sqlite3_bind_text64(
                pointer, index, (bytes.baseAddress ?? emptyText).assumingMemoryBound(to: CChar.self),
                UInt64(bytes.count), nil, UInt8(SQLITE_UTF8))
        case .binary:
            let bytes = buffers.bytes(row)
            return sqlite3_bind_blob64(pointer, index, bytes.baseAddress ?? emptyText, UInt64(bytes.count), nil)
        case .decimal, .date, .time, .timestamp, .timestampTZ, .uuid:
            let slot = UnsafeMutableRawBufferPointer(
                start: scratch + position * Self.slot, count: Self.slot)
            let length: Int
            do throws(UnreadableText) {
                length = try format(row, buffers, columns[position].type, slot)
            } catch {
                throw Refusal(column: columns[position].name, reason: error.reason)
            }
            return sqlite3_bind_text(
                pointer, index, slot.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(length), nil)
        }
    }

    private func bind(_ value: Double, _ index: Int32, _ position: Int) throws -> Int32 {
        // SQLite stores NaN as NULL.
        guard !value.isNaN else {
            throw Refusal(column: columns[position].name, reason: "NaN cannot be stored in SQLite")
        }
        return sqlite3_bind_double(statement.pointer, index, value)
    }

    @inline(__always)
    private func format(
        _ row: Int, _ buffers: ColumnBuffers, _ type: LogicalType, _ slot: UnsafeMutableRawBufferPointer
    ) throws(UnreadableText) -> Int {
        switch type {
        case .decimal(let precision, let scale):
            let value: Int128 =
                switch precision {
                case ...4: Int128(buffers.value(row, as: Int16.self))
                case ...9: Int128(buffers.value(row, as: Int32.self))
                case ...18: Int128(buffers.value(row, as: Int64.self))
                default: buffers.value(row, as: Int128.self)
                }
            return DecimalText.write(value, scale: scale, to: slot)
        case .date: return try CalendarText.writeDate(buffers.value(row), to: slot)
        case .time: return try CalendarText.writeTime(buffers.value(row), to: slot)
        case .timestampTZ: return try CalendarText.writeTimestampTZ(buffers.value(row), to: slot)
        case .uuid:
            UUIDText.write(buffers.value(row), to: slot)
            return UUIDText.length
        default: return try CalendarText.writeTimestamp(buffers.value(row), to: slot)
        }
    }
}
