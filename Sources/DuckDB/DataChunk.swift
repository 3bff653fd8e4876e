internal import CDuckDB

/// Up to ``capacity`` rows, stored column by column in DuckDB's memory.
///
/// A chunk made with ``init(_:)`` is written and then appended; one from a result is read only.
/// Rows and columns are counted from 0, and one out of bounds is a programming error that traps.
public final class DataChunk {
    /// The rows a chunk can hold: DuckDB's vector size, 2048 unless DuckDB was built otherwise.
    public static let capacity = Int(duckdb_vector_size())

    public let types: [DuckDBType]
    /// Whether the chunk was made for writing.
    public let isWritable: Bool

    private(set) var handle: duckdb_data_chunk?
    /// Each column's vector. Owned by the chunk.
    let vectors: [duckdb_vector]

    /// Makes an empty chunk for writing.
    public init(_ types: [DuckDBType]) {
        precondition(!types.isEmpty, "a chunk has at least one column")
        let logicalTypes = types.map { LogicalType($0) }
        var handles = logicalTypes.map(\.handle)
        handle = duckdb_create_data_chunk(&handles, idx_t(handles.count))
        vectors = types.indices.map { [handle] in duckdb_data_chunk_get_vector(handle, idx_t($0)) }
        self.types = types
        isWritable = true
        withExtendedLifetime(logicalTypes) {}
    }

    /// Takes over a chunk that DuckDB filled.
    init(owning handle: duckdb_data_chunk, types: [DuckDBType]) {
        self.handle = handle
        vectors = types.indices.map { duckdb_data_chunk_get_vector(handle, idx_t($0)) }
        self.types = types
        isWritable = false
    }

    deinit {
        duckdb_destroy_data_chunk(&handle)
    }

    /// How many rows the chunk holds. Set it when, or before, the rows are written.
    public var count: Int {
        get { Int(duckdb_data_chunk_get_size(handle)) }
        set {
            precondition(isWritable, "a chunk of a result is read only")
            precondition((0...Self.capacity).contains(newValue), "a chunk holds at most \(Self.capacity) rows")
            duckdb_data_chunk_set_size(handle, idx_t(newValue))
        }
    }

    /// Empties the chunk for other rows: count 0, no NULL, no string.
    public func reset() {
        precondition(isWritable, "a chunk of a result is read only")
        duckdb_data_chunk_reset(handle)
    }

    /// The memory of a column's elements.
    func elements(_ column: Int) -> UnsafeMutableRawPointer {
        duckdb_vector_get_data(vectors[column])
    }

    /// Throws unless the column's elements are stored as `Element`.
    func check<Element: VectorElement>(_ element: Element.Type, column: Int) throws {
        guard types[column].storage == Element.storage else {
            throw DuckDBError.typeMismatch(column: column, type: types[column], requested: "\(Element.self)")
        }
    }

    func checkBytes(column: Int) throws {
        guard types[column].storage == .bytes else {
            throw DuckDBError.typeMismatch(column: column, type: types[column], requested: "bytes")
        }
    }
}
