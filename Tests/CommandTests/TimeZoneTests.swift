import TestSupport
import Testing

extension Commands {
    @Suite("The process's time zone")
    struct TimeZoneTests {
        @Test(
            "a day of an instant is a UTC day in whatever zone the process runs",
            arguments: ["Asia/Kolkata", "America/St_Johns"])
        func zone(_ zone: String) async throws {
            let place = try await Workplace.holding(
                tables: "CREATE TABLE events (id INTEGER PRIMARY KEY, moment DATETIMEOFFSET NOT NULL)",
                projections: [
                    ProjectionFolder(
                        name: "days", captures: ["events"], key: ["id"],
                        query: """
                            SELECT id, CAST(moment AS DATE) AS day, CAST(date_trunc('day', moment) AS VARCHAR) AS start,
                                strftime(moment, '%H:%M') AS clock, CAST(moment AS VARCHAR) AS text FROM events
                            """)
                ])
            try place.source(
                """
                INSERT INTO events VALUES (1, '2026-01-01 20:00:00+00:00');
                INSERT INTO events VALUES (2, '2026-07-02 01:00:00+00:00');
                """)
            let run = try await place.startPipeline(environment: ["TZ": zone])
            try await place.caughtUp()
            // The third comes in by itself, by what it changes.
            try place.source("INSERT INTO events VALUES (3, '2026-07-02 23:30:00+00:00')")
            try await place.caughtUp()
            try await run.stop()
            let rows = try place.servingRows("SELECT id, day, start, clock, text FROM proj_days ORDER BY id")
            #expect(
                rows == [
                    "1|2026-01-01|2026-01-01 00:00:00+00|20:00|2026-01-01 20:00:00+00",
                    "2|2026-07-02|2026-07-02 00:00:00+00|01:00|2026-07-02 01:00:00+00",
                    "3|2026-07-02|2026-07-02 00:00:00+00|23:30|2026-07-02 23:30:00+00",
                ])
            for other in ["UTC", "Pacific/Kiritimati"] {
                let verify = try await place.run("verify", environment: ["TZ": other])
                #expect(verify.end == .exit(0), "\(verify.output)\(verify.errors)")
            }
        }
    }
}
