import TestSupport
import Testing

extension Commands {
    @Suite("A projection with a long interval")
    struct IntervalTests {
        @Test("is built as soon as there is something, and anew when asked, not an hour later")
        func longInterval() async throws {
            let place = try await Workplace.holding(
                tables: "CREATE TABLE events (id INTEGER PRIMARY KEY, note TEXT)",
                projections: [
                    ProjectionFolder(
                        name: "hourly", captures: ["events"], key: ["id"], interval: "1h",
                        query: "SELECT id, note FROM events")
                ])
            let run = try await place.startPipeline(environment: ["LOG_LEVEL": "debug"])
            // By then the projection has been looked at, and there was nothing.
            try await run.logs("ingested")
            try await eventually("the projection is built") {
                try Status(await place.run("status", "--json").output).projection("hourly").status == "OK"
            }
            try place.source("INSERT INTO events VALUES (1, 'one')")
            let rebuild = try await place.run("rebuild", "hourly", "--timeout", "60s")
            #expect(rebuild.end == .exit(0), "\(rebuild.errors)")
            #expect(rebuild.output.contains("by the running pipeline"))
            try await run.stop()
        }

        @Test("is tried again soon after an error")
        func retries() async throws {
            let place = try await Workplace.holding(
                tables: "CREATE TABLE events (id INTEGER PRIMARY KEY, parent INTEGER)",
                projections: [
                    ProjectionFolder(
                        name: "hourly", captures: ["events"], key: ["parent"], interval: "1h",
                        query: "SELECT parent, id FROM events")
                ])
            try place.source("INSERT INTO events VALUES (1, 1), (2, 1)")
            let run = try await place.startPipeline()
            try await run.logs("rows for one key")
            try place.source("DELETE FROM events WHERE id = 2")
            try await place.caughtUp()
            #expect(try place.servingRows("SELECT parent, id FROM proj_hourly") == ["1|1"])
            try await run.stop()
        }
    }
}
