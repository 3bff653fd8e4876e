import Testing
import Tidemark

@testable import SQLServer

@Suite("Types of SQL Server")
struct SQLServerTypeTests {
    @Test(
        "types the pipeline cannot carry have no mapping",
        arguments: ["sql_variant", "geometry", "hierarchyid", "vector"])
    func unsupported(name: String) {
        #expect(SQLServerType(name: name).mapping == nil)
    }

    @Test("text is asked for in UTF-16, with the length the column declares")
    func text() throws {
        let varchar = try #require(SQLServerType(name: "varchar", maxLength: 20).mapping)
        #expect(varchar.type == .string && varchar.maxLength == 20)
        #expect(varchar.expression("[c]") == "CAST([c] AS nvarchar(20))")
        let long = try #require(SQLServerType(name: "varchar", maxLength: 8_000).mapping)
        #expect(long.maxLength == nil && long.expression("[c]") == "CAST([c] AS nvarchar(max))")
        let nvarchar = try #require(SQLServerType(name: "nvarchar", maxLength: 8_000).mapping)
        #expect(nvarchar.maxLength == 4_000 && nvarchar.expression("[c]") == "[c]")
    }

    @Test("a fraction of seven digits travels as text, a shorter one as a time")
    func sevenDigits() throws {
        #expect(SQLServerType(name: "datetime2", scale: 6).mapping?.type == .timestamp)
        let exact = try #require(SQLServerType(name: "datetime2", scale: 7).mapping)
        #expect(exact.type == .string && exact.expression("[c]") == "CONVERT(nvarchar(27), [c], 121)")
        #expect(SQLServerType(name: "datetimeoffset", scale: 7).mapping?.type == .string)
        #expect(SQLServerType(name: "time", scale: 7).mapping?.type == .string)
    }
}
