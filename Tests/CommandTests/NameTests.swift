import TestSupport
import Testing

extension Commands {
    @Suite("Names of tables and columns")
    struct NameTests {
        @Test(
            "a table may use the pipeline's own names; one that cannot be carried stops alone, and no replica is lost")
        func names() async throws {
            let place = try await Workplace.holding(
                tables: """
                    CREATE TABLE orders (
                        id INTEGER PRIMARY KEY, "__op" TEXT, "__ord" INTEGER, "rowid" TEXT, "__actual" TEXT, "__staged" TEXT
                    );
                    CREATE TABLE changed_orders (id INTEGER PRIMARY KEY, note TEXT);
                    CREATE TABLE __result_after (id INTEGER PRIMARY KEY, "__OP" TEXT);
                    CREATE TABLE __overlay_after_orders (id INTEGER PRIMARY KEY, "low" TEXT);
                    CREATE TABLE marked (id INTEGER PRIMARY KEY, "__LSN" TEXT);
                    CREATE TABLE reserved (id INTEGER PRIMARY KEY, "__Tidemark_Op" TEXT);
                    """,
                projections: [
                    ProjectionFolder(
                        name: "odd", captures: ["orders", "__result_after", "__overlay_after_orders"], key: ["low"],
                        query: """
                            SELECT o.id AS low, o."__op" AS op, o."__ord" AS ord, o."rowid" AS row_id, o."__actual" AS actual,
                                o."__staged" AS staged, r."__OP" AS other, v."low" AS lowest
                            FROM orders AS o LEFT JOIN __result_after AS r ON r.id = o.id
                            LEFT JOIN __overlay_after_orders AS v ON v.id = o.id
                            WHERE affected_low(o.id)
                            """,
                        affected: """
                            SELECT id AS low FROM changed_orders UNION ALL SELECT id FROM changed___result_after
                            UNION ALL SELECT id FROM changed___overlay_after_orders
                            """),
                    ProjectionFolder(
                        name: "notes", captures: ["changed_orders"], key: ["id"],
                        query: "SELECT id, note FROM changed_orders",
                        affected: "SELECT id FROM changed_changed_orders"),
                    ProjectionFolder(
                        name: "marks", captures: ["marked"], key: ["id"], query: "SELECT id FROM marked"),
                ])
            try place.source(
                """
                INSERT INTO orders VALUES (1, 'a', 10, 'r', 'x', 'y'), (2, 'b', 20, 's', 'x', 'y');
                INSERT INTO changed_orders VALUES (1, 'first');
                INSERT INTO __result_after VALUES (1, 'one'), (2, 'two');
                INSERT INTO __overlay_after_orders VALUES (1, 'low');
                INSERT INTO marked VALUES (1, 'mark');
                INSERT INTO reserved VALUES (1, 'op');
                """)
            let sound = ["ENABLE_PROJ_MARKS": "false"]
            let run = try await place.startPipeline()
            try await place.caughtUp(environment: sound)
            try place.source(
                """
                UPDATE orders SET "__op" = 'changed', "rowid" = NULL WHERE id = 1;
                DELETE FROM __result_after WHERE id = 2;
                INSERT INTO changed_orders VALUES (2, 'second');
                """)
            try await place.caughtUp(environment: sound)
            try await run.stop()
            #expect(
                try place.servingRows("SELECT * FROM proj_odd ORDER BY low")
                    == ["1|changed|10|NULL|x|y|one|low", "2|b|20|s|x|y|NULL|NULL"])
            #expect(try place.servingRows("SELECT * FROM proj_notes ORDER BY id") == ["1|first", "2|second"])

            let status = try Status(await place.run("status", "--json").output)
            let marked = try #require(try status.capture("dbo_marked").lastError)
            #expect(marked.contains("column marked.__LSN"), "\(marked)")
            #expect(try status.capture("dbo_reserved").lastError?.contains("column reserved.__Tidemark_Op") == true)
            #expect(try status.projection("marks").status == "ERROR")
            #expect(try status.projection("marks").lastError?.contains("marked.__LSN") == true)
            let verify = try await place.run("verify", environment: sound)
            #expect(verify.end == .exit(0), "\(verify.output)\(verify.errors)")

            // The next start finds the replica as it was left.
            let again = try await place.startPipeline()
            try place.source("DELETE FROM orders WHERE id = 2")
            try await place.caughtUp(environment: sound)
            try await again.stop()
            #expect(try place.servingRows("SELECT low FROM proj_odd") == ["1"])
            for log in [run.errors, again.errors] {
                #expect(!log.contains("rebuilt from staging"), "\(log)")
            }
        }
    }
}
