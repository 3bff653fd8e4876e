public import Testing
public import Tidemark

/// One sentence a port promises, and the check of it. The test target of an implementation runs them all:
///
///     @Test("SQLite keeps the contract of a change source", arguments: ChangeSourceContract.clauses)
///     func contract(clause: ContractClause<any SourceFixture>) async throws {
///         try await clause.check(MyFixture())
///     }
public struct ContractClause<Fixture: Sendable>: Sendable, CustomTestStringConvertible {
    public let sentence: String
    public let check: @Sendable (Fixture) async throws -> Void

    init(_ sentence: String, _ check: @escaping @Sendable (Fixture) async throws -> Void) {
        self.sentence = sentence
        self.check = check
    }

    public var testDescription: String { sentence }
}

/// A change with its values as text, to compare and to read in a failure.
public struct ReadableChange: Equatable, Sendable, CustomStringConvertible {
    public var lsn: LSN
    public var operation: UInt8
    /// One for each captured column; `nil` for NULL.
    public var values: [String?]

    public var description: String {
        "\(operation)(" + values.map { $0 ?? "NULL" }.joined(separator: ", ") + ")"
    }
}

extension ChangeBatch {
    public var readable: [ReadableChange] {
        (0..<count).map { row in
            ReadableChange(
                lsn: lsns[row], operation: operations[row], values: columns.map { $0.readable(row) })
        }
    }
}

extension RowBatch {
    public var readable: [[String?]] {
        (0..<count).map { row in columns.map { $0.readable(row) } }
    }
}

extension ColumnVector {
    /// The value as text, `nil` for NULL: integers for dates and times, hexadecimal digits for binary.
    public func readable(_ row: Int) -> String? {
        guard !isNull(row) else { return nil }
        return switch type {
        case .bool, .uint8: "\(value(row, as: UInt8.self))"
        case .int16: "\(value(row, as: Int16.self))"
        case .int32, .date: "\(value(row, as: Int32.self))"
        case .int64, .time: "\(value(row, as: Int64.self))"
        case .timestamp, .timestampTZ: Timestamp(microseconds: value(row)).description
        case .float: "\(value(row, as: Float.self))"
        case .double: "\(value(row, as: Double.self))"
        case .decimal(_, let scale): DecimalText.string(scaled(row), scale: scale)
        case .string: string(row)
        case .binary: withBytes(row) { $0.map { String($0, radix: 16) }.joined(separator: " ") }
        case .uuid: "\(value(row, as: Int128.self))"
        }
    }
}

extension BlockReader {
    /// All blocks that are left.
    public func blocks() throws -> [Block] {
        var blocks: [Block] = []
        while let block = try next() { blocks.append(block) }
        return blocks
    }
}

/// Hands out blocks from memory, then ends or fails.
public final class ListReader<Block: Sendable>: BlockReader, @unchecked Sendable {
    private var blocks: ArraySlice<Block>
    private let failure: (any Error)?

    public init(_ blocks: [Block], failure: (any Error)? = nil) {
        self.blocks = blocks[...]
        self.failure = failure
    }

    public func next() throws -> Block? {
        if let block = blocks.popFirst() { return block }
        if let failure { throw failure }
        return nil
    }
}
