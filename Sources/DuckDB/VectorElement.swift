/// A Swift type with the memory layout of one of DuckDB's fixed-size vector elements.
///
/// The conforming types are the ones below; conforming others is not meant.
public protocol VectorElement: BitwiseCopyable {
    static var storage: DuckDBType.Storage { get }
}

extension Bool: VectorElement {
    public static var storage: DuckDBType.Storage { .bool }
}
extension Int8: VectorElement {
    public static var storage: DuckDBType.Storage { .int8 }
}
extension Int16: VectorElement {
    public static var storage: DuckDBType.Storage { .int16 }
}
extension Int32: VectorElement {
    public static var storage: DuckDBType.Storage { .int32 }
}
extension Int64: VectorElement {
    public static var storage: DuckDBType.Storage { .int64 }
}
extension Int128: VectorElement {
    public static var storage: DuckDBType.Storage { .int128 }
}
extension UInt8: VectorElement {
    public static var storage: DuckDBType.Storage { .uint8 }
}
extension UInt16: VectorElement {
    public static var storage: DuckDBType.Storage { .uint16 }
}
extension UInt32: VectorElement {
    public static var storage: DuckDBType.Storage { .uint32 }
}
extension UInt64: VectorElement {
    public static var storage: DuckDBType.Storage { .uint64 }
}
extension UInt128: VectorElement {
    public static var storage: DuckDBType.Storage { .uint128 }
}
extension Float: VectorElement {
    public static var storage: DuckDBType.Storage { .float }
}
extension Double: VectorElement {
    public static var storage: DuckDBType.Storage { .double }
}
