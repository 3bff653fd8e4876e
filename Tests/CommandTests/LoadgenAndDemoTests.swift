import Foundation
import GRDB
import TestSupport
import Testing

extension Commands {
    @Suite("tidemark loadgen")
    struct LoadgenTests {
        let place: Workplace

        init() async throws { place = try await .bootstrapped() }

        @Test("writes at its rate for its duration, and says what it did; the next run continues")
        func rate() async throws {
            for _ in 0..<2 {
                let outcome = try await place.run("loadgen", "--rate", "100", "--duration", "1s")
                #expect(outcome.end == .exit(0))
                #expect(outcome.errors.isEmpty)
                let match = try #require(
                    outcome.output.wholeMatch(of: #/wrote (\d+) transactions in (\d+\.\d) s \((\d+) a second\)\n/#))
                // A busy machine may write fewer, never more.
                #expect((1...101).contains(try #require(Int(match.1))))
                #expect(try #require(Double(match.2)) >= 1)
            }
            #expect(try place.sourceValue("SELECT count(*) > 10 FROM orders") == "1")
        }

        @Test("a signal ends it like the end of its duration", arguments: [SIGINT, SIGTERM])
        func interrupted(signal: Int32) async throws {
            let load = try place.start("loadgen", "--rate", "200")
            try await eventually("orders come in") { try place.sourceValue("SELECT count(*) FROM orders") != "0" }
            try await load.stop(signal)
            #expect(load.output.hasPrefix("wrote "))
        }
    }

    @Suite("tidemark loadgen on tables of one's own")
    struct ForeignTablesTests {
        @Test("is refused: exit 69, and which tables it is for")
        func refused() async throws {
            let place = try Workplace()
            try FileManager.default.createDirectory(atPath: place.file("data"), withIntermediateDirectories: true)
            try place.source("CREATE TABLE things (id INTEGER PRIMARY KEY)")
            #expect(try await place.run("bootstrap").end == .exit(0))
            let outcome = try await place.run("loadgen", "--duration", "1s")
            #expect(outcome.end == .exit(69))
            #expect(
                outcome.errors == """
                    tidemark: the load is for the sample tables customers, orders, payments, and sqlite:data/source.db has no \
                    captured table customers; bootstrap makes them in an empty source\n
                    """)
        }
    }

    @Suite("tidemark demo")
    struct DemoTests {
        let place: Workplace

        init() throws { place = try Workplace() }

        @Test("piped: plain lines in the order they happen, a summary, what was verified, and nothing left behind")
        func plain() async throws {
            let outcome = try await place.run("demo", "--duration", "2s", "--rate", "200")
            #expect(outcome.end == .exit(0), "\(outcome.output)\(outcome.errors)")
            #expect(outcome.errors.isEmpty)
            #expect(!outcome.output.contains("\u{1B}"))
            let lines = outcome.lines
            #expect(
                lines[0].wholeMatch(of: #/databases in .*/tidemark-demo-\w+; 200 transactions a second for 2s/#) != nil)
            #expect(lines[1].hasPrefix("t=0s  transactions="))
            #expect(lines.filter { $0.hasPrefix("t=") }.count >= 2)
            let headings = ["summary", "  CAPTURE        CHANGES", "verify"].map { lines.firstIndex(of: $0) ?? -1 }
            #expect(headings == headings.sorted() && headings[0] > 0, "\(outcome.output)")
            #expect(lines.contains { $0.wholeMatch(of: #/  PROJECTION .*FRESHNESS P50 +P95 +P99 +MAX/#) != nil })
            #expect(
                lines.contains { $0.wholeMatch(of: #/  orders_latest +\d+ +\d+( +\d+ ms){4}/#) != nil },
                "\(outcome.output)")
            #expect(lines.filter { $0.hasPrefix("  equal   projection    ") }.count == 2)
            #expect(lines.filter { $0.hasPrefix("  equal   source table  ") }.count == 3)
            #expect(try place.contents(of: "tmp").isEmpty)
        }

        @Test("--dir alone leaves nothing, not even the folder it made; with --keep the databases stay")
        func keep() async throws {
            let gone = try await place.run("demo", "--duration", "300ms", "--dir", "shop")
            #expect(gone.end == .exit(0), "\(gone.errors)")
            #expect(!place.exists("shop"))

            let kept = try await place.run("demo", "--duration", "300ms", "--dir", "shop", "--keep")
            #expect(kept.end == .exit(0))
            #expect(kept.lines.last?.hasPrefix("kept in ") == true)
            #expect(place.exists("shop/source.db") && place.exists("shop/serving.db"))
            let orders = try lastOrder()

            // Databases that were there are the user's: the demo goes on in them, and leaves them.
            let again = try await place.run("demo", "--duration", "300ms", "--dir", "shop")
            #expect(again.end == .exit(0), "\(again.output)\(again.errors)")
            #expect(again.lines.last?.hasPrefix("kept in ") == true)
            let more = try lastOrder()
            #expect(more > orders)
        }

        private func lastOrder() throws -> Int {
            let text = try place.connect("shop/source.db").read {
                try String.fetchOne($0, sql: "SELECT max(order_id) FROM orders")
            }
            return try #require(Int(text ?? ""))
        }

        @Test("files in --dir that are not the demo's stay")
        func foreignFiles() async throws {
            try place.write("mine", to: "shop/state/notes.txt")
            try place.write("mine", to: "shop/readme.txt")
            #expect(try await place.run("demo", "--duration", "300ms", "--dir", "shop").end == .exit(0))
            #expect(place.exists("shop/state/notes.txt"))
            #expect(try place.contents(of: "shop") == ["readme.txt", "state"])
        }

        @Test("Ctrl-C ends the load early; the summary and the check come all the same")
        func interrupted() async throws {
            let demo = try place.start("demo", "--duration", "10m", "--rate", "100")
            try await eventually("the load runs") { demo.output.contains("t=1s") }
            demo.process.send(SIGINT)
            let outcome = try await demo.ended()
            #expect(outcome.end == .exit(0), "\(outcome.errors)")
            #expect(outcome.lines.contains("verify"))
            #expect(try place.contents(of: "tmp").isEmpty)
        }

        @Test("on a terminal it draws over its picture, and no line is wider than the terminal")
        func terminal() async throws {
            let terminal = try PseudoTerminal(columns: 72)
            let demo = try place.start("demo", "--duration", "1s", "--rate", "100", on: terminal)
            #expect(try await demo.wait() == .exit(0))
            try await eventually("the terminal has shown the end") { terminal.text.contains("source table  payments") }
            let text = terminal.text
            #expect(text.hasPrefix("databases in "))
            #expect(text.components(separatedBy: "\u{1B}[10A\u{1B}[0J").count >= 3)
            #expect(!text.contains("t=0s"))
            let pictures = text.components(separatedBy: "summary")[0].components(separatedBy: "\r\n").dropFirst()
            let widths = pictures.map { $0.replacing(#/\u{1B}\[\d+[AJ]/#, with: "").count }
            #expect(widths.allSatisfy { $0 < 72 }, "\(widths)")
        }
    }
}
