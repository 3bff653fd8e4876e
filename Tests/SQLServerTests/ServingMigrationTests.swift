import Testing
import Tidemark

@testable import SQLServer

@Suite(
    "Control tables of other versions on SQL Server", .serialized,
    .enabled(if: TestServer.serving != nil, TestServer.servingIsMissing))
struct ServingMigrationTests {
    @Test("those of the first version are migrated, and keep what they hold, whether or not their version is noted")
    func migrated() async throws {
        try await SQLServerServingFixture.run(isBootstrapped: false) { fixture in
            let first = try #require(try ServingServer.scripts().first { $0.name == "002_control.sql" })
            try await fixture.serving.database.apply(script: first.text, name: first.name)
            #expect(try await fixture.serving.schemaVersion() == 1)
            try fixture.execute(
                """
                INSERT INTO dbo.ctl_ingestion_watermarks
                    (source_name, capture_instance, last_ingested_lsn, rows_ingested, status, updated_at)
                VALUES (N'shop', N'dbo_orders', 0x00000000000000070000, 9, N'OK', '2026-01-01');
                """)
            let id = try await fixture.serving.servingID()
            try await fixture.serving.bootstrap()
            #expect(try await fixture.serving.schemaVersion() == ControlSchema.version)

            // As it was before versions were noted.
            try fixture.execute("DROP TABLE dbo.ctl_schema")
            #expect(try await fixture.serving.schemaVersion() == nil)
            try await fixture.serving.bootstrap()
            #expect(try await fixture.serving.schemaVersion() == ControlSchema.version)
            #expect(try await fixture.serving.servingID() == id)
            let watermark = try #require(try await fixture.serving.watermarks(source: "shop")["dbo_orders"])
            #expect(watermark.lastIngestedLSN == LSN(hex: "0x00000000000000070000") && watermark.rowsIngested == 9)
            #expect(try await fixture.serving.source("shop") == nil)
        }
    }

    @Test("those of a newer version are left alone")
    func newer() async throws {
        try await SQLServerServingFixture.run { fixture in
            try fixture.execute("INSERT INTO dbo.ctl_schema VALUES (\(ControlSchema.version + 1), '2030-01-01')")
            await #expect(throws: TidemarkError.self) { try await fixture.serving.bootstrap() }
        }
    }

    @Test("there is one script for each version")
    func scripts() throws {
        let names = try ServingServer.scripts().map(\.name).filter { $0.contains("_control") }
        #expect(names.count == ControlSchema.version)
        for (index, name) in names.enumerated().dropFirst() { #expect(name == "002_control_v\(index + 1).sql") }
    }
}
