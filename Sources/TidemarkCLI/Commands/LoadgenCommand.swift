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
            continues after the highest ids it finds, so it can be run again and again; run one at a time. SIGINT or \
            SIGTERM ends it like the end of its duration, with exit code 0.

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
        guard duration != .zero else { throw ValidationError("--duration must be longer than 0") }
    }

    func run() async throws {
        let settings = try common.settings()
        let writer = try await Databases.writer(settings, logger: settings.logger)
        let start = ContinuousClock.now
        let loading = EndableWork()
        let written = try await Interruption.handled { signal, count in
            if count > 1 { Interruption.exit(by: signal) }
            loading.end()
        } during: {
            try await loading.run { [rate, duration, seed] in
                var workload = try await Workload(seed: seed, continuing: writer)
                return try await LoadGenerator(writer: writer).run(&workload, rate: rate, duration: duration)
            }
        }
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        let achieved = Int((Double(written) / max(seconds, 0.001)).rounded())
        Console.line("wrote \(written) transactions in \(seconds.formatted(decimals: 1)) s (\(achieved) a second)")
    }
}
