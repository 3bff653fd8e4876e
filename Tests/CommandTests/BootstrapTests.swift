import Foundation
import TestSupport
import Testing

extension Commands {
    @Suite("tidemark bootstrap")
    struct BootstrapTests {
        let place: Workplace

        init() throws { place = try Workplace() }

        @Test("makes folders, databases and tables, says what it did, and changes nothing when repeated")
        func twice() async throws {
            let first = try await place.run("bootstrap")
            #expect(first.end == .exit(0))
            #expect(
                first.lines == [
                    "source: applied sql/sqlite/source/001_tables.sql",
                    "source: enabled change data capture, capture instance dbo_customers",
                    "source: enabled change data capture, capture instance dbo_orders",
                    "source: enabled change data capture, capture instance dbo_payments",
                    "source: changes are captured of customers, orders, payments",
                    "serving: control and staging tables are in place",
                ])
            let schema = "SELECT group_concat(name || sql) FROM sqlite_schema"
            let before = try (place.sourceValue(schema), place.servingValue(schema))
            let second = try await place.run("bootstrap")
            #expect(second.end == .exit(0))
            #expect(second.lines == Array(first.lines.suffix(2)))
            #expect(try (place.sourceValue(schema), place.servingValue(schema)) == before)
        }

        @Test("control tables of another version are refused by name, with the remedy, and migrated")
        func otherVersion() async throws {
            #expect(try await place.run("bootstrap").end == .exit(0))
            try place.serving("DELETE FROM ctl_schema WHERE version > 2")
            for command in ["run", "status", "verify"] {
                let outcome = try await place.run(command)
                #expect(outcome.end == .exit(69))
                #expect(outcome.errors.contains("are of version 2, and this tidemark works with version"))
                #expect(outcome.errors.contains("run tidemark bootstrap"))
            }
            #expect(try await place.run("bootstrap").end == .exit(0))
            #expect(try await place.run("status").end == .exit(0))
            try place.serving("INSERT INTO ctl_schema VALUES (99, '2030-01-01')")
            for command in ["bootstrap", "run"] {
                let outcome = try await place.run(command)
                #expect(outcome.end == .exit(69))
                #expect(outcome.errors.contains("are of version 99"))
            }
        }

        @Test("takes the source's own tables as they are, rows included, and brings no sample tables")
        func ownTables() async throws {
            try FileManager.default.createDirectory(atPath: place.file("data"), withIntermediateDirectories: true)
            try place.source(
                "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO things VALUES (1, 'one')")
            let outcome = try await place.run("bootstrap")
            #expect(outcome.end == .exit(0))
            #expect(outcome.lines.contains("source: changes are captured of things"))
            #expect(try place.sourceValue("SELECT count(*) FROM sqlite_schema WHERE name = 'orders'") == "0")
            #expect(try place.sourceValue("SELECT name FROM cdc_dbo_things_CT") == "one")
        }

        @Test("a source without a primary key anywhere is an error, not a reason for sample tables")
        func noKey() async throws {
            try FileManager.default.createDirectory(atPath: place.file("data"), withIntermediateDirectories: true)
            try place.source("CREATE TABLE things (name TEXT)")
            let outcome = try await place.run("bootstrap")
            #expect(outcome.end == .exit(70))
            #expect(outcome.errors.contains("no table of sqlite:data/source.db can be captured: give a primary key to"))
            #expect(try place.sourceValue("SELECT count(*) FROM sqlite_schema WHERE name = 'orders'") == "0")
        }

        @Test("--wait waits for a folder that appears later, and says so")
        func waits() async throws {
            // A volume that is not mounted yet.
            try FileManager.default.createSymbolicLink(
                atPath: place.file("data"), withDestinationPath: place.file("volume"))
            let refused = try await place.run("bootstrap")
            #expect(refused.end == .exit(69))
            #expect(refused.errors.hasPrefix("tidemark: the folder data cannot be made: "))

            let waiting = try place.start("bootstrap", "--wait", "60s")
            try await waiting.logs("waiting up to 60s: the folder data cannot be made")
            #expect(waiting.process.ended == nil)
            try FileManager.default.createDirectory(atPath: place.file("volume"), withIntermediateDirectories: true)
            let outcome = try await waiting.ended()
            #expect(outcome.end == .exit(0))
            #expect(outcome.lines.last == "serving: control and staging tables are in place")
            #expect(outcome.errorLines.count == 1)
        }

        @Test("--wait ends with the reason when its time is up")
        func waitsInVain() async throws {
            try FileManager.default.createSymbolicLink(
                atPath: place.file("data"), withDestinationPath: place.file("volume"))
            let outcome = try await place.run("bootstrap", "--wait", "600ms")
            #expect(outcome.end == .exit(69))
            #expect(outcome.errorLines.last?.hasPrefix("tidemark: the folder data cannot be made: ") == true)
        }
    }
}
