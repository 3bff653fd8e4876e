internal import CODBC
import Foundation

/// A parameter's values laid out as a driver reads them, for some rows of a column.
final class BoundParameter {
    let cType: SQLSMALLINT
    let sqlType: SQLSMALLINT
    let columnSize: SQLULEN
    let digits: SQLSMALLINT
    /// Bytes from one row's value to the next.
    let stride: Int
    let data: UnsafeMutableRawPointer
    let indicators: UnsafeMutablePointer<SQLLEN>
    /// Bytes to send in pieces while executing, instead of `data`.
    let pieces: [UInt8]?

    deinit {
        data.deallocate()
        indicators.deallocate()
    }

    /// Bytes from which a value is sent in pieces, to drivers that take them.
    static let pieceThreshold = 1 << 20
    /// Bytes of a piece.
    static let pieceSize = 1 << 16

    /// Bytes a row takes when `column`'s value at `row` is the longest. UTF-16 has at most two bytes for one of UTF-8.
    static func width(_ column: ParameterColumn, row: Int) -> Int {
        column.type.width.map { max($0, 40) } ?? column.byteCount(row) * (column.type == .string ? 2 : 1) + 2
    }

    init(_ column: ParameterColumn, rows: Range<Int>, position: Int, sql: String, traits: DriverTraits) throws {
        let layout = Layout(
            column.type, traits, datesAsText: traits.misplacesEarlyDates && Self.hasEarlyDates(column, rows))
        cType = layout.cType
        digits = layout.digits

        if let width = column.type.width, layout.isVerbatim {
            (sqlType, columnSize, stride, pieces) = (layout.sqlType, layout.columnSize, width, nil)
            let data = UnsafeMutableRawPointer.allocate(byteCount: max(1, rows.count * width), alignment: 16)
            column.fixed.withUnsafeBytes { bytes in
                let slice = UnsafeRawBufferPointer(rebasing: bytes[rows.lowerBound * width..<rows.upperBound * width])
                data.copyMemory(from: slice.baseAddress!, byteCount: slice.count)
            }
            self.data = data
            indicators = .allocate(capacity: rows.count)
            for row in rows {
                (indicators + row - rows.lowerBound).initialize(to: column.isNull[row] ? SQLLEN(SQL_NULL_DATA) : width)
            }
            return
        }

        // Everything else has a length: all rows get the width of the longest.
        let values = try Values(column, rows, position, sql, traits)
        let isText = column.type == .string
        let isVariable = column.type.width == nil
        let length = isText && !traits.usesUTF8 ? values.longest / 2 : values.longest
        // SQL Server's `nvarchar` ends at 4000 units and `varbinary` at 8000 bytes; beyond that they are `(max)`.
        let isLong = isVariable && length > (isText ? 4_000 : 8_000)
        if isLong && traits.usesUnlimitedSizes {
            columnSize = 0
        } else if isVariable && traits.isSQLServer {
            // The same for all lengths, as otherwise each is another statement to plan.
            columnSize = isText ? 4_000 : 8_000
        } else {
            columnSize = layout.columnSize > 0 ? layout.columnSize : SQLULEN(max(1, length))
        }
        if isLong && !traits.usesUnlimitedSizes {
            sqlType = SQLSMALLINT(isText ? (traits.usesUTF8 ? SQL_LONGVARCHAR : SQL_WLONGVARCHAR) : SQL_LONGVARBINARY)
        } else {
            sqlType = layout.sqlType
        }
        indicators = .allocate(capacity: rows.count)
        for (row, length) in values.lengths.enumerated() { (indicators + row).initialize(to: length) }
        if rows.count == 1, isVariable, traits.takesDataAtExecution, values.longest >= Self.pieceThreshold {
            (stride, pieces) = (values.longest, values.bytes)
            data = .allocate(byteCount: 1, alignment: 1)
            indicators[0] = codbc_len_data_at_exec(values.longest)
            return
        }
        pieces = nil
        // A driver may look for a terminator, and an empty value still needs an address.
        stride = values.longest + 2
        data = .allocate(byteCount: rows.count * stride, alignment: 16)
        data.initializeMemory(as: UInt8.self, repeating: 0, count: rows.count * stride)
        values.bytes.withUnsafeBytes { source in
            guard let base = source.baseAddress else { return }
            var start = 0
            for (row, length) in values.lengths.enumerated() where length > 0 {
                (data + row * stride).copyMemory(from: base + start, byteCount: length)
                start += length
            }
        }
    }

    /// The first year of SQL Server's `datetime`.
    private static let firstSafeYear = 1753

    private static func hasEarlyDates(_ column: ParameterColumn, _ rows: Range<Int>) -> Bool {
        func isEarly(_ row: Int) -> Bool {
            switch column.type {
            case .date: column.value(row, as: DateParts.self).year < firstSafeYear
            case .timestamp: column.value(row, as: TimestampParts.self).year < firstSafeYear
            default: false
            }
        }
        return rows.contains { !column.isNull[$0] && isEarly($0) }
    }

    /// The values of some rows in the driver's encoding, one after the other.
    private struct Values {
        var bytes: [UInt8] = []
        /// -1 for NULL.
        var lengths: [SQLLEN] = []
        var longest = 0

        init(
            _ column: ParameterColumn, _ rows: Range<Int>, _ position: Int, _ sql: String, _ traits: DriverTraits
        ) throws {
            func refusal(_ row: Int, _ message: String) -> ODBCError {
                .parameter(sql: sql, parameter: position, message: rows.count == 1 ? message : "row \(row): \(message)")
            }
            lengths.reserveCapacity(rows.count)
            var units: [UInt16] = []
            for row in rows {
                guard !column.isNull[row] else {
                    lengths.append(SQLLEN(SQL_NULL_DATA))
                    continue
                }
                let start = bytes.count
                switch column.type {
                case .string where traits.cutsTextAtNUL && column.withBytes(row) { $0.contains(0) }:
                    throw refusal(row, "the driver cannot store a string with a NUL in it")
                case .string where traits.usesUTF8:
                    column.withBytes(row) { bytes.append(contentsOf: $0) }
                case .string:
                    units.removeAll(keepingCapacity: true)
                    guard column.withBytes(row, { UTF16Text.append($0, to: &units) }) else {
                        throw refusal(row, "the string is not UTF-8")
                    }
                    units.withUnsafeBytes { bytes.append(contentsOf: $0) }
                case .decimal(let precision, let scale):
                    let value = column.value(row, as: Int128.self)
                    guard (1...38).contains(precision), Decimals.fits(value, precision: precision) else {
                        throw refusal(row, "\(Decimals.text(value, scale: scale)) has more than \(precision) digits")
                    }
                    bytes.append(contentsOf: Decimals.text(value, scale: scale).utf8)
                case .date: bytes.append(contentsOf: DateText.date(column.value(row, as: DateParts.self)).utf8)
                case .timestamp(let scale):
                    let value = column.value(row, as: TimestampParts.self)
                    let text = "\(DateText.date(value.date))T\(DateText.time(value.time, scale: scale))"
                    bytes.append(contentsOf: text.utf8)
                case .time(let scale):
                    bytes.append(contentsOf: DateText.time(column.value(row, as: TimeParts.self), scale: scale).utf8)
                case .timestampOffset(let scale):
                    let value = column.value(row, as: TimestampOffsetParts.self)
                    bytes.append(contentsOf: DateText.timestampOffset(value, scale: scale).utf8)
                case .uuid:
                    bytes.append(contentsOf: column.value(row, as: GUIDParts.self).uuid.uuidString.utf8)
                default:
                    // Binary; all others are sent as they are.
                    column.withBytes(row) { bytes.append(contentsOf: $0) }
                }
                lengths.append(bytes.count - start)
                longest = max(longest, bytes.count - start)
            }
        }
    }

    /// The C and SQL types for a parameter type with a driver.
    private struct Layout {
        var cType: SQLSMALLINT
        var sqlType: SQLSMALLINT
        var columnSize: SQLULEN = 0
        var digits: SQLSMALLINT = 0
        /// The column's memory is the driver's.
        var isVerbatim = true

        init(_ type: ParameterType, _ traits: DriverTraits, datesAsText: Bool) {
            switch type {
            case .date where datesAsText, .timestamp where datesAsText:
                self.init(CODBC_C_CHAR, SQL_VARCHAR, 0, isVerbatim: false)
            case .bool: self.init(CODBC_C_BIT, SQL_BIT, 1)
            case .uint8: self.init(CODBC_C_UTINYINT, SQL_TINYINT, 3)
            case .int16: self.init(CODBC_C_SSHORT, SQL_SMALLINT, 5)
            case .int32: self.init(CODBC_C_SLONG, SQL_INTEGER, 10)
            case .int64: self.init(CODBC_C_SBIGINT, SQL_BIGINT, 19)
            case .float: self.init(CODBC_C_FLOAT, SQL_REAL, 24)
            case .double: self.init(CODBC_C_DOUBLE, SQL_DOUBLE, 53)
            case .decimal(let precision, let scale):
                self.init(CODBC_C_CHAR, SQL_NUMERIC, precision, scale, isVerbatim: false)
            case .string where traits.usesUTF8: self.init(CODBC_C_CHAR, SQL_VARCHAR, 0, isVerbatim: false)
            case .string: self.init(CODBC_C_WCHAR, SQL_WVARCHAR, 0, isVerbatim: false)
            case .binary: self.init(CODBC_C_BINARY, SQL_VARBINARY, 0, isVerbatim: false)
            case .date: self.init(CODBC_C_TYPE_DATE, SQL_TYPE_DATE, 10)
            // Lengths of the texts, which is what a column size is for these types.
            case .timestamp(let scale):
                self.init(CODBC_C_TYPE_TIMESTAMP, SQL_TYPE_TIMESTAMP, scale > 0 ? 20 + scale : 19, scale)
            case .time(let scale) where traits.takesSQLServerTimes:
                self.init(CODBC_C_BINARY, CODBC_SS_TIME2, scale > 0 ? 9 + scale : 8, scale)
            case .timestampOffset(let scale) where traits.takesSQLServerTimes:
                self.init(CODBC_C_BINARY, CODBC_SS_TIMESTAMPOFFSET, scale > 0 ? 27 + scale : 26, scale)
            case .uuid where traits.hasGUIDs: self.init(CODBC_C_GUID, SQL_GUID, 36)
            case .time, .timestampOffset, .uuid: self.init(CODBC_C_CHAR, SQL_VARCHAR, 0, isVerbatim: false)
            }
        }

        private init(_ cType: Int, _ sqlType: Int, _ size: Int, _ digits: Int = 0, isVerbatim: Bool = true) {
            self.cType = SQLSMALLINT(cType)
            self.sqlType = SQLSMALLINT(sqlType)
            self.columnSize = SQLULEN(size)
            self.digits = SQLSMALLINT(digits)
            self.isVerbatim = isVerbatim
        }

        private init(_ cType: Int, _ sqlType: Int32, _ size: Int, _ digits: Int = 0, isVerbatim: Bool = true) {
            self.init(cType, Int(sqlType), size, digits, isVerbatim: isVerbatim)
        }
    }
}

/// Dates and times as text, the way SQL writes them.
enum DateText {
    static func time(_ value: TimeParts, scale: Int) -> String {
        let clock = "\(padded(Int(value.hour), 2)):\(padded(Int(value.minute), 2)):\(padded(Int(value.second), 2))"
        guard scale > 0 else { return clock }
        return clock + "." + padded(Int(value.fraction), 9).prefix(scale)
    }

    static func date(_ value: DateParts) -> String {
        "\(padded(Int(value.year), 4))-\(padded(Int(value.month), 2))-\(padded(Int(value.day), 2))"
    }

    static func timestampOffset(_ value: TimestampOffsetParts, scale: Int) -> String {
        let date = date(value.local.date)
        let offset = value.offsetMinutes
        let zone = "\(offset < 0 ? "-" : "+")\(padded(abs(offset) / 60, 2)):\(padded(abs(offset) % 60, 2))"
        return "\(date) \(time(value.local.time, scale: scale)) \(zone)"
    }

    /// Reads `12:34:56` with up to 9 digits of fraction; nil for anything else.
    static func parseTime(_ bytes: UnsafeRawBufferPointer) -> TimeParts? {
        let parts = String(decoding: bytes, as: UTF8.self).split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 3, let hour = UInt16(parts[0]), let minute = UInt16(parts[1]), hour < 24, minute < 60
        else {
            return nil
        }
        let seconds = parts[2].split(separator: ".", omittingEmptySubsequences: false)
        guard let second = seconds.first.flatMap({ UInt16($0) }), second < 60, seconds.count <= 2 else { return nil }
        var fraction: UInt32 = 0
        if seconds.count == 2 {
            let digits = seconds[1]
            guard (1...9).contains(digits.count),
                let value = UInt32(digits + String(repeating: "0", count: 9 - digits.count))
            else { return nil }
            fraction = value
        }
        return TimeParts(hour: hour, minute: minute, second: second, fraction: fraction)
    }

    private static func padded(_ value: Int, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}
