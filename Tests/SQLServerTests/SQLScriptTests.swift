import Foundation
import Testing

@testable import SQLServer

@Suite("A T-SQL script") struct SQLScriptTests {
    private func batches(_ text: String, _ variables: [String: String] = [:]) throws -> [String] {
        try SQLScript(text, variables: variables).batches.map(\.sql)
    }

    private func failure(_ text: String, _ variables: [String: String] = [:]) -> SQLScriptError? {
        do {
            _ = try SQLScript(text, variables: variables)
            return nil
        } catch {
            return error
        }
    }

    // MARK: GO

    @Test("is split at GO lines in any case, with blanks around, and at any line end")
    func splits() throws {
        #expect(
            try batches("SELECT 1;\nGO\nSELECT 2;\n  go \t\nSELECT 3;") == ["SELECT 1;\n", "SELECT 2;\n", "SELECT 3;"])
        #expect(try batches("SELECT 1;\r\nGO\r\nSELECT 2;\r\nGo\r\n") == ["SELECT 1;\r\n", "SELECT 2;\r\n"])
        #expect(try batches("SELECT 1;\rGO\rSELECT 2;") == ["SELECT 1;\r", "SELECT 2;"])
        #expect(try batches("GO\nGO\n\n  \nGO\n") == [])
        #expect(try batches("") == [])
        #expect(try batches("\u{FEFF}GO\nSELECT 1") == ["SELECT 1"])
    }

    @Test("may have a count and a comment after GO")
    func countsAndComments() throws {
        let text = "A\nGO 3\nB\nGO -- done\nC\nGO 2 /* twice */\nD\nGO--x\nE\nGO 0\n"
        let script = try SQLScript(text)
        #expect(script.batches.map(\.sql) == ["A\n", "B\n", "C\n", "D\n", "E\n"])
        #expect(script.batches.map(\.count) == [3, 1, 2, 1, 0])
    }

    @Test("keeps what only looks like GO")
    func notGO() throws {
        for text in [
            "GOTO done", "GO_ON", "SELECT 1 GO", "x GO\n", "GO.x", "/*\nGO\n*/ SELECT 1", "SELECT '\nGO\n'",
            "SELECT N'it''s\nGO\n'", "SELECT [a]]\nGO\n]", "SELECT \"\nGO\n\"", "/* /* */\nGO\n*/ SELECT 1",
        ] {
            #expect(try batches(text) == [text])
        }
    }

    @Test("is split after a comment that has a quote or a bracket in it")
    func quotesInComments() throws {
        #expect(
            try batches("-- it's [\nGO\nSELECT 1 /* don't \" */\nGO\n") == ["-- it's [\n", "SELECT 1 /* don't \" */\n"])
        #expect(try batches("SELECT '-- /*'\nGO\nSELECT 2") == ["SELECT '-- /*'\n", "SELECT 2"])
    }

    @Test("knows the line each batch begins at", arguments: ["\n", "\r\n", "\r"])
    func lines(end: String) throws {
        let text = ["-- one", "SELECT '", "';", "GO", "", "SELECT 2", "GO 2", "GO", "SELECT 3"].joined(separator: end)
        let script = try SQLScript(text)
        #expect(script.batches.map(\.firstLine) == [1, 5, 9])
    }

    @Test("is refused when GO is followed by something else")
    func badCount() {
        for text in ["GO x", "GO 3x", "GO -1", "GO SELECT 1", "GO 2147483648", "GO /* a */ b"] {
            #expect(failure("SELECT 1\n\(text)\n") == SQLScriptError(reason: .badCount, line: 2), "\(text)")
        }
    }

    @Test("is refused when a string, a name or a comment does not end, with the line it begins at")
    func unterminated() {
        #expect(failure("SELECT 1\nSELECT 'x\nGO\n") == SQLScriptError(reason: .unterminated("string"), line: 2))
        #expect(failure("SELECT [x\n") == SQLScriptError(reason: .unterminated("quoted name"), line: 1))
        #expect(failure("\n\nSELECT \"x\n") == SQLScriptError(reason: .unterminated("quoted name"), line: 3))
        #expect(failure("/* /* */\n") == SQLScriptError(reason: .unterminated("comment"), line: 1))
        #expect(failure("GO /* x\n") == SQLScriptError(reason: .unterminated("comment"), line: 1))
        #expect(failure("-- x") == nil)
    }

    // MARK: Variables

    @Test("gets values for its variables, whatever the case of the name")
    func substitutes() throws {
        #expect(
            try batches("USE [$(DATABASE)]; SELECT $(Rows)", ["Database": "shop", "ROWS": "5"]) == [
                "USE [shop]; SELECT 5"
            ])
        #expect(try batches("N'$(A)$(A)' N'x$(B)y'", ["A": "1", "B": ""]) == ["N'11' N'xy'"])
    }

    @Test("cannot be broken out of by a value")
    func escapes() throws {
        let hostile = "'; DROP TABLE x; --\" ]]"
        #expect(try batches("N'$(V)'", ["V": hostile]) == ["N'''; DROP TABLE x; --\" ]]'"])
        #expect(try batches("[$(V)]", ["V": hostile]) == ["['; DROP TABLE x; --\" ]]]]]"])
        #expect(try batches("\"$(V)\"", ["V": hostile]) == ["\"'; DROP TABLE x; --\"\" ]]\""])
        #expect(try batches("N'$(V)' + N'b'", ["V": "a'"]) == ["N'a''' + N'b'"])
        #expect(try batches("N'$(V)'\nGO\nB", ["V": "\nGO\n"]) == ["N'\nGO\n'\n", "B"])
        #expect(try batches("N'$(V)'", ["V": "$(W)"]) == ["N'$(W)'"])
    }

    @Test("takes only numbers and plain names outside of quotes")
    func unquoted() throws {
        #expect(try batches("SELECT $(V)", ["V": "x_1"]) == ["SELECT x_1"])
        for value in ["", "1; DROP", "a b", "-1", "é", "a'"] {
            #expect(
                failure("SELECT 1,\n$(V)", ["V": value]) == SQLScriptError(reason: .unquotedValue(name: "V"), line: 2),
                "\(value)")
        }
    }

    @Test("leaves references in comments and what is none alone")
    func leavesAlone() throws {
        for text in [
            "-- $(NONE)", "/* $(NONE) */ SELECT 1", "SELECT $(", "SELECT $()", "SELECT $(A B)", "$1 $", "N'$(A-B)'",
        ] {
            #expect(try batches(text) == [text])
        }
    }

    @Test("is refused when a variable has no value, with its line")
    func missingValue() {
        let error = failure("SELECT 1\nGO\nSELECT N'$(Password)'", ["OTHER": "x"])
        #expect(error == SQLScriptError(reason: .missingValue(name: "Password"), line: 3))
        #expect(error?.description == "line 3: $(Password) has no value")
    }

    @Test("never shows a value in an error")
    func secretsStayOut() {
        for secret in ["s3cret value", "s3cret\0"] {
            for text in ["SELECT $(PASSWORD)", "SELECT N'$(PASSWORD)"] {
                let error = failure(text, ["PASSWORD": secret])
                #expect(error != nil)
                #expect(!String(reflecting: error).contains("s3cret"))
                #expect(error?.description.contains("s3cret") == false)
            }
        }
    }

    // MARK: The repository's scripts

    private static let repository = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    private static func scripts() throws -> [URL] {
        try ["sql/source", "sql/serving"].flatMap { folder in
            try FileManager.default.contentsOfDirectory(
                at: repository.appending(path: folder), includingPropertiesForKeys: nil)
        }.filter { $0.pathExtension == "sql" }
    }

    @Test("of the repository needs no other variables than bootstrap has, and none outside of strings")
    func shippedScripts() throws {
        let scripts = try Self.scripts()
        #expect(scripts.count >= 7)
        let variables = [
            "DATABASE": "sh]op's", "CAPTURE_POLLING_SECONDS": "1 '", "PIPELINE_LOGIN": "a'b",
            "PIPELINE_PASSWORD": "a'b",
        ]
        for script in scripts {
            let text = try String(contentsOf: script, encoding: .utf8)
            let parsed = try SQLScript(text, variables: variables)
            #expect(!parsed.batches.isEmpty, "\(script.lastPathComponent)")
            #expect(parsed.batches.allSatisfy { !$0.sql.contains("$(") }, "\(script.lastPathComponent)")
        }
    }
}
