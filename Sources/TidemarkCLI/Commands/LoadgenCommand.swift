import ArgumentParser
import Foundation
import Synchronization
import Tidemark

struct LoadgenCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "loadgen",
        abstract: "Write a shop's transactions to the source at a steady rate.",
        discussion: """
            Inserts, updates and deletes on the sample tables customers, orders and payments, one transaction each. It \
            continues after the highest ids it finds, so it can be run again and again; run one at a time.

            Example:
              tidemark loadgen --rate 200 --duration 30s
            """)

    @OptionGroup var common: CommonOptions

    @Option(name: .long, help: ArgumentHelp("Transactions a second.", valueName: "n"))
    var rate = 100

    @Option(name: .long, help: ArgumentHelp("How long, e.g. 30s; without it until interrupted.", valueName: "duration"))
    var duration: Duration?

    @Option(name: .long, help: ArgumentHelp("The same seed on the same tables writes the same.", valueName: "n"))
    var seed: UInt64 = 1

    func validate() throws {
        guard (1...1_000_000).contains(rate) else { throw ValidationError("--rate must be from 1 to 1000000") }
    }

    func run() async throws {
        let settings = try common.settings()
        let writer = try await Databases(settings).writer()
        var workload = try await Workload(seed: seed, continuing: writer)
        let start = ContinuousClock.now
        let written = try await LoadGenerator(writer: writer).run(&workload, rate: rate, duration: duration)
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        print("wrote \(written) transactions in \(seconds.formatted(decimals: 1)) s (\(Int(Double(written) / seconds)) a second)")
    }
}
