import ContractTests
import Embedded
import GRDB
import Testing
import Tidemark

@Suite("A source's schema that changes under its captures")
struct SchemaChangeTests {
    private static let things = "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)"
    private static let others = "CREATE TABLE others (id INTEGER PRIMARY KEY, name TEXT)"

    /// As Django, Alembic and Rails change a table on SQLite.
    private static func rebuild(_ definition: String, copy: String = "id, name", from: String = "id, name") -> String {
        """
        CREATE TABLE things_new (\(definition));
        INSERT INTO things_new (\(copy)) SELECT \(from) FROM things;
        DROP TABLE things;
        ALTER TABLE things_new RENAME TO things
        """
    }

    private static func transaction(_ statements: String) -> String { "BEGIN; \(statements); COMMIT" }

    private func own(_ source: SQLiteSource, _ table: String = "things") async throws -> CaptureBounds {
        try #require(try await source.embedded.bounds().captures["dbo_\(table)"])
    }

    // MARK: Made anew

    @Test("a rebuilt table is captured again, from behind a position that no watermark has reached")
    func rebuilt() async throws {
        let source = try await SQLiteSource(schema: "\(Self.things);\(Self.others)")
        try source.execute("INSERT INTO things VALUES (1, 'a')")
        let before = try await source.embedded.bounds()
        try source.execute(Self.transaction(Self.rebuild("id INTEGER PRIMARY KEY, name TEXT, more INT")))
        try source.execute("UPDATE things SET name = 'lost' WHERE id = 1")
        let after = try await source.embedded.bounds()
        #expect(after.captures["dbo_things"]?.restartedAt == after.maxLSN)
        #expect(after.maxLSN > before.maxLSN)
        let reason = try #require(after.captures["dbo_things"]?.restartReason)
        #expect(reason.hasPrefix("has lost its insert, update, delete triggers: table things was dropped or renamed"))
        #expect(reason.hasSuffix("; the table's column more is not captured"))
        #expect(after.captures["dbo_others"] == before.captures["dbo_others"])
        #expect(try await !source.embedded.isComplete(source.capture("things")))
        // It stays said, and nothing is done again.
        #expect(try await source.embedded.bounds() == after)
        let another = try EmbeddedSource(path: source.path)
        #expect(try await another.bounds() == after)

        try source.execute("UPDATE things SET name = 'seen' WHERE id = 1; DELETE FROM things")
        let window = LSNWindow(after: after.maxLSN, through: try await source.embedded.bounds().maxLSN)
        let changes = try await source.embedded.changes(of: source.capture("things"), in: window, blockRows: 10)
        #expect(try changes.blocks().flatMap(\.readable).map(\.description) == ["4(1, seen)", "1(1, seen)"])
    }

    @Test("a window across the moment at which a capture was made anew is refused")
    func window() async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try source.execute("INSERT INTO things VALUES (1, 'a')")
        let first = try await source.embedded.bounds()
        try source.execute("INSERT INTO things VALUES (2, 'b')")
        let before = try await source.embedded.bounds()
        try source.execute(Self.transaction(Self.rebuild("id INTEGER PRIMARY KEY, name TEXT")))
        let after = try await source.embedded.bounds()
        let capture = try await source.capture("things")
        do {
            _ = try await source.embedded.changes(
                of: capture, in: LSNWindow(after: before.maxLSN, through: after.maxLSN), blockRows: 10)
            Issue.record("it was read")
        } catch TidemarkError.restarted(let instance, let watermark, let restartedAt, _) {
            #expect(instance == "dbo_things" && watermark == before.maxLSN && restartedAt == after.maxLSN)
        }
        // Up to where it was whole it can be read.
        let sound = LSNWindow(after: first.maxLSN, through: before.maxLSN)
        #expect(try await source.embedded.changes(of: capture, in: sound, blockRows: 10).blocks().count == 1)
    }

    @Test("triggers put back by their text do not pass for the old ones", arguments: ["rebuild", "drop", "vacuum"])
    func putBack(how: String) async throws {
        let source = try await SQLiteSource(schema: "\(Self.things); \(Self.others)")
        _ = try await source.embedded.bounds()
        if how == "vacuum" { try source.execute("VACUUM") }
        let triggers = try source.plain.read {
            try Row.fetchAll(
                $0, sql: "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'things'")
        }
        try source.execute(
            Self.transaction(
                (how == "rebuild"
                    ? [Self.rebuild("id INTEGER PRIMARY KEY, name TEXT")]
                    : triggers.map { "DROP TRIGGER \($0[0] as String)" })
                    .joined(separator: ";")
                    + "; INSERT INTO things VALUES (7, 'lost'); "
                    + triggers.map { $0[1] as String }.joined(separator: ";")))
        let own = try await own(source)
        #expect(own.restartReason?.hasPrefix("had triggers that were dropped and made again by somebody else") == true)
        #expect(try await self.own(source, "others").restartedAt == nil)
    }

    @Test(
        "what keeps every trigger in place makes nothing anew",
        arguments: [
            "VACUUM", "CREATE INDEX i ON things (name)", "ALTER TABLE things ADD COLUMN more TEXT",
            "ALTER TABLE things RENAME TO away; INSERT INTO away VALUES (2, 'b'); ALTER TABLE away RENAME TO things",
            "CREATE TRIGGER mine AFTER INSERT ON things BEGIN UPDATE things SET name = 'x' WHERE id = NEW.id; END",
            "CREATE TRIGGER mine BEFORE INSERT ON things BEGIN SELECT RAISE(IGNORE); END",
            "BEGIN; DROP TABLE things; CREATE TABLE things (x INT); ROLLBACK", "ANALYZE",
            "CREATE TABLE unrelated (id INTEGER PRIMARY KEY)", "REINDEX",
        ])
    func harmless(sql: String) async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try source.execute("INSERT INTO things VALUES (1, 'a')")
        _ = try await source.embedded.bounds()
        try source.execute(sql)
        try source.execute("INSERT INTO things (id, name) VALUES (3, 'c')")
        #expect(try await own(source) == CaptureBounds(minLSN: LSN(high: 1, low: 0)))
        #expect(try await source.replayed("things") == source.rows("things"))
    }

    @Test(
        "a table that is read as before after a migration needs nobody's help",
        arguments: [
            "id INTEGER PRIMARY KEY, name VARCHAR(50)", "name TEXT UNIQUE, id INTEGER PRIMARY KEY",
            "id BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, more GEOMETRY",
            "id INTEGER PRIMARY KEY, name TEXT, more TEXT UNIQUE",
        ])
    func readAsBefore(definition: String) async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try source.execute("INSERT INTO things VALUES (1, 'a'), (2, 'b')")
        _ = try await source.embedded.bounds()
        try source.execute(Self.transaction(Self.rebuild(definition)))
        let own = try await own(source)
        #expect(own.fault == nil && own.restartedAt != nil)
        let before = try await source.embedded.bounds()
        if definition.contains("UNIQUE") {
            // What the new unique index displaces is captured.
            try source.execute("INSERT OR REPLACE INTO things SELECT * FROM things WHERE id = 1")
            try source.execute("UPDATE OR REPLACE things SET name = 'a' WHERE id = 2")
        }
        try source.execute("UPDATE things SET name = 'z'")
        #expect(try await source.embedded.bounds().maxLSN > before.maxLSN)
        #expect(try await source.replayedAfter("things", before.maxLSN) == source.rows("things"))
    }

    @Test("a column that lost its NOT NULL may be NULL")
    func nullable() async throws {
        let source = try await SQLiteSource(schema: "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        try source.execute(Self.transaction(Self.rebuild("id INTEGER PRIMARY KEY, name TEXT")))
        let start = try await source.embedded.bounds().maxLSN
        try source.execute("INSERT INTO things VALUES (1, NULL)")
        #expect(try await source.replayedAfter("things", start) == [["1", nil]])
    }

    @Test("a unique index made later makes the capture anew, with triggers that know of it")
    func newIndex() async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try source.execute("INSERT INTO things VALUES (1, 'a'), (2, 'b')")
        let before = try await source.embedded.bounds()
        try source.execute("CREATE UNIQUE INDEX u ON things (name); INSERT OR REPLACE INTO things VALUES (9, 'a')")
        let after = try await source.embedded.bounds()
        #expect(after.captures["dbo_things"]?.restartedAt == after.maxLSN && after.maxLSN > before.maxLSN)
        #expect(
            after.captures["dbo_things"]?.restartReason?.contains(
                "a unique index of the table or a foreign key to it came or went") == true)
        try source.execute("INSERT OR REPLACE INTO things VALUES (10, 'b')")
        #expect(try await source.log("things").suffix(2) == ["1(2, b)", "2(10, b)"])
    }

    @Test("a file of an older version is taken over, its captures made anew")
    func olderFile() async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try source.execute("INSERT INTO things VALUES (1, 'a')")
        _ = try await source.embedded.bounds()
        try source.execute(
            """
            DROP TRIGGER cdc_dbo_things_seal; ALTER TABLE cdc_change_tables DROP COLUMN restart_lsn;
            ALTER TABLE cdc_change_tables DROP COLUMN restart_reason
            """)
        let later = try EmbeddedSource(path: source.path)
        let bounds = try await later.bounds()
        #expect(bounds.captures["dbo_things"]?.restartedAt == bounds.maxLSN)
        #expect(try await later.enableCDC().isEmpty)
    }

    @Test("bootstrap makes lost triggers again too")
    func enableAgain() async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try source.execute("DROP TABLE things; \(Self.things)")
        #expect(try await source.embedded.enableCDC().isEmpty)
        let bounds = try await source.embedded.bounds()
        #expect(bounds.captures["dbo_things"]?.restartedAt == bounds.maxLSN)
    }

    // MARK: Not as they are

    @Test(
        "a capture that does not fit its table any more is refused by name with the remedy, and the others go on",
        arguments: [
            (
                rebuild("id INTEGER PRIMARY KEY, title TEXT", copy: "id, title"),
                "table things has no column name any more"
            ),
            (
                rebuild("id INTEGER PRIMARY KEY, name INT"),
                "column things.name is declared INT now, and captured as TEXT"
            ),
            (rebuild("id INT, name TEXT PRIMARY KEY"), "the primary key of table things is (name) now"),
            (rebuild("id INT, name TEXT"), "table things has no primary key"),
            ("ALTER TABLE things RENAME COLUMN name TO title", "table things has no column name any more"),
            ("ALTER TABLE things RENAME TO gone", "table things of capture dbo_things is gone"),
            ("DROP TABLE things", "table things of capture dbo_things is gone"),
            ("CREATE UNIQUE INDEX u ON things (lower(name))", "table things has the unique index u"),
            ("DROP TABLE cdc_dbo_things_CT", "the change table cdc_dbo_things_CT is gone"),
        ])
    func faults(migration: String, problem: String) async throws {
        let source = try await SQLiteSource(schema: "\(Self.things);\(Self.others)")
        try source.execute("INSERT INTO things VALUES (1, 'a')")
        _ = try await source.embedded.bounds()
        try source.execute(migration)
        for _ in 0..<2 {
            let fault = "\(try await own(source).fault.map { "\($0)" } ?? "none")"
            #expect(fault.contains(problem), "\(fault)")
        }
        // The pipeline's triggers are out of the application's way.
        let left = try await source.plain.read {
            try Int.fetchOne(
                $0, sql: "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'cdc_dbo_things_%'")
        }
        #expect(left == 0)
        let capture = try await source.embedded.captures().map(\.instance)
        #expect(capture == ["dbo_others", "dbo_things"])
        await #expect(throws: TidemarkError.self) { try await source.embedded.enableCDC(tables: ["things"]) }
        try source.execute("INSERT INTO others VALUES (1, 'a')")
        #expect(try await source.log("others") == ["2(1, a)"])
    }

    @Test("a fault that was seen leaves its mark: when its cause is gone, the table has to be read anew")
    func awayAndBack() async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try source.execute("ALTER TABLE things RENAME TO away; INSERT INTO away VALUES (1, 'a')")
        #expect(try await own(source).fault != nil)
        await #expect(throws: TidemarkError.self) {
            _ = try await source.embedded.rows(of: source.capture("things"), blockRows: 10)
        }
        try source.execute("INSERT INTO away VALUES (2, 'b'); ALTER TABLE away RENAME TO things")
        let bounds = try await source.embedded.bounds()
        #expect(bounds.captures["dbo_things"]?.fault == nil)
        #expect(bounds.captures["dbo_things"]?.restartedAt == bounds.maxLSN)
    }

    @Test("while another program writes, a broken capture is vouched for by nobody")
    func busy() async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try source.execute("INSERT INTO things VALUES (1, 'a')")
        let before = try await source.embedded.bounds()
        try source.execute(Self.transaction(Self.rebuild("id INTEGER PRIMARY KEY, name TEXT")))
        var configuration = Configuration()
        configuration.allowsUnsafeTransactions = true
        let writer = try DatabaseQueue(path: source.path, configuration: configuration)
        try await writer.writeWithoutTransaction { try $0.execute(sql: "BEGIN IMMEDIATE") }
        let during = try await source.embedded.bounds()
        #expect(during.maxLSN == before.maxLSN)
        let fault = "\(during.captures["dbo_things"]?.fault.map { "\($0)" } ?? "none")"
        #expect(fault.contains("It is made anew as soon as no other program writes to the source"), "\(fault)")
        try await writer.writeWithoutTransaction { try $0.execute(sql: "COMMIT") }
        #expect(try await own(source).fault == nil)
        #expect(try await own(source).restartedAt != nil)
    }

    // MARK: Triggers of others

    private static let suppressing = ["RAISE(IGNORE)", "RAISE(FAIL, 'no')", "raise /* so */ ( Ignore )"]

    @Test(
        "a trigger that ends a statement after the row has changed does not keep it from being captured",
        arguments: suppressing, [true, false])
    func raise(how: String, enableFirst: Bool) async throws {
        let source = try await SQLiteSource(schema: Self.things, enable: enableFirst)
        try source.execute("INSERT INTO things VALUES (1, 'a'), (2, 'b'), (3, 'c')")
        if enableFirst { _ = try await source.embedded.bounds() }
        for event in ["INSERT", "UPDATE", "DELETE"] {
            try source.execute(
                "CREATE TRIGGER \"my \"\"\(event)\" AFTER \(event) ON things BEGIN SELECT \(how); END")
        }
        if enableFirst { try? source.execute("UPDATE things SET name = 'lost' WHERE id = 1") }
        try await source.embedded.enableCDC()
        let start = try await source.embedded.bounds()
        if enableFirst { #expect(start.captures["dbo_things"]?.restartedAt == start.maxLSN) }
        try? source.execute("UPDATE things SET name = 'x' WHERE id = 2")
        try? source.execute("DELETE FROM things WHERE id = 3")
        try? source.execute("INSERT INTO things VALUES (4, 'd')")
        #expect(try await source.log("things").suffix(3) == ["4(2, x)", "1(3, c)", "2(4, d)"])
        let warnings = try await source.embedded.catalog().warnings
        #expect(warnings.count == 3)
        #expect(warnings.allSatisfy { $0.contains("on table things runs RAISE(IGNORE) or RAISE(FAIL) after a change") })
    }

    @Test("a trigger that only mentions it, or ends a statement before the row changes, is no reason to warn")
    func noRaise() async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try source.execute(
            """
            CREATE TRIGGER a BEFORE UPDATE ON things BEGIN SELECT RAISE(IGNORE); END;
            CREATE TRIGGER b AFTER UPDATE ON things BEGIN SELECT 'RAISE(IGNORE)' /* RAISE(IGNORE) */; END;
            CREATE TRIGGER c AFTER UPDATE ON things BEGIN SELECT RAISE(ABORT, 'RAISE(IGNORE)') WHERE NEW.id = 7; END;
            CREATE TRIGGER d AFTER UPDATE ON things BEGIN -- RAISE(IGNORE)
                SELECT 1; END
            """)
        #expect(try await source.embedded.catalog().warnings.isEmpty)
        #expect(try await own(source).restartedAt == nil)
    }
}
