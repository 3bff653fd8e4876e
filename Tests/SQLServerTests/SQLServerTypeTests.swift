import Testing
import Tidemark

@testable import SQLServer

@Suite("Types of SQL Server")
struct SQLServerTypeTests {
    /// Every system type, as `sys.types` of SQL Server 2025 has them, and `rowversion`, as T-SQL calls `timestamp`.
    ///
    /// https://learn.microsoft.com/sql/t-sql/data-types/data-types-transact-sql
    private static let systemTypes = [
        "bigint", "binary", "bit", "char", "date", "datetime", "datetime2", "datetimeoffset", "decimal", "float",
        "geography", "geometry", "hierarchyid", "image", "int", "json", "money", "nchar", "ntext", "numeric",
        "nvarchar",
        "real", "rowversion", "smalldatetime", "smallint", "smallmoney", "sql_variant", "text", "time", "timestamp",
        "tinyint", "uniqueidentifier", "varbinary", "varchar", "vector", "xml",
    ]

    @Test("a column travels as a type that keeps its values, and is served as one", arguments: TypeMapping.all)
    func mapping(expected: TypeMapping) throws {
        #expect(expected.type.description == expected.declared)
        let mapping = try #require(expected.type.mapping)
        #expect(mapping.type == expected.logical)
        #expect(mapping.maxLength == expected.maxLength)
        #expect(mapping.expression("[c]") == expected.selected)
        #expect(mapping.type.declaration(maxLength: mapping.maxLength) == expected.served)
        let served = SQLServerType(mapping.type, maxLength: mapping.maxLength)
        let column = Column(name: "c", type: mapping.type, maxLength: mapping.maxLength)
        #expect(served.keeps(column, isLengthOpen: false))
        // What was served travels on as the same type.
        #expect(served.mapping?.type == mapping.type && served.mapping?.maxLength == mapping.maxLength)
    }

    @Test("every system type is mapped, or cannot be carried", arguments: systemTypes)
    func complete(name: String) {
        let isMapped = TypeMapping.all.contains { $0.type.name == name }
        #expect((SQLServerType(name: name, maxLength: 8, precision: 9).mapping != nil) == isMapped)
        #expect((SQLServerType(name: name.uppercased(), maxLength: 8, precision: 9).mapping != nil) == isMapped)
    }

    @Test(
        "types of the common language runtime and of somebody's own have no mapping", arguments: ["", "point", "table"])
    func unknown(name: String) {
        #expect(SQLServerType(name: name).mapping == nil)
    }

    @Test("lengths no column of SQL Server can have are served as (max), and one of nothing as one")
    func unboundedLengths() {
        #expect(LogicalType.string.declaration(maxLength: nil) == "nvarchar(max)")
        #expect(LogicalType.string.declaration(maxLength: 4_001) == "nvarchar(max)")
        #expect(LogicalType.string.declaration(maxLength: 0) == "nvarchar(1)")
        #expect(LogicalType.binary.declaration(maxLength: nil) == "varbinary(max)")
        #expect(LogicalType.binary.declaration(maxLength: 8_001) == "varbinary(max)")
    }

    // MARK: docs/sql-server-types.md

    @Test("the document names every type that is mapped, and every other one as refused")
    func documented() throws {
        let document = try TypeDocument()
        func names(_ types: [String]) -> Set<String> { Set(types.map { String($0.prefix { $0 != "(" }) }) }
        let mapped = Set(TypeMapping.all.map(\.type.name))
        #expect(names(document.mapped.flatMap(\.sources)) == mapped)
        #expect(names(document.refused) == Set(Self.systemTypes).subtracting(mapped))
    }

    @Test("the document says of each type what becomes of it")
    func documentedMappings() throws {
        let document = try TypeDocument()
        for row in document.mapped {
            for (index, source) in row.sources.enumerated() {
                // A column of the type as the document declares it, with letters for its numbers.
                let sample = try #require(
                    TypeMapping.all.first { Self.pattern($0, like: source) == source }, "\(source)")
                let query = row.queries.count == 1 ? row.queries[0] : row.queries[index]
                #expect(query == Self.pattern(sample.logical.description, of: sample, like: query), "\(source)")
                let served = row.served.count == 1 ? row.served[0] : row.served[index]
                #expect(served == Self.pattern(sample.served, of: sample, like: served), "\(source)")
            }
        }
    }

    private static func pattern(_ sample: TypeMapping, like text: String) -> String {
        pattern(sample.declared, of: sample, like: text)
    }

    /// A declaration with the letters of the document in place of the sample's numbers.
    private static func pattern(_ declared: String, of sample: TypeMapping, like text: String) -> String {
        if text.contains("(p,s)") {
            return declared.replacing("(\(sample.type.precision),\(sample.type.scale))", with: "(p,s)")
        }
        guard text.contains("(n)"), let length = sample.maxLength else { return declared }
        return declared.replacing("(\(length))", with: "(n)")
    }
}
