import TestSupport
import Testing

extension Commands {
    @Suite("What users put on a projection's table")
    struct UsersObjectsTests {
        private static func projection(_ columns: String) -> ProjectionFolder {
            ProjectionFolder(
                name: "notes", captures: ["events"], key: ["id"], query: "SELECT \(columns) FROM events")
        }

        @Test("indexes, triggers and views outlive a rebuild; what a new definition has no column for is named")
        func rebuilds() async throws {
            let place = try await Workplace.holding(
                tables: "CREATE TABLE events (id INTEGER PRIMARY KEY, note TEXT, place TEXT, size INTEGER)",
                projections: [Self.projection("id, note, place, size")])
            try place.source("INSERT INTO events VALUES (1, 'one', 'here', 5)")
            let run = try await place.startPipeline()
            try await place.caughtUp()
            try await run.stop()
            try place.serving(
                """
                CREATE INDEX by_note ON proj_notes (note COLLATE NOCASE) WHERE size > 1;
                CREATE UNIQUE INDEX by_place ON proj_notes (place, note);
                CREATE INDEX by_length ON proj_notes (length("place"));
                CREATE TABLE log (note TEXT);
                CREATE TRIGGER noted AFTER UPDATE ON proj_notes BEGIN INSERT INTO log VALUES (new.note); END;
                CREATE TRIGGER placed AFTER UPDATE ON proj_notes BEGIN INSERT INTO log VALUES (new.place); END;
                CREATE VIEW notes AS SELECT note FROM proj_notes;
                """)
            let objects = """
                SELECT name || ' ' || sql FROM sqlite_schema WHERE tbl_name = 'proj_notes' AND type <> 'table'
                    AND sql IS NOT NULL ORDER BY name
                """
            let before = try place.servingRows(objects)
            #expect(before.count == 5)
            #expect(try await place.run("rebuild", "notes").end == .exit(0))
            #expect(try place.servingRows(objects) == before)

            try place.put(Self.projection("id, note, size"))
            let again = try await place.startPipeline()
            try await place.caughtUp()
            try place.source("UPDATE events SET note = 'two'")
            try await place.caughtUp()
            try await again.stop()
            #expect(
                try place.servingRows(objects) == before.filter { $0.hasPrefix("by_note") || $0.hasPrefix("noted") })
            #expect(try place.servingRows("SELECT note FROM log") == ["two"])
            #expect(try place.servingRows("SELECT note FROM notes") == ["two"])
            for name in ["by_place", "by_length", "placed"] {
                #expect(again.errors.contains("\(name) on proj_notes could not be kept"), "\(again.errors)")
            }
            #expect(!again.errors.contains("by_note"))
        }
    }
}
