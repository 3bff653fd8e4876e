import ContractTests
import Embedded
import GRDB
import Testing
import Tidemark

@Suite("Change data capture on SQLite")
struct CaptureTests {
    private static let things = "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)"
    private static let codes = "CREATE TABLE codes (id INTEGER PRIMARY KEY, code TEXT UNIQUE, name TEXT)"

    // MARK: Enabling

    @Test("rows that are there when capture is enabled are the log's first inserts")
    func existingRows() async throws {
        let source = try await SQLiteSource(schema: Self.things, enable: false)
        try await source.transaction(["INSERT INTO things VALUES (1, 'a'), (2, 'b')"])
        #expect(try await source.embedded.enableCDC() == ["dbo_things"])
        try await source.transaction(["INSERT INTO things VALUES (3, 'c')"])
        #expect(try await source.log("things") == ["2(1, a)", "2(2, b)", "2(3, c)"])
        #expect(try await source.embedded.isComplete(source.capture("things")))
    }

    @Test("enabling capture again changes nothing, and takes in new tables")
    func enableAgain() async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try await source.transaction(["INSERT INTO things VALUES (1, 'a')"])
        #expect(try await source.embedded.enableCDC().isEmpty)
        try await source.transaction([Self.codes])
        #expect(try await source.embedded.enableCDC() == ["dbo_codes"])
        #expect(try await source.log("things") == ["2(1, a)"])
    }

    @Test("only the tables asked for are captured, and only those that exist can be")
    func chosenTables() async throws {
        let source = try await SQLiteSource(schema: "\(Self.things);\(Self.codes)", enable: false)
        #expect(try await source.embedded.enableCDC(tables: ["THINGS"]) == ["dbo_things"])
        await #expect(throws: TidemarkError.self) { try await source.embedded.enableCDC(tables: ["nothing"]) }
    }

    @Test(
        "a table that cannot be captured is refused with a reason",
        arguments: [
            ("CREATE TABLE t (id INTEGER PRIMARY KEY, thing)", "t.thing has no declared type"),
            ("CREATE TABLE t (id INTEGER PRIMARY KEY, thing GEOMETRY)", "t.thing has the type GEOMETRY"),
            ("CREATE TABLE t (id INTEGER PRIMARY KEY, thing DECIMAL(39,2))", "t.thing has the type DECIMAL(39,2)"),
            ("CREATE TABLE t (id INTEGER)", "no primary key"),
            (
                "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); CREATE UNIQUE INDEX u ON t (lower(a))",
                "unique index u"
            ),
            (
                "CREATE TABLE t (id INTEGER PRIMARY KEY, LSN TEXT)",
                "column t.LSN has the name of one of the columns stg_cdc_t"
            ),
        ])
    func refused(schema: String, reason: String) async throws {
        let source = try await SQLiteSource(schema: schema, enable: false)
        do {
            try await source.embedded.enableCDC(tables: ["t"])
            Issue.record("the table was accepted")
        } catch {
            #expect("\(error)".contains(reason), "\(error)")
        }
    }

    @Test("a source without capture says to run bootstrap")
    func notEnabled() async throws {
        let source = try await SQLiteSource(schema: Self.things, enable: false)
        for ask in [{ _ = try await source.embedded.captures() }, { _ = try await source.embedded.bounds() }]
            as [@Sendable () async throws -> Void]
        {
            do {
                try await ask()
                Issue.record("no error was thrown")
            } catch {
                #expect("\(error)".contains("tidemark bootstrap"), "\(error)")
            }
        }
    }

    @Test("columns added later are left out")
    func addedColumn() async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try source.execute("ALTER TABLE things ADD COLUMN more TEXT")
        try await source.transaction(["INSERT INTO things VALUES (1, 'a', 'more')", "UPDATE things SET more = 'x'"])
        #expect(try await source.log("things") == ["2(1, a)", "4(1, a)"])
    }

    // MARK: Shapes of statements

    @Test("REPLACE through the primary key leaves the newer row", arguments: [false, true])
    func replaceByKey(recursiveTriggers: Bool) async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try source.execute("PRAGMA recursive_triggers = \(recursiveTriggers)")
        try source.execute("INSERT INTO things VALUES (1, 'a'), (2, 'b')")
        try source.execute("INSERT OR REPLACE INTO things VALUES (1, 'c'), (3, 'd')")
        try source.execute("UPDATE OR REPLACE things SET id = 2 WHERE id = 3")
        #expect(try await source.replayed("things") == source.rows("things"))
        #expect(try await source.rows("things") == [["1", "c"], ["2", "d"]])
    }

    @Test("REPLACE through another unique index captures the row it displaces", arguments: [false, true])
    func replaceByUniqueIndex(recursiveTriggers: Bool) async throws {
        let source = try await SQLiteSource(schema: Self.codes)
        try source.execute("PRAGMA recursive_triggers = \(recursiveTriggers)")
        try source.execute("INSERT INTO codes VALUES (1, 'a', 'x'), (2, 'b', 'y'), (3, NULL, 'z'), (4, NULL, 'z')")
        try source.execute("INSERT OR REPLACE INTO codes VALUES (9, 'a', 'new')")
        #expect(try await source.log("codes").suffix(2) == ["1(1, a, x)", "2(9, a, new)"])
        try source.execute("UPDATE OR REPLACE codes SET code = 'b' WHERE id = 9")
        #expect(try await source.log("codes").suffix(2) == ["1(2, b, y)", "4(9, b, new)"])
        #expect(try await source.replayed("codes") == source.rows("codes"))
    }

    @Test("conflicts that are ignored, updated or refused displace nothing")
    func otherConflicts() async throws {
        let source = try await SQLiteSource(schema: Self.codes)
        try source.execute("INSERT INTO codes VALUES (1, 'a', 'x'), (2, 'b', 'y')")
        try source.execute("INSERT OR IGNORE INTO codes VALUES (9, 'a', 'new')")
        try source.execute("INSERT INTO codes VALUES (9, 'a', 'new') ON CONFLICT (code) DO UPDATE SET name = 'up'")
        for policy in ["FAIL", "ABORT"] {
            #expect(throws: DatabaseError.self) {
                try source.execute("INSERT OR \(policy) INTO codes VALUES (8, 'h', 'h'), (9, 'b', 'new')")
            }
        }
        try source.execute("DELETE FROM codes WHERE id = 1")
        try source.execute("INSERT INTO codes VALUES (7, 'a', 'later')")
        #expect(try await source.replayed("codes") == source.rows("codes"))
        #expect(try await source.log("codes").filter { $0.hasPrefix("1(") } == ["1(1, a, up)"])
    }

    @Test("a key that another one replaces under a case-insensitive collation is deleted")
    func collatedKey() async throws {
        let source = try await SQLiteSource(
            schema: "CREATE TABLE names (name TEXT COLLATE NOCASE PRIMARY KEY, n INT) WITHOUT ROWID")
        try source.execute("INSERT INTO names VALUES ('Ann', 1), ('Bob', 2)")
        try source.execute("INSERT OR REPLACE INTO names VALUES ('ANN', 3)")
        try source.execute("UPDATE names SET name = 'BOB' WHERE name = 'Bob'")
        #expect(try await source.replayed("names") == [["ANN", "3"], ["BOB", "2"]])
    }

    @Test("composite and text keys work, with and without a rowid", arguments: ["", "WITHOUT ROWID"])
    func compositeKeys(suffix: String) async throws {
        let source = try await SQLiteSource(
            schema: "CREATE TABLE pairs (a TEXT, b INT, \"odd \"\"name\" TEXT, PRIMARY KEY (b, a)) \(suffix)")
        try source.execute("INSERT INTO pairs VALUES ('x', 1, 'p'), ('y', 1, NULL)")
        try source.execute("UPDATE pairs SET b = b + 1")
        try source.execute("DELETE FROM pairs WHERE a = 'x'")
        #expect(try await source.capture("pairs").key == ["b", "a"])
        #expect(
            try await source.log("pairs") == [
                "2(x, 1, p)", "2(y, 1, NULL)", "1(x, 1, p)", "2(x, 2, p)", "1(y, 1, NULL)", "2(y, 2, NULL)",
                "1(x, 2, p)",
            ])
    }

    @Test("a statement that shifts all keys comes out right")
    func shiftedKeys() async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try source.execute("INSERT INTO things VALUES (1, 'a'), (2, 'b'), (3, 'c')")
        try source.execute("UPDATE things SET id = -id; UPDATE things SET id = 4 + id")
        try source.execute("UPDATE things SET rowid = id * 10")
        #expect(try await source.replayed("things") == [["10", "c"], ["20", "b"], ["30", "a"]])
    }

    @Test("changes of savepoints and transactions that were rolled back are gone")
    func savepoints() async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try source.execute(
            """
            BEGIN; INSERT INTO things VALUES (1, 'a'); SAVEPOINT s; INSERT INTO things VALUES (2, 'b');
            UPDATE things SET name = 'z'; ROLLBACK TO s; INSERT INTO things VALUES (3, 'c'); COMMIT
            """)
        #expect(try await source.log("things") == ["2(1, a)", "2(3, c)"])
    }

    @Test(
        "a row that REPLACE displaces is captured even when it takes the updated row with it", arguments: [false, true])
    func replaceTakesTheUpdatedRow(recursiveTriggers: Bool) async throws {
        let source = try await SQLiteSource(
            schema: """
                CREATE TABLE t (
                    id INTEGER PRIMARY KEY, code TEXT UNIQUE, mark TEXT UNIQUE,
                    parent INT REFERENCES t ON DELETE CASCADE)
                """)
        try source.execute("PRAGMA recursive_triggers = \(recursiveTriggers)")
        try source.execute(
            "INSERT INTO t VALUES (1, 'a', 'x', NULL), (2, 'b', 'y', 1), (3, 'c', 'z', NULL), (4, 'd', 'w', 2)")
        // With recursive triggers SQLite refuses the statement.
        try? source.execute("UPDATE OR REPLACE t SET code = 'a', mark = 'z' WHERE id = 2")
        #expect(try await source.rows("t").count == (recursiveTriggers ? 4 : 0))
        #expect(try await source.replayed("t") == source.rows("t"))
        // The candidates that were not displaced are forgotten with the position.
        try source.execute(
            "INSERT INTO t VALUES (5, 'e', 'u', NULL); INSERT OR IGNORE INTO t VALUES (9, 'e', 'v', NULL)")
        #expect(try await source.replayed("t") == source.rows("t"))
        let left = try await source.plain.read {
            try Int.fetchOne($0, sql: "SELECT count(*) FROM cdc_dbo_t_displaced")
        }
        #expect(left == 0)
    }

    @Test("a row whose key another one takes, and which takes that one with it, is gone")
    func replaceTakesTheKey() async throws {
        let source = try await SQLiteSource(
            schema: "CREATE TABLE t (id INTEGER PRIMARY KEY, parent INT REFERENCES t ON DELETE CASCADE)")
        try source.execute("INSERT INTO t VALUES (1, NULL), (2, 1), (3, NULL)")
        try source.execute("UPDATE OR REPLACE t SET id = 1 WHERE id = 2")
        #expect(try await source.rows("t") == [["3", nil]])
        #expect(try await source.replayed("t") == source.rows("t"))
    }

    @Test("random statements on a table that refers to itself replay to the table they made", arguments: 0..<8)
    func randomCascades(seed: Int) async throws {
        let source = try await SQLiteSource(
            schema: """
                CREATE TABLE t (
                    id INTEGER PRIMARY KEY, code TEXT \(seed % 4 < 2 ? "UNIQUE" : ""), mark TEXT UNIQUE,
                    parent INT REFERENCES t ON DELETE \(["CASCADE", "SET NULL"][seed % 2]) ON UPDATE CASCADE)
                """)
        var random = SplitMix64(state: UInt64(seed))
        for _ in 0..<300 {
            let (id, other) = (Int.random(in: 0..<10, using: &random), Int.random(in: 0..<10, using: &random))
            let row = "'c\(Int.random(in: 0..<8, using: &random))', 'm\(Int.random(in: 0..<8, using: &random))'"
            let policy = ["OR REPLACE", "OR REPLACE", "OR IGNORE", ""].randomElement(using: &random) ?? ""
            let statement =
                switch Int.random(in: 0..<4, using: &random) {
                case 0: "DELETE FROM t WHERE id = \(id)"
                case 1: "UPDATE \(policy) t SET (code, mark) = (\(row)) WHERE id = \(id)"
                case 2: "UPDATE \(policy) t SET (id, code, parent) = (\(other), 'c\(other)', NULL) WHERE id >= \(id)"
                default: "INSERT \(policy) INTO t VALUES (\(id), \(row), (SELECT id FROM t WHERE id = \(other)))"
                }
            try? source.execute(statement)
            if Int.random(in: 0..<20, using: &random) == 0 { _ = try await source.embedded.bounds() }
        }
        #expect(try await source.replayed("t") == source.rows("t"))
    }

    @Test("what foreign keys cascade to is captured")
    func cascades() async throws {
        let source = try await SQLiteSource(
            schema: """
                CREATE TABLE parents (id INTEGER PRIMARY KEY);
                CREATE TABLE children (
                    id INTEGER PRIMARY KEY, a INT REFERENCES parents ON DELETE CASCADE ON UPDATE CASCADE,
                    b INT REFERENCES parents ON DELETE SET NULL ON UPDATE CASCADE)
                """)
        try source.execute("INSERT INTO parents VALUES (1), (2); INSERT INTO children VALUES (1, 1, 2), (2, 2, 1)")
        try source.execute("UPDATE parents SET id = 5 WHERE id = 2; DELETE FROM parents WHERE id = 1")
        #expect(try await source.replayed("children") == source.rows("children"))
        #expect(try await source.rows("children") == [["2", "5", nil]])
    }

    @Test("the image is the row as another trigger left it, whichever runs first", arguments: [true, false])
    func otherTriggers(enableFirst: Bool) async throws {
        let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, stamp INT DEFAULT 0)"
        let source = try await SQLiteSource(schema: schema, enable: enableFirst)
        try source.execute(
            """
            CREATE TRIGGER stamp AFTER UPDATE OF name ON t BEGIN
                UPDATE t SET stamp = stamp + 1 WHERE id = NEW.id; END;
            CREATE TRIGGER undead AFTER DELETE ON t WHEN OLD.name = 'undead' BEGIN
                INSERT INTO t VALUES (OLD.id, 'back', 0); END
            """)
        try await source.embedded.enableCDC()
        try source.execute("INSERT INTO t VALUES (1, 'a', 0), (2, 'undead', 0), (3, 'c', 0)")
        try source.execute("UPDATE t SET name = 'b' WHERE id = 1; DELETE FROM t WHERE id > 1")
        #expect(try await source.replayed("t") == [["1", "b", "1"], ["2", "back", "0"]])
        #expect(try await source.replayed("t") == source.rows("t"))
    }

    @Test("generated columns are captured")
    func generatedColumns() async throws {
        let source = try await SQLiteSource(
            schema: """
                CREATE TABLE t (
                    id INTEGER PRIMARY KEY, n INT, twice INT GENERATED ALWAYS AS (n * 2) STORED,
                    half INT AS (n / 2) UNIQUE)
                """)
        try source.execute("INSERT INTO t (id, n) VALUES (1, 4); INSERT OR REPLACE INTO t (id, n) VALUES (2, 5)")
        #expect(try await source.log("t") == ["2(1, 4, 8, 2)", "1(1, 4, 8, 2)", "2(2, 5, 10, 2)"])
    }

    @Test("random statements replay to the table they made", arguments: 0..<8)
    func randomStatements(seed: Int) async throws {
        let source = try await SQLiteSource(schema: Self.codes)
        var state = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 &+ 1
        func random(_ bound: UInt64) -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return (state >> 33) % bound
        }
        for step in 0..<300 {
            let (id, other, code) = (random(12), random(12), random(8))
            let policy = ["", "OR REPLACE", "OR IGNORE", "OR FAIL", "OR ABORT"][Int(random(5))]
            let statement =
                switch random(5) {
                case 0: "DELETE FROM codes WHERE id = \(id)"
                case 1: "UPDATE \(policy) codes SET id = \(other), code = 'c\(code)' WHERE id = \(id)"
                case 2: "UPDATE \(policy) codes SET code = 'c\(code)', name = 's\(step)' WHERE id >= \(id)"
                case 3:
                    """
                    INSERT INTO codes VALUES (\(id), 'c\(code)', 's\(step)')
                    ON CONFLICT (code) DO UPDATE SET name = 'u\(step)'
                    """
                default:
                    "INSERT \(policy) INTO codes VALUES (\(id), 'c\(code)', 's\(step)'), (\(other), NULL, 's\(step)')"
                }
            try? source.execute(statement)
        }
        #expect(try await source.replayed("codes") == source.rows("codes"))
    }

    // MARK: Positions

    @Test("positions closed while others write give every transaction one LSN and lose none")
    func concurrentWriters() async throws {
        let source = try await SQLiteSource(
            schema: "CREATE TABLE t (id INTEGER PRIMARY KEY, writer INT, number INT)")
        let (writers, transactions) = (3, 60)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<writers {
                group.addTask {
                    var configuration = Configuration()
                    configuration.busyMode = .timeout(30)
                    let queue = try DatabaseQueue(path: source.path, configuration: configuration)
                    for number in 0..<transactions {
                        try await queue.write { db in
                            for _ in 0..<3 {
                                try db.execute(
                                    sql: "INSERT INTO t (writer, number) VALUES (?, ?)", arguments: [writer, number])
                            }
                        }
                    }
                }
            }
            group.addTask {
                let capture = try await source.capture("t")
                var seen: [ReadableChange] = []
                var after = LSN.zero
                while seen.count < writers * transactions * 3 {
                    let bounds = try await source.embedded.bounds()
                    let window = LSNWindow(after: after, through: bounds.maxLSN)
                    seen += try await source.embedded.changes(of: capture, in: window, blockRows: 10).blocks()
                        .flatMap(\.readable)
                    after = bounds.maxLSN
                    await Task.yield()
                }
                let byTransaction = Dictionary(grouping: seen) { "\($0.values[1]!) \($0.values[2]!)" }
                #expect(byTransaction.count == writers * transactions)
                #expect(byTransaction.values.allSatisfy { $0.count == 3 && Set($0.map(\.lsn)).count == 1 })
            }
            try await group.waitForAll()
        }
    }

    @Test("a busy source keeps its bounds at the last closed position")
    func busySource() async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try source.execute("INSERT INTO things VALUES (1, 'a')")
        let first = try await source.embedded.bounds()
        try source.execute("INSERT INTO things VALUES (2, 'b')")
        try source.plain.inDatabase { db in
            try db.beginTransaction(.immediate)
            try db.commit()
        }
        let other = try DatabaseQueue(path: source.path, configuration: Self.unsafe)
        try other.inDatabase { try $0.execute(sql: "BEGIN IMMEDIATE; INSERT INTO things VALUES (3, 'c')") }
        #expect(try await source.embedded.bounds() == first)
        try other.inDatabase { try $0.execute(sql: "COMMIT") }
        #expect(try await source.log("things").count == 3)
    }

    private static var unsafe: Configuration {
        var configuration = Configuration()
        configuration.allowsUnsafeTransactions = true
        return configuration
    }

    @Test("asking for the bounds of an idle source writes nothing")
    func idleBounds() async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try source.execute("INSERT INTO things VALUES (1, 'a')")
        _ = try await source.embedded.bounds()
        let version = { try source.plain.inDatabase { try Int.fetchOne($0, sql: "PRAGMA data_version") } }
        let before = try version()
        for _ in 0..<5 { _ = try await source.embedded.bounds() }
        #expect(try version() == before)
    }

    // MARK: Retention

    @Test("cleanup purges what is older, moves the min LSN and keeps the last position")
    func cleanup() async throws {
        let source = try await SQLiteSource(schema: "\(Self.things);\(Self.codes)")
        for id in 1...3 {
            try source.execute("INSERT INTO things VALUES (\(id), 'a')")
            _ = try await source.embedded.bounds()
            source.clock.advance(seconds: 60)
        }
        let cutoff = Timestamp(microseconds: source.clock.now.microseconds - 90_000_000)
        #expect(try await source.embedded.cleanUp(olderThan: cutoff) == 2)
        let bounds = try await source.embedded.bounds()
        #expect(bounds.captures["dbo_things"] == CaptureBounds(minLSN: bounds.maxLSN))
        #expect(try await !source.embedded.isComplete(source.capture("things")))
        #expect(try await source.embedded.isComplete(source.capture("codes")))
        #expect(try await source.log("things") == ["2(3, a)"])
        #expect(try await source.embedded.commitTime(of: LSN(high: 1, low: 0)) == nil)

        // Everything is old now; a pipeline that has read it all must still find its position.
        #expect(try await source.embedded.cleanUp(olderThan: source.clock.now) == 0)
        #expect(try await source.embedded.bounds() == bounds)
        #expect(try await source.embedded.commitTime(of: bounds.maxLSN) != nil)
    }

    @Test("a window that cleanup has eaten into is a gap, not a silent loss")
    func purgedWindow() async throws {
        let source = try await SQLiteSource(schema: Self.things)
        for id in 1...4 {
            try source.execute("INSERT INTO things VALUES (\(id), 'a')")
            _ = try await source.embedded.bounds()
            source.clock.advance(seconds: 60)
        }
        let capture = try await source.capture("things")
        let window = LSNWindow(after: LSN(high: 2, low: 0), through: LSN(high: 5, low: 0))
        try await source.embedded.cleanUp(olderThan: source.clock.now)
        await #expect(
            throws: TidemarkError.gap(
                capture: "dbo_things", watermark: window.after, minLSN: LSN(high: 5, low: 0))
        ) { _ = try await source.embedded.changes(of: capture, in: window, blockRows: 10) }
    }

    @Test("changes purged after the log was found to be complete are a gap for a read from its beginning")
    func purgedBeginning() async throws {
        let source = try await SQLiteSource(schema: Self.things)
        for id in 1...4 {
            try source.execute("INSERT INTO things VALUES (\(id), 'a')")
            _ = try await source.embedded.bounds()
            source.clock.advance(seconds: 60)
        }
        let capture = try await source.capture("things")
        let window = LSNWindow(after: .zero, through: LSN(high: 5, low: 0))
        #expect(try await source.embedded.isComplete(capture))
        try await source.embedded.cleanUp(olderThan: source.clock.now)
        await #expect(throws: TidemarkError.self) {
            _ = try await source.embedded.changes(of: capture, in: window, blockRows: 10)
        }
    }

    @Test("cleanup keeps what a pipeline has not read, until there is more of it than may wait")
    func unread() async throws {
        let source = try await SQLiteSource(schema: "\(Self.things);\(Self.codes)")
        for id in 1...4 {
            try source.execute("INSERT INTO things VALUES (\(id), 'a')")
            _ = try await source.embedded.bounds()
            source.clock.advance(seconds: 60)
        }
        let read = { (lsn: UInt64) in
            SourceReader(id: "serving", watermarks: ["dbo_things": LSN(high: lsn, low: 0), "dbo_codes": .zero])
        }
        try await source.embedded.acknowledge(read(0))
        #expect(try await source.embedded.cleanUp(olderThan: source.clock.now) == 0)
        try await source.embedded.acknowledge(read(3))
        // The position that was read stays, and its commit time with it.
        #expect(try await source.embedded.cleanUp(olderThan: source.clock.now) == 1)
        #expect(try await source.log("things").count == 3)
        try source.execute("UPDATE cdc_jobs SET max_unread_changes = 2")
        #expect(try await source.embedded.cleanUp(olderThan: source.clock.now) == 2)
        #expect(try await source.log("things") == ["2(4, a)"])
    }

    @Test("many changes are purged in batches, and capture goes on")
    func largeCleanup() async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try source.execute(
            """
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
            INSERT INTO things SELECT i, 'a' FROM n
            """)
        _ = try await source.embedded.bounds()
        source.clock.advance(seconds: 60)
        try source.execute("UPDATE things SET name = 'b' WHERE id = 1")
        _ = try await source.embedded.bounds()
        #expect(try await source.embedded.cleanUp(olderThan: source.clock.now) == 12000)
        try source.execute("INSERT INTO things VALUES (0, 'z')")
        #expect(try await source.log("things") == ["4(1, b)", "2(0, z)"])
    }

    @Test("maintenance follows the retention, at most every five minutes")
    func maintenance() async throws {
        let source = try await SQLiteSource(schema: Self.things)
        try await source.embedded.setRetention(minutes: 1)
        #expect(try await source.embedded.maintain() == nil)
        for id in 1...2 {
            try source.execute("INSERT INTO things VALUES (\(id), 'a')")
            _ = try await source.embedded.bounds()
            source.clock.advance(seconds: 120)
        }
        #expect(try await source.embedded.maintain() == nil)
        source.clock.advance(seconds: 120)
        #expect(
            try await source.embedded.maintain() == "purged 1 changes older than their retention of 1 minutes")
    }
}
