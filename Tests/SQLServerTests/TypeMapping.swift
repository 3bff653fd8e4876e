import Testing
import Tidemark

@testable import SQLServer

/// A type as `sys.columns` describes it, and what becomes of it on the way to the serving database.
struct TypeMapping: Sendable, CustomTestStringConvertible {
    let type: SQLServerType
    /// As T-SQL writes it.
    let declared: String
    let logical: LogicalType
    /// As `Column.maxLength`.
    let maxLength: Int?
    /// What selects the column `[c]`.
    let selected: String
    /// How the serving database declares it.
    let served: String

    var testDescription: String { declared }

    init(
        _ type: SQLServerType, _ declared: String, _ logical: LogicalType, maxLength: Int? = nil,
        selected: String = "[c]", served: String? = nil
    ) {
        self.type = type
        self.declared = declared
        self.logical = logical
        self.maxLength = maxLength
        self.selected = selected
        self.served = served ?? declared
    }

    /// Types without a length, a precision or a scale of the column's own; the catalog gives them fixed ones.
    private static let fixed = [
        TypeMapping(SQLServerType(name: "bit", maxLength: 1, precision: 1), "bit", .bool),
        TypeMapping(SQLServerType(name: "tinyint", maxLength: 1, precision: 3), "tinyint", .uint8),
        TypeMapping(SQLServerType(name: "smallint", maxLength: 2, precision: 5), "smallint", .int16),
        TypeMapping(SQLServerType(name: "int", maxLength: 4, precision: 10), "int", .int32),
        TypeMapping(SQLServerType(name: "bigint", maxLength: 8, precision: 19), "bigint", .int64),
        TypeMapping(
            SQLServerType(name: "money", maxLength: 8, precision: 19, scale: 4), "money",
            .decimal(precision: 19, scale: 4), selected: "CAST([c] AS decimal(19, 4))", served: "decimal(19,4)"),
        TypeMapping(
            SQLServerType(name: "smallmoney", maxLength: 4, precision: 10, scale: 4), "smallmoney",
            .decimal(precision: 10, scale: 4), selected: "CAST([c] AS decimal(10, 4))", served: "decimal(10,4)"),
        // float(1) to float(24) are real in the catalog, float(25) to float(53) are float.
        TypeMapping(SQLServerType(name: "real", maxLength: 4, precision: 24), "real", .float),
        TypeMapping(SQLServerType(name: "float", maxLength: 8, precision: 53), "float", .double),
        TypeMapping(SQLServerType(name: "date", maxLength: 3, precision: 10), "date", .date),
        TypeMapping(
            SQLServerType(name: "datetime", maxLength: 8, precision: 23, scale: 3), "datetime", .timestamp,
            selected: "CAST([c] AS datetime2(3))", served: "datetime2(6)"),
        TypeMapping(
            SQLServerType(name: "smalldatetime", maxLength: 4, precision: 16), "smalldatetime", .timestamp,
            selected: "CAST([c] AS datetime2(0))", served: "datetime2(6)"),
        TypeMapping(SQLServerType(name: "uniqueidentifier", maxLength: 16), "uniqueidentifier", .uuid),
        TypeMapping(
            SQLServerType(name: "timestamp", maxLength: 8), "timestamp", .binary, maxLength: 8,
            selected: "CAST([c] AS binary(8))", served: "varbinary(8)"),
        TypeMapping(
            SQLServerType(name: "rowversion", maxLength: 8), "rowversion", .binary, maxLength: 8,
            selected: "CAST([c] AS binary(8))", served: "varbinary(8)"),
        TypeMapping(
            SQLServerType(name: "image", maxLength: 16), "image", .binary, selected: "CAST([c] AS varbinary(max))",
            served: "varbinary(max)"),
    ]

    /// The first and the last precision, and scales at their limits.
    private static let decimals = [(1, 0), (1, 1), (9, 4), (18, 2), (19, 0), (38, 0), (38, 19), (38, 38)].flatMap {
        precision, scale in
        ["decimal", "numeric"].map { name in
            TypeMapping(
                SQLServerType(name: name, precision: precision, scale: scale), "\(name)(\(precision),\(scale))",
                .decimal(precision: precision, scale: scale), served: "decimal(\(precision),\(scale))")
        }
    }

    private static let times = (0...6).flatMap { scale in
        [
            TypeMapping(SQLServerType(name: "time", scale: scale), "time(\(scale))", .time, served: "time(6)"),
            TypeMapping(
                SQLServerType(name: "datetime2", scale: scale), "datetime2(\(scale))", .timestamp,
                served: "datetime2(6)"),
            TypeMapping(
                SQLServerType(name: "datetimeoffset", scale: scale), "datetimeoffset(\(scale))", .timestampTZ,
                served: "datetimeoffset(6)"),
        ]
    }

    private static let sevenDigits = [
        TypeMapping(
            SQLServerType(name: "time", scale: 7), "time(7)", .string, maxLength: 16,
            selected: "CONVERT(nvarchar(16), [c])", served: "nvarchar(16)"),
        TypeMapping(
            SQLServerType(name: "datetime2", scale: 7), "datetime2(7)", .string, maxLength: 27,
            selected: "CONVERT(nvarchar(27), [c], 121)", served: "nvarchar(27)"),
        TypeMapping(
            SQLServerType(name: "datetimeoffset", scale: 7), "datetimeoffset(7)", .string, maxLength: 34,
            selected: "CONVERT(nvarchar(34), [c], 121)", served: "nvarchar(34)"),
    ]

    /// Text of a code page has a byte or two for a character, and as many UTF-16 units as bytes at most.
    private static let codePages = ["char", "varchar"].flatMap { name in
        [1, 10, 4_000].map { length in
            TypeMapping(
                SQLServerType(name: name, maxLength: length), "\(name)(\(length))", .string, maxLength: length,
                selected: "CAST([c] AS nvarchar(\(length)))", served: "nvarchar(\(length))")
        }
            + [4_001, 8_000].map { length in
                TypeMapping(
                    SQLServerType(name: name, maxLength: length), "\(name)(\(length))", .string,
                    selected: "CAST([c] AS nvarchar(max))", served: "nvarchar(max)")
            }
    }

    private static let utf16 = [1, 10, 4_000].flatMap { length in
        [
            TypeMapping(
                SQLServerType(name: "nchar", maxLength: 2 * length), "nchar(\(length))", .string, maxLength: length,
                selected: "CAST([c] AS nvarchar(\(length)))", served: "nvarchar(\(length))"),
            TypeMapping(
                SQLServerType(name: "nvarchar", maxLength: 2 * length), "nvarchar(\(length))", .string,
                maxLength: length),
        ]
    }

    private static let unbounded =
        ["varchar(max)": -1, "nvarchar(max)": -1, "text": 16, "ntext": 16, "xml": -1, "json": -1].map {
            declared, length in
            TypeMapping(
                SQLServerType(name: declared.replacing("(max)", with: ""), maxLength: length), declared, .string,
                selected: "CAST([c] AS nvarchar(max))", served: "nvarchar(max)")
        }

    private static let bytes =
        [1, 16, 8_000].flatMap { length in
            ["binary", "varbinary"].map { name in
                TypeMapping(
                    SQLServerType(name: name, maxLength: length), "\(name)(\(length))", .binary, maxLength: length,
                    served: "varbinary(\(length))")
            }
        } + [TypeMapping(SQLServerType(name: "varbinary", maxLength: -1), "varbinary(max)", .binary)]

    static let all =
        fixed + decimals + times + sevenDigits + codePages + utf16 + unbounded.sorted { $0.declared < $1.declared }
        + bytes
}
