import Foundation

/// The type of a parameter: how its values are kept here, and what the database is told they are.
public enum ParameterType: Hashable, Sendable {
    case bool
    /// SQL Server's `tinyint`: 0 to 255.
    case uint8
    case int16, int32, int64
    case float, double
    /// An exact decimal of `precision` digits (1 to 38), `scale` of them after the point; kept as scaled integer.
    case decimal(precision: Int, scale: Int)
    case string
    case binary
    case date
    /// `scale` digits of a second's fraction, 0 to 9; SQL Server has 7.
    case time(scale: Int)
    case timestamp(scale: Int)
    case timestampOffset(scale: Int)
    case uuid

    /// Bytes of a value in a ``ParameterColumn``; nil for variable ones.
    @usableFromInline
    var width: Int? {
        switch self {
        case .bool, .uint8: 1
        case .int16: 2
        case .int32, .float: 4
        case .int64, .double: 8
        case .decimal: 16
        case .date: MemoryLayout<DateParts>.size
        case .time: MemoryLayout<TimeParts>.size
        case .timestamp: MemoryLayout<TimestampParts>.size
        case .timestampOffset: MemoryLayout<TimestampOffsetParts>.size
        case .uuid: MemoryLayout<GUIDParts>.size
        case .string, .binary: nil
        }
    }

    /// The type that fits a single value.
    init(_ value: Value) {
        self =
            switch value {
            case .null, .string: .string
            case .typedNull(let type): type
            case .bool: .bool
            case .int(let value): Int32(exactly: value) == nil ? .int64 : .int32
            case .float: .float
            case .double: .double
            case .decimal(_, let scale): .decimal(precision: 38, scale: scale)
            case .binary: .binary
            case .date: .date
            case .time(let value): .time(scale: Self.scale(value.fraction))
            case .timestamp(let value): .timestamp(scale: Self.scale(value.fraction))
            case .timestampOffset(let value): .timestampOffset(scale: Self.scale(value.fraction))
            case .uuid: .uuid
            }
    }

    /// SQL Server's 7 digits, or 9 where nanoseconds need them.
    private static func scale(_ fraction: UInt32) -> Int {
        fraction % 100 == 0 ? 7 : 9
    }
}

/// The values of one parameter, row by row, packed.
///
/// Its memory is like that of a columnar batch: fixed-width values back to back, strings (UTF-8) and binary
/// values in one arena.
public struct ParameterColumn: Sendable {
    public let type: ParameterType
    /// Number of values, NULLs included.
    @inlinable public var count: Int { isNull.count }
    /// Bytes of a fixed-width value.
    @usableFromInline let width: Int?
    @usableFromInline var fixed: [UInt8] = []
    /// Where each variable value ends in `arena`.
    @usableFromInline var ends: [Int] = []
    @usableFromInline var arena: [UInt8] = []
    @usableFromInline var isNull: [Bool] = []

    public init(_ type: ParameterType, reserving capacity: Int = 0) {
        self.type = type
        width = type.width
        isNull.reserveCapacity(capacity)
        if let width = type.width {
            fixed.reserveCapacity(capacity * width)
        } else {
            ends.reserveCapacity(capacity)
        }
    }

    @inlinable
    public mutating func appendNull() {
        if let width {
            fixed.append(contentsOf: repeatElement(0, count: width))
        } else {
            ends.append(arena.count)
        }
        isNull.append(true)
    }

    /// Appends a value of the column's own layout: `Int32` for `.int32`, `Int128` for `.decimal`, ``DateParts``
    /// for `.date`, and so on; `UInt8` for `.bool`.
    @inlinable
    public mutating func append<Element: BitwiseCopyable>(_ value: Element) {
        precondition(MemoryLayout<Element>.size == width, "a \(Element.self) is not a value of \(type)")
        withUnsafeBytes(of: value) { fixed.append(contentsOf: $0) }
        isNull.append(false)
    }

    /// Appends values of the column's own layout that lie back to back.
    ///
    /// - Parameter isNull: whether the value at a position is NULL, whatever its bytes.
    @inlinable
    public mutating func append(fixedWidth bytes: UnsafeRawBufferPointer, isNull isNullAt: (Int) -> Bool) {
        guard let width, bytes.count % width == 0 else { preconditionFailure("these bytes are no values of \(type)") }
        fixed.append(contentsOf: bytes)
        for row in 0..<bytes.count / width { isNull.append(isNullAt(row)) }
    }

    /// Appends the bytes of a string (UTF-8) or a binary value.
    @inlinable
    public mutating func append(bytes: UnsafeRawBufferPointer) {
        precondition(width == nil, "bytes are no value of \(type)")
        arena.append(contentsOf: bytes)
        ends.append(arena.count)
        isNull.append(false)
    }

    public mutating func append(_ string: String) {
        var string = string
        string.withUTF8 { append(bytes: UnsafeRawBufferPointer($0)) }
    }

    /// Appends any value that the column's type holds without loss; false for another.
    public mutating func append(_ value: Value) -> Bool {
        switch (type, value) {
        case (_, .null), (_, .typedNull): appendNull()
        case (.bool, .bool(let value)): append(UInt8(value ? 1 : 0))
        case (.uint8, .int(let value)): return appendInteger(value, as: UInt8.self)
        case (.int16, .int(let value)): return appendInteger(value, as: Int16.self)
        case (.int32, .int(let value)): return appendInteger(value, as: Int32.self)
        case (.int64, .int(let value)): append(value)
        case (.float, .float(let value)): append(value)
        case (.double, .double(let value)): append(value)
        case (.double, .float(let value)): append(Double(value))
        case (.decimal(_, let scale), .decimal(let value, let own)):
            guard let value = Decimals.rescale(value, from: own, to: scale) else { return false }
            append(value)
        case (.decimal(_, let scale), .int(let value)):
            guard let value = Decimals.rescale(Int128(value), from: 0, to: scale) else { return false }
            append(value)
        case (.string, .string(let value)): append(value)
        case (.binary, .binary(let value)): value.withUnsafeBytes { append(bytes: $0) }
        case (.date, .date(let value)): append(value)
        case (.time, .time(let value)): append(value)
        case (.timestamp, .timestamp(let value)): append(value)
        case (.timestampOffset, .timestampOffset(let value)): append(value)
        case (.uuid, .uuid(let value)): append(GUIDParts(value))
        default: return false
        }
        return true
    }

    /// Takes back the last value.
    mutating func removeLast() {
        isNull.removeLast()
        if let width {
            fixed.removeLast(width)
        } else {
            ends.removeLast()
            arena.removeLast(arena.count - (ends.last ?? 0))
        }
    }

    private mutating func appendInteger<Element: FixedWidthInteger & BitwiseCopyable>(
        _ value: Int64, as _: Element.Type
    ) -> Bool {
        guard let value = Element(exactly: value) else { return false }
        append(value)
        return true
    }

    func value<Element: BitwiseCopyable>(_ row: Int, as _: Element.Type) -> Element {
        fixed.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: row * MemoryLayout<Element>.size, as: Element.self) }
    }

    func byteCount(_ row: Int) -> Int {
        ends[row] - (row == 0 ? 0 : ends[row - 1])
    }

    func withBytes<Result>(_ row: Int, _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        let start = row == 0 ? 0 : ends[row - 1]
        return try arena.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[start..<ends[row]])) }
    }
}

/// Rows of parameters for one statement, sent together: ODBC's bulk insert.
///
///     var rows = ParameterArray([.int64, .string], reserving: 1_000)
///     try rows.append([1, "one"])
///     try rows.append([2, "two"])
///     try connection.execute("INSERT INTO t VALUES (?, ?)", rows)
///
/// Fast code appends to ``columns`` directly.
public struct ParameterArray: Sendable {
    /// One for each `?`, in order. All must have the same count when they are sent.
    public var columns: [ParameterColumn]

    public init(_ types: [ParameterType], reserving rows: Int = 0) {
        columns = types.map { ParameterColumn($0, reserving: rows) }
    }

    /// Number of rows.
    public var count: Int { columns.first?.count ?? 0 }

    /// Appends a row.
    ///
    /// - Throws: ``ODBCError/parameter(sql:parameter:message:)`` when a value is none of its column's type.
    public mutating func append(_ row: [Value]) throws {
        guard row.count == columns.count else {
            throw ODBCError.parameter(
                sql: "", parameter: row.count, message: "the row has \(row.count) values for \(columns.count) columns")
        }
        for (index, value) in row.enumerated() where !columns[index].append(value) {
            for done in 0..<index { columns[done].removeLast() }
            throw ODBCError.parameter(
                sql: "", parameter: index + 1, message: "\(value) is not a value of \(columns[index].type)")
        }
    }

    /// One row of single values, each of the type that fits it.
    init(_ values: [Value], sql: String) throws {
        columns = values.map { ParameterColumn(ParameterType($0)) }
        for (index, value) in values.enumerated() where !columns[index].append(value) {
            throw ODBCError.parameter(sql: sql, parameter: index + 1, message: "\(value) cannot be sent")
        }
    }
}
