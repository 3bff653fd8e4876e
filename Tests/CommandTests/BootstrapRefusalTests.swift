import Foundation
import TestSupport
import Testing

extension Commands {
    /// Sources with tables that cannot be captured, or are not to be.
    @Suite("Tables that are left out")
    struct BootstrapRefusalTests {
        let place: Workplace

        init() throws {
            place = try Workplace()
            try FileManager.default.createDirectory(atPath: place.file("data"), withIntermediateDirectories: true)
            try place.write(
                """
                name: notes_latest
                captures: [notes]
                key: [id]
                """, to: "projections/notes_latest/projection.yml")
            try place.write(
                "SELECT id, doc, noted_at, seen_at FROM notes", to: "projections/notes_latest/query.sql")
            try place.source(
                """
                CREATE TABLE notes (id INTEGER PRIMARY KEY, doc JSON, noted_at TIMESTAMP, seen_at DATETIMEOFFSET);
                INSERT INTO notes VALUES (1, '{"a": 1.50}', '2026-01-31', '2026-01-31T10:00+02:00');
                """)
        }

        private static let projections = ["PROJECTIONS_DIR": "projections"]

        private func stagedTables() throws -> String? {
            try place.servingValue(
                "SELECT group_concat(name) FROM (SELECT name FROM sqlite_schema WHERE name LIKE 'stg_cdc_%' ORDER BY 1)"
            )
        }

        @Test("one that cannot be captured is refused by name in one line, and the others go on")
        func refused() async throws {
            try place.source(
                """
                CREATE TABLE shapes (id INTEGER PRIMARY KEY, outline GEOMETRY);
                CREATE TABLE positions (id INTEGER PRIMARY KEY, lsn INTEGER);
                CREATE TABLE members (id INTEGER PRIMARY KEY, mail TEXT, left_at DATETIME);
                CREATE UNIQUE INDEX present ON members (mail) WHERE left_at IS NULL;
                CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT);
                CREATE UNIQUE INDEX lowered ON words (lower(word));
                """)
            let bootstrap = try await place.run("bootstrap", environment: Self.projections)
            #expect(bootstrap.end == .exit(0), "\(bootstrap.errors)")
            let left = bootstrap.lines.filter { $0.hasPrefix("source: left out: ") }
            #expect(left.count == 4)
            for reason in [
                "column shapes.outline has the type GEOMETRY, which is not known. Declare it as one of",
                "column positions.lsn has the name of one of the columns stg_cdc_positions adds",
                "table members has the unique index present on an expression or on a part of its rows",
                "table words has the unique index lowered on an expression or on a part of its rows",
            ] {
                #expect(left.contains { $0.contains(reason) && $0.contains("CDC_EXCLUDE=") }, "\(reason): \(left)")
            }
            #expect(bootstrap.lines.contains("source: changes are captured of notes"))

            let run = try await place.startPipeline(environment: Self.projections)
            try place.source(
                """
                INSERT INTO notes VALUES
                    (2, '3', '2026-01-31T10:05', '2026-01-31 10:05'), (3, NULL, '2026-01-31 10:05:06.5-01:00', NULL)
                """)
            try await place.caughtUp(environment: Self.projections)
            #expect(
                try place.servingValue(
                    """
                    SELECT group_concat(id || ' ' || ifnull(doc, '-') || ' ' || noted_at || ' ' || ifnull(seen_at, '-'), '; ')
                    FROM proj_notes_latest
                    """) == """
                        1 {"a": 1.50} 2026-01-31 00:00:00 2026-01-31 08:00:00+00:00; \
                        2 3 2026-01-31 10:05:00 2026-01-31 10:05:00+00:00; 3 - 2026-01-31 11:05:06.500000 -
                        """)
            let verify = try await place.run("verify", environment: Self.projections)
            #expect(verify.end == .exit(0), "\(verify.output)")

            // What stands in the way is found while the pipeline runs, too, and the others go on.
            try place.source("CREATE TABLE more (id INTEGER PRIMARY KEY, name TEXT)")
            try await run.stop()
            #expect(try await place.run("bootstrap", environment: Self.projections).end == .exit(0))
            let again = try await place.startPipeline(environment: Self.projections)
            try place.source("CREATE UNIQUE INDEX part ON more (name) WHERE name > 'a'")
            try await again.logs("table more has the unique index part on an expression or on a part of its rows")
            try place.source("INSERT INTO notes (id) VALUES (4)")
            try await place.caughtUp(environment: Self.projections)
            try await again.stop()
        }

        @Test("when none is left, bootstrap says what each lacks, and fails")
        func noneLeft() async throws {
            try place.source("DROP TABLE notes; CREATE TABLE shapes (id INTEGER PRIMARY KEY, outline GEOMETRY)")
            let outcome = try await place.run("bootstrap", environment: Self.projections)
            #expect(outcome.end == .exit(70))
            #expect(outcome.lines.count == 1)
            #expect(outcome.output.hasPrefix("source: left out: column shapes.outline has the type GEOMETRY"))
            #expect(
                outcome.errors == """
                    tidemark: no table of sqlite:data/source.db can be captured: give a primary key to those to capture, and see \
                    what was left out above and by CDC_INCLUDE and CDC_EXCLUDE

                    """)
        }

        @Test("CDC_INCLUDE and CDC_EXCLUDE choose the tables that get triggers, and those that are ingested")
        func filter() async throws {
            try place.source(
                """
                CREATE TABLE shop_orders (id INTEGER PRIMARY KEY); CREATE TABLE shop_orders_audit (id INTEGER PRIMARY KEY);
                CREATE TABLE shop_shapes (id INTEGER PRIMARY KEY, outline GEOMETRY);
                """)
            let environment = Self.projections.merging([
                "CDC_INCLUDE": "SHOP_*, note?, nothing", "CDC_EXCLUDE": "*_audit,shop_shapes",
            ]) { $1 }
            let bootstrap = try await place.run("bootstrap", environment: environment)
            #expect(bootstrap.end == .exit(0))
            #expect(!bootstrap.output.contains("left out"))
            #expect(bootstrap.lines.contains("source: changes are captured of notes, shop_orders"))
            #expect(
                bootstrap.lines.contains(
                    "source: CDC_INCLUDE has nothing, which is the name of no table of the source"))
            #expect(
                try place.sourceValue(
                    "SELECT group_concat(DISTINCT tbl_name) FROM sqlite_schema WHERE type = 'trigger' AND name LIKE '%_insert'"
                )
                    == "notes,shop_orders")
            #expect(try stagedTables() == "stg_cdc_notes,stg_cdc_shop_orders")

            // Captured before, and left out now: it is ingested no more.
            let fewer = Self.projections.merging(["CDC_EXCLUDE": "shop_*"]) { $1 }
            let run = try await place.startPipeline(environment: fewer)
            #expect(run.errors.contains("dbo_notes") && !run.errors.contains("dbo_shop_orders"))
            try place.source("INSERT INTO shop_orders VALUES (1); INSERT INTO notes (id) VALUES (2)")
            try await place.caughtUp(environment: fewer)
            #expect(try place.servingValue("SELECT count(*) FROM stg_cdc_shop_orders") == "0")
            try await run.stop()
            let all = try await place.startPipeline(environment: environment)
            try await all.logs("CDC_INCLUDE has nothing, which is the name of no table of the source")
            try await eventually("it is ingested") {
                try place.servingValue("SELECT count(*) FROM stg_cdc_shop_orders") == "1"
            }
            try await all.stop()
        }
    }
}
