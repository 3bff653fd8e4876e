import Foundation
import SQLServer
import Testing

/// Runs always: a variable nobody can read would have every suite that needs a server skipped.
@Suite("The variables that name T-SQL servers")
struct TestServerVariableTests {
    @Test("each of them is empty, or says which server", arguments: TestServer.variables)
    func readable(variable: String) throws {
        _ = try TestServer.dsn(variable, in: ProcessInfo.processInfo.environment)
    }

    @Test(
        "one that cannot be read is named, and its value is not",
        arguments: [
            "sqlserver://sa:s3cret@", "s3cret", "sqlite:s3cret", "sqlserver://sa:s3cret@::1", "Driver=x;s3cret",
        ])
    func unreadable(value: String) throws {
        let error = #expect(throws: DSNError.self) { try TestServer.dsn("A_VARIABLE", in: ["A_VARIABLE": value]) }
        let words = try #require(error).description
        #expect(words.hasPrefix("A_VARIABLE ") && !words.contains("s3cret"))
    }

    @Test("one that is not set, or empty, names no server")
    func unset() throws {
        #expect(try TestServer.dsn("A_VARIABLE", in: [:]) == nil)
        #expect(try TestServer.dsn("A_VARIABLE", in: ["A_VARIABLE": ""]) == nil)
        #expect(try TestServer.dsn("A_VARIABLE", in: ["A_VARIABLE": "sqlserver://sa:x@db"]) != nil)
    }
}
