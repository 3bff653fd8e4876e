import Embedded
import Foundation
import GRDB
import Testing
import Tidemark

@Suite("Control tables of other versions")
struct ControlSchemaTests {
    /// What the watermarks' table had in each state it was in before versions were noted: the columns added since the
    /// first one, and whether `ctl_sources` was there.
    enum Unversioned: CaseIterable, CustomTestStringConvertible {
        case first, completeFrom, sources, stagingToken

        var testDescription: String { "as of \(self)" }

        private var columns: [String] {
            let all = [
                "complete_from_lsn BINARY(10)", "resync_requested BOOLEAN NOT NULL DEFAULT 0", "staging_token TEXT",
            ]
            return switch self {
            case .first: []
            case .completeFrom: Array(all.prefix(1))
            case .sources: Array(all.prefix(2))
            case .stagingToken: all
            }
        }

        var tables: String {
            """
            CREATE TABLE ctl_serving (id INTEGER PRIMARY KEY CHECK (id = 1), serving_id TEXT NOT NULL);
            INSERT INTO ctl_serving VALUES (1, 'the database of before');
            CREATE TABLE ctl_ingestion_watermarks (
                source_name TEXT NOT NULL, capture_instance TEXT NOT NULL, last_ingested_lsn BINARY(10) NOT NULL,
                \(columns.map { "\($0), " }.joined())last_commit_time DATETIME, rows_ingested BIGINT NOT NULL,
                status TEXT NOT NULL, last_error TEXT, updated_at DATETIME NOT NULL,
                PRIMARY KEY (source_name, capture_instance));
            INSERT INTO ctl_ingestion_watermarks
                (source_name, capture_instance, last_ingested_lsn, rows_ingested, status, updated_at)
            VALUES ('shop', 'dbo_orders', x'00000000000000070000', 9, 'OK', '2026-01-01 10:00:00.000000');
            CREATE TABLE ctl_projection_checkpoints (
                projection_name TEXT NOT NULL, capture_instance TEXT NOT NULL, last_consumed_lsn BINARY(10) NOT NULL,
                updated_at DATETIME NOT NULL, PRIMARY KEY (projection_name, capture_instance));
            CREATE TABLE ctl_projection_metadata (
                projection_name TEXT NOT NULL PRIMARY KEY, status TEXT NOT NULL, as_of_lsn BINARY(10),
                as_of_time DATETIME, built_at DATETIME, definition_hash TEXT NOT NULL, rows_written BIGINT NOT NULL,
                last_error TEXT);
            """
                + (columns.count < 2
                    ? ""
                    : """
                    CREATE TABLE ctl_sources (
                        source_name TEXT NOT NULL PRIMARY KEY, identity TEXT NOT NULL, epoch INT NOT NULL, mismatch TEXT,
                        resync_requested BOOLEAN NOT NULL, last_seen_at DATETIME NOT NULL);
                    INSERT INTO ctl_sources VALUES ('shop', '', 3, NULL, 0, '2026-01-01 10:00:00.000000');
                    """)
        }
    }

    @Test(
        "those made before versions were noted are migrated, and keep what they hold", arguments: Unversioned.allCases)
    func migrated(from state: Unversioned) async throws {
        let directory = try TemporaryDirectory()
        let database = try DatabaseQueue(path: directory.file("serving.db"))
        try await database.write { try $0.execute(sql: state.tables) }
        let store = try EmbeddedServing(path: directory.file("serving.db"))
        #expect(try await store.schemaVersion() == nil)
        try await store.bootstrap()
        #expect(try await store.schemaVersion() == ControlSchema.version)
        #expect(try await store.servingID() == "the database of before")
        let watermark = try #require(try await store.watermarks(source: "shop")["dbo_orders"])
        #expect(watermark.lastIngestedLSN == LSN(hex: "0x00000000000000070000") && watermark.rowsIngested == 9)
        #expect(watermark.completeFrom == .zero && !watermark.isResyncRequested)
        #expect(try await store.source("shop")?.epoch == (state == .first || state == .completeFrom ? nil : 3))
        let token = try await database.read {
            try String.fetchOne($0, sql: "SELECT staging_token FROM ctl_ingestion_watermarks")
        }
        #expect(token == (state == .stagingToken ? nil : "unknown"))
        // Whatever way they came, the tables have the same columns.
        let new = try await SQLiteServing()
        func columns(_ path: String) async throws -> [String] {
            try await DatabaseQueue(path: path).read {
                try String.fetchAll(
                    $0,
                    sql: """
                        SELECT m.name || '.' || c.name || ' ' || c.type FROM sqlite_schema AS m, pragma_table_info(m.name) AS c
                        WHERE m.name LIKE 'ctl%' ORDER BY 1
                        """)
            }
        }
        #expect(try await columns(directory.file("serving.db")) == columns(new.path))
    }

    @Test("those of a newer version are left alone")
    func newer() async throws {
        let serving = try await SQLiteServing()
        try await serving.execute("INSERT INTO ctl_schema VALUES (\(ControlSchema.version + 1), '2026-01-01')")
        await #expect(throws: TidemarkError.self) { try await serving.embedded.bootstrap() }
    }

    @Test("a version is worked with only when it is this code's")
    func decision() throws {
        #expect(try ControlSchema.missing(found: nil) == 1..<ControlSchema.version + 1)
        #expect(try ControlSchema.missing(found: ControlSchema.version).isEmpty)
        try ControlSchema.requireCurrent(ControlSchema.version)
        for other in [nil, 1, ControlSchema.version - 1, ControlSchema.version + 1] {
            #expect(throws: TidemarkError.self) { try ControlSchema.requireCurrent(other) }
        }
    }
}
