package import Tidemark

/// Declared column types of SQLite, and the types values have in the pipeline.
///
/// SQLite keeps the declared type as text and only derives an affinity from it. `DECIMAL(18,2)` has NUMERIC
/// affinity, which turns '9999999999999999.99' into a floating-point number; `DECIMAL_TEXT(18,2)` has TEXT
/// affinity and keeps it (<https://www.sqlite.org/datatype3.html#determination_of_column_affinity>). That is
/// why decimals are declared so wherever this package creates a table.
package enum SQLiteType {
    /// The type of a column declared as `declaration`; `nil` when it has no type, or one that is not known.
    package static func logicalType(declared declaration: String) -> LogicalType? {
        guard let (name, arguments) = split(declaration) else { return nil }
        switch name {
        case "INTEGER", "INT", "BIGINT": return .int64
        case "TINYINT": return .uint8
        case "SMALLINT": return .int16
        case "MEDIUMINT": return .int32
        case "BOOL", "BOOLEAN", "BIT": return .bool
        case "REAL", "DOUBLE", "DOUBLE PRECISION", "FLOAT": return .double
        case "FLOAT4": return .float
        case "DECIMAL", "NUMERIC", "DECIMAL_TEXT":
            let precision = arguments.first ?? 18
            let scale = arguments.count > 1 ? arguments[1] : 0
            guard arguments.count <= 2, (1...38).contains(precision), (0...precision).contains(scale) else {
                return nil
            }
            return .decimal(precision: precision, scale: scale)
        // SQLite's affinity turns JSON that is nothing but a number into a number; its text is still that JSON.
        case "JSON": return .string
        case "CHAR", "CHARACTER", "NCHAR", "VARCHAR", "NVARCHAR", "TEXT", "NTEXT", "CLOB": return .string
        case "BLOB", "BINARY", "VARBINARY": return .binary
        case "DATE": return .date
        case "TIME": return .time
        case "DATETIME", "DATETIME2", "TIMESTAMP": return .timestamp
        case "DATETIMEOFFSET", "TIMESTAMPTZ": return .timestampTZ
        case "UUID", "UNIQUEIDENTIFIER": return .uuid
        default: return nil
        }
    }

    /// Whether columns declared so keep the same values, in the same form, as the same type.
    static func keepsAlike(_ one: String, _ other: String) -> Bool {
        logicalType(declared: one) == logicalType(declared: other) && affinity(of: one) == affinity(of: other)
    }

    private enum Affinity {
        case integer, text, blob, real, numeric
    }

    /// The rules of <https://www.sqlite.org/datatype3.html#determination_of_column_affinity>, in their order.
    private static func affinity(of declaration: String) -> Affinity {
        let type = declaration.uppercased()
        func has(_ words: String...) -> Bool { words.contains { type.contains($0) } }
        if has("INT") { return .integer }
        if has("CHAR", "CLOB", "TEXT") { return .text }
        if has("BLOB") || type.isEmpty { return .blob }
        return has("REAL", "FLOA", "DOUB") ? .real : .numeric
    }

    /// The declaration under which SQLite keeps every value of `type` unchanged.
    package static func declaration(of type: LogicalType) -> String {
        switch type {
        case .bool: "BOOLEAN"
        case .uint8: "TINYINT"
        case .int16: "SMALLINT"
        case .int32: "MEDIUMINT"
        case .int64: "BIGINT"
        case .float: "FLOAT4"
        case .double: "REAL"
        case .decimal(let precision, let scale): "DECIMAL_TEXT(\(precision),\(scale))"
        case .string: "TEXT"
        case .binary: "BLOB"
        case .date: "DATE"
        case .time: "TIME"
        case .timestamp: "DATETIME"
        case .timestampTZ: "DATETIMEOFFSET"
        case .uuid: "UUID"
        }
    }

    /// Splits `NAME(1, 2)`; `nil` when it has another form.
    private static func split(_ declaration: String) -> (name: String, arguments: [Int])? {
        let parts = declaration.uppercased().split(separator: "(", maxSplits: 1, omittingEmptySubsequences: false)
        let words = parts[0].split(whereSeparator: \.isWhitespace)
        guard !words.isEmpty else { return nil }
        let name = words.joined(separator: " ")
        guard parts.count == 2 else { return (name, []) }
        let tail = parts[1].split(whereSeparator: \.isWhitespace).joined()
        guard tail.hasSuffix(")") else { return nil }
        var arguments: [Int] = []
        for argument in tail.dropLast().split(separator: ",", omittingEmptySubsequences: false) {
            guard let number = Int(argument) else { return nil }
            arguments.append(number)
        }
        return (name, arguments)
    }
}
