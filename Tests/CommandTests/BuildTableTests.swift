import TestSupport
import Testing

extension Commands {
    @Suite("The table a build fills")
    struct BuildTableTests {
        private static func projection(_ name: String) -> ProjectionFolder {
            ProjectionFolder(
                name: name, captures: ["events"], key: ["id"], query: "SELECT id, note FROM events")
        }

        @Test("projections may have any names, a__new beside a")
        func names() async throws {
            let place = try await Workplace.holding(
                tables: "CREATE TABLE events (id INTEGER PRIMARY KEY, note TEXT)",
                projections: [Self.projection("a"), Self.projection("a__new")])
            try place.source("INSERT INTO events VALUES (1, 'one')")
            let run = try await place.startPipeline()
            try await place.caughtUp()
            try await run.stop()
            for name in ["a", "a__new", "a"] {
                let rebuild = try await place.run("rebuild", name)
                #expect(rebuild.end == .exit(0), "\(rebuild.errors)")
                for table in ["proj_a", "proj_a__new"] {
                    #expect(try place.servingRows("SELECT * FROM \(table)") == ["1|one"])
                }
            }
            let verify = try await place.run("verify")
            #expect(verify.end == .exit(0), "\(verify.output)\(verify.errors)")
        }

        @Test("what an earlier version left of a build is removed by the next one")
        func leftovers() async throws {
            let place = try await Workplace.holding(
                tables: "CREATE TABLE events (id INTEGER PRIMARY KEY, note TEXT)", projections: [Self.projection("a")])
            try place.serving("CREATE TABLE proj_a__new (id INTEGER PRIMARY KEY)")
            let run = try await place.startPipeline()
            try place.source("INSERT INTO events VALUES (1, 'one')")
            try await place.caughtUp()
            try await run.stop()
            #expect(
                try place.servingRows(
                    "SELECT name FROM sqlite_schema WHERE name LIKE 'proj%' OR name LIKE 'ctl_build%' ORDER BY name")
                    == ["proj_a"])
        }
    }
}
