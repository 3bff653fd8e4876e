import Foundation
import GRDB
import TestSupport
import Testing

extension Commands {
    @Suite("tidemark run")
    struct RunTests {
        let place: Workplace

        init() async throws { place = try await .bootstrapped() }

        @Test("ends within 5 seconds with exit 0 when idle", arguments: [SIGTERM, SIGINT])
        func stopsIdle(signal: Int32) async throws {
            let run = try await place.startPipeline()
            try await run.stop(signal)
            let lines = run.errors.split(separator: "\n")
            #expect(lines.suffix(2).map { $0.suffix(8) } == ["stopping", " stopped"])
            #expect(run.output.isEmpty)
        }

        @Test("ends within 5 seconds with exit 0 under load, and goes on from there", arguments: [SIGTERM, SIGINT])
        func stopsUnderLoad(signal: Int32) async throws {
            let load = try place.start("loadgen", "--rate", "1000")
            let run = try await place.startPipeline()
            try await run.logs("projected")
            try await run.stop(signal)
            try await load.stop(signal)

            let again = try await place.startPipeline()
            try await place.caughtUp()
            try await again.stop()
            #expect(try Truth(place: place).complaints() == [])
        }

        @Test("ends within 5 seconds with exit 0 while another program holds the serving database's lock")
        func stopsWhenLocked() async throws {
            let lock = try place.connect("data/serving.db")
            try await lock.writeWithoutTransaction { try $0.execute(sql: "BEGIN IMMEDIATE") }
            #if os(Linux)
            // At its start: it cannot prepare the control tables.
            let starting = try place.start("run")
            try await eventually("the process handles signals") {
                try place.handlesSignals(starting.process.identifier)
            }
            try await starting.stop()
            #endif
            try await lock.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }

            // At work: it cannot stage.
            let working = try await place.startPipeline()
            try await lock.writeWithoutTransaction { try $0.execute(sql: "BEGIN IMMEDIATE") }
            try place.source("INSERT INTO customers VALUES (1, 'RETAIL', 1, '2026-01-01 00:00:00')")
            try await working.stop()
            try await lock.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }

            let again = try await place.startPipeline()
            try await place.caughtUp()
            try await again.stop()
            #expect(try Truth(place: place).complaints() == [])
        }

        @Test("a second one waits, says so, and takes over when the first is killed")
        func standby() async throws {
            let first = try await place.startPipeline()
            let second = try place.start("run", environment: ["STATE_DIR": "data/state2"])
            try await second.logs("another pipeline works on this serving database; waiting for it to end")
            try place.source("INSERT INTO customers VALUES (1, 'RETAIL', 1, '2026-01-01 00:00:00')")
            try await place.caughtUp()
            #expect(!second.errors.contains("running"))

            try await first.process.killAndWait()
            try await second.logs("the other pipeline is gone; taking over")
            try await second.logs("running")
            try place.source(
                "INSERT INTO orders VALUES (1, 1, '9.99', 'NEW', '2026-01-01 00:00:00', '2026-01-01 00:00:00')")
            try await place.caughtUp()
            try await second.stop()
            #expect(try place.servingValue("SELECT amount FROM proj_orders_latest") == "9.99")
        }

        @Test("one that waits for another ends on a signal too")
        func standbyStops() async throws {
            let first = try await place.startPipeline()
            let second = try place.start("run")
            try await second.logs("waiting for it to end")
            try await second.stop()
            try await first.stop()
        }

        @Test("a projection that is switched off is left alone")
        func switchedOff() async throws {
            try place.source(
                "INSERT INTO orders VALUES (1, 1, '9.99', 'NEW', '2026-01-01 00:00:00', '2026-01-01 00:00:00')")
            let off = ["ENABLE_PROJ_ORDERS_LATEST": "false"]
            let run = try await place.startPipeline(environment: off)
            try await place.caughtUp(environment: off)
            try await run.stop()
            #expect(try place.servingValue("SELECT orders_count FROM proj_orders_kpi_by_minute_segment") == "1")
            #expect(
                try place.servingValue("SELECT count(*) FROM sqlite_schema WHERE name = 'proj_orders_latest'") == "0")
            let status = try await place.run("status", environment: off)
            #expect(status.lines.contains { $0.hasPrefix("orders_latest") && $0.contains("INIT, off") })
            // What is off is not verified.
            let verify = try await place.run("verify", environment: off)
            #expect(verify.end == .exit(0))
            #expect(!verify.output.contains("orders_latest"))
        }

        @Test("a third projection is a folder beside the others; one that is broken does not stop them")
        func thirdProjection() async throws {
            let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .deletingLastPathComponent()
            try FileManager.default.copyItem(
                atPath: root.appending(path: "projections").path, toPath: place.file("mine"))
            try FileManager.default.copyItem(
                atPath: root.appending(path: "examples/projections/customer_lifetime_value").path,
                toPath: place.file("mine/customer_lifetime_value"))
            // Its interval of its own is for production; a test has no time.
            let settings = "mine/customer_lifetime_value/projection.yml"
            let text = try String(contentsOfFile: place.file(settings), encoding: .utf8)
            try place.write(text.replacing("interval: 5s", with: "interval: 50ms"), to: settings)
            try place.write("name: broken\ncaptures: [orders]\nkey: [order_id]\n", to: "mine/broken/projection.yml")
            try place.write("SELECT order_id, no_such_column FROM orders\n", to: "mine/broken/query.sql")
            try place.source(
                """
                INSERT INTO customers VALUES (1, 'RETAIL', 1, '2026-01-01 00:00:00');
                INSERT INTO orders VALUES (1, 1, '9.99', 'NEW', '2026-01-01 00:00:00', '2026-01-01 00:00:00');
                INSERT INTO payments VALUES (1, 1, '5.00', '2026-01-01 00:00:00');
                """)
            let mine = ["PROJECTIONS_DIR": "mine"]
            let run = try await place.startPipeline(environment: mine)
            try await run.logs("no_such_column")
            try await place.caughtUp(environment: ["PROJECTIONS_DIR": "mine", "ENABLE_PROJ_BROKEN": "false"])

            let status = try Status(await place.run("status", "--json", environment: mine).output)
            #expect(status.projections.map(\.projection).contains("customer_lifetime_value"))
            #expect(try status.projection("broken").status == "ERROR")
            #expect(try status.projection("broken").lastError?.contains("no_such_column") == true)
            try await run.stop()
            #expect(
                try place.servingValue(
                    "SELECT orders_amount_sum || ' ' || paid_amount_sum FROM proj_customer_lifetime_value")
                    == "9.99 5.00")
            let verify = try await place.run(
                "verify", environment: ["PROJECTIONS_DIR": "mine", "ENABLE_PROJ_BROKEN": "false"])
            #expect(verify.end == .exit(0), "\(verify.output)\(verify.errors)")
            #expect(verify.output.contains("customer_lifetime_value"))
        }

        @Test("works from any directory, with the projections that are built in")
        func anyDirectory() async throws {
            let elsewhere = [
                "SOURCE_DSN": "sqlite:" + place.file("far/a/source.db"),
                "SERVING_DSN": "sqlite:" + place.file("far/b/serving.db"),
                "STATE_DIR": place.file("far/state"),
            ]
            #expect(try await place.run("bootstrap", environment: elsewhere, directory: "tmp").end == .exit(0))
            #expect(
                try await place.run("loadgen", "--duration", "200ms", environment: elsewhere, directory: "tmp").end
                    == .exit(0))
            let run = try place.start("run", environment: elsewhere, directory: "tmp")
            try await run.logs("projections=orders_kpi_by_minute_segment,orders_latest")
            try await place.caughtUp(environment: elsewhere)
            try await run.stop()
            #expect(try place.contents(of: "tmp").isEmpty)
        }

        @Test("goes on when whoever read its log is gone")
        func brokenPipe() async throws {
            let run = try place.startUnread("run")
            try place.source("INSERT INTO customers VALUES (1, 'RETAIL', 1, '2026-01-01 00:00:00')")
            try await place.caughtUp()
            run.send(SIGTERM)
            #expect(try await run.wait() == .exit(0))
        }

        @Test("LOG_FORMAT=json: every line is an object; numbers are numbers")
        func jsonLog() async throws {
            try place.source(
                "INSERT INTO orders VALUES (1, 1, '9.99', 'NEW', '2026-01-01 00:00:00', '2026-01-01 00:00:00')")
            let json = ["LOG_FORMAT": "json", "LOG_LEVEL": "debug"]
            let run = try await place.startPipeline(environment: json)
            try await place.caughtUp()
            try await run.stop()
            let lines = try run.errors.split(separator: "\n").map { line in
                try #require(JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any], "\(line)")
            }
            #expect(lines.allSatisfy { $0["time"] is String && $0["level"] is String && $0["message"] is String })
            #expect(lines.contains { $0["message"] as? String == "ingested" && $0["rows"] as? Int == 1 })
            #expect(lines.last?["message"] as? String == "stopped")
        }

        @Test("a DSN with a password is read from a file or the environment, and shown by no command line")
        func processList() async throws {
            try place.write("sqlite:data/source.db\n", to: "dsn.txt")
            let run = try await place.startPipeline(environment: ["SOURCE_DSN_FILE": "dsn.txt"])
            #expect(try place.commandLine(of: run.process.identifier) == "run")
            try await run.stop()
        }
    }
}

extension Workplace {
    /// The arguments `ps` shows.
    fileprivate func commandLine(of identifier: Int32) throws -> String {
        let words = try processTable(identifier, "args=").split(separator: " ")
        return words.dropFirst().joined(separator: " ")
    }

    #if os(Linux)
    /// Whether SIGTERM has lost its default effect: before that, a process is still being loaded.
    fileprivate func handlesSignals(_ identifier: Int32) throws -> Bool {
        let status = try String(contentsOfFile: "/proc/\(identifier)/status", encoding: .utf8)
        let masks = status.matches(of: #/Sig(?:Ign|Cgt):\s*([0-9a-f]+)/#).compactMap { UInt64($0.1, radix: 16) }
        return masks.contains { $0 & (1 << UInt64(SIGTERM - 1)) != 0 }
    }
    #endif

    private func processTable(_ identifier: Int32, _ columns: String) throws -> String {
        let process = Process()
        process.executableURL = URL(filePath: "/bin/ps")
        process.arguments = ["-o", columns, "-p", "\(identifier)"]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        // One line, which fits into the pipe.
        defer { process.waitUntilExit() }
        return String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            .trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
