import Foundation
import TestSupport
import Testing

extension Commands {
    @Suite("The lease on the serving database's file")
    struct LeaseTests {
        let place: Workplace

        init() async throws { place = try await .bootstrapped() }

        @Test(
            "a second pipeline waits by whatever path it names the file",
            arguments: ["data/link.db", "data/../data/./serving.db", "elsewhere/hard.db", "folder/serving.db"])
        func paths(_ path: String) async throws {
            let files = FileManager.default
            try files.createSymbolicLink(atPath: place.file("data/link.db"), withDestinationPath: "serving.db")
            try files.createSymbolicLink(atPath: place.file("folder"), withDestinationPath: "data")
            try files.createDirectory(atPath: place.file("elsewhere"), withIntermediateDirectories: true)
            try files.linkItem(atPath: place.file("data/serving.db"), toPath: place.file("elsewhere/hard.db"))
            let first = try await place.startPipeline()
            let second = try place.start(
                "run", environment: ["SERVING_DSN": "sqlite:\(path)", "STATE_DIR": "data/state2"])
            try await second.logs("another pipeline works on this serving database; waiting for it to end")
            try place.source("INSERT INTO customers VALUES (1, 'RETAIL', 1, '2026-01-01 00:00:00')")
            try await place.caughtUp()
            try await second.stop()
            #expect(!second.errors.contains("running"))
            // The one that waited has not taken anything from the other's locks.
            try place.source("INSERT INTO customers VALUES (2, 'RETAIL', 1, '2026-01-01 00:00:00')")
            try await place.caughtUp()
            try await first.stop()
            #expect(try place.servingValue("PRAGMA integrity_check") == "ok")
        }

        @Test("a pipeline whose file was replaced ends and says so; put back, the file goes on from where it was")
        func replaced() async throws {
            let files = FileManager.default
            let run = try await place.startPipeline()
            try await place.caughtUp()
            try files.copyItem(atPath: place.file("data/serving.db"), toPath: place.file("data/copy.db"))
            try files.moveItem(atPath: place.file("data/serving.db"), toPath: place.file("data/moved.db"))
            try files.moveItem(atPath: place.file("data/copy.db"), toPath: place.file("data/serving.db"))
            let outcome = try await run.ended()
            #expect(outcome.end == .exit(75), "\(outcome.errors)")
            #expect(outcome.errors.contains("was moved, removed or replaced"), "\(outcome.errors)")

            try files.removeItem(atPath: place.file("data/serving.db"))
            try files.moveItem(atPath: place.file("data/moved.db"), toPath: place.file("data/serving.db"))
            let again = try await place.startPipeline()
            try place.source("INSERT INTO customers VALUES (1, 'RETAIL', 1, '2026-01-01 00:00:00')")
            try await place.caughtUp()
            try await again.stop()
            #expect(try Truth(place: place).complaints() == [])
        }
    }
}
