import ArgumentParser
import Foundation
import Logging
import Tidemark

struct DemoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Watch the pipeline follow a busy source, then check every row.",
        discussion: """
            Makes two SQLite databases in a throw-away folder, puts a shop's load on the source, runs the pipeline, and \
            shows how fresh the projections are: from the commit of each source transaction to the commit of the \
            projection that shows it. Then the load stops, the pipeline catches up, and every projection and source table \
            is verified. Exit code 0 only if all is equal. Ctrl-C ends the load early; a second one quits.

            Example:
              tidemark demo --duration 30s --rate 2000
              tidemark demo --dir shop --keep
              sqlite3 shop/serving.db 'SELECT * FROM proj_orders_latest LIMIT 5'
            """)

    @Option(name: .long, help: ArgumentHelp("How long the load lasts.", valueName: "duration"))
    var duration: Duration = .seconds(15)

    @Option(name: .long, help: ArgumentHelp("Transactions a second.", valueName: "n"))
    var rate = 500

    @Option(name: .long, help: ArgumentHelp("Folder of the databases (default: a temporary one).", valueName: "folder"))
    var dir: String?

    @Flag(
        name: .long,
        help: "Keep the databases, to look into them afterwards. Those that were there before are always kept.")
    var keep = false

    @Option(name: .long, help: ArgumentHelp("The same seed writes the same transactions.", valueName: "n"))
    var seed: UInt64 = 1

    /// The demo looks at the source and runs its projections this often: freshness is what it is there to show.
    private static let interval: Duration = .milliseconds(50)
    /// Customers before the first order.
    private static let customers = 200
    /// How long the pipeline may take to catch up once the load has stopped.
    private static let catchUpLimit: Duration = .seconds(120)

    func validate() throws {
        guard (1...1_000_000).contains(rate) else { throw ValidationError("--rate must be from 1 to 1000000") }
        guard duration > .zero else { throw ValidationError("--duration must be longer than 0") }
    }

    func run() async throws {
        let place = try DemoFolder(dir, keep: keep)
        let loading = EndableWork()
        try await Interruption.handled { signal, count in
            if count == 1, loading.isRunning {
                loading.end()
            } else {
                place.clear()
                Interruption.exit(by: signal)
            }
        } during: {
            defer { place.clear() }
            try await run(in: place, loading: loading)
        }
    }

    private func run(in place: DemoFolder, loading: EndableWork) async throws {
        let settings = try settings(in: place.url)
        try await Databases.bootstrap(settings, logger: settings.logger)
        let databases = try await Databases(settings, logger: settings.logger)

        let monitor = DemoMonitor(projections: settings.enabledProjections.map(\.definition.name))
        let pipeline = databases.pipeline(
            settings, logger: LoggerFactory(level: .warning, format: .text).logger("tidemark")
        ) { monitor.observed($0) }
        let running = Task {
            // A pipeline that cannot work ends the load, and the wait for it.
            defer {
                monitor.pipelineEnded()
                loading.end()
            }
            try await pipeline.run()
        }
        Console.line(
            "databases in \(place.url.path); \(rate.grouped) transactions a second for \(duration.defaultValueDescription)"
        )

        let written: Int
        do {
            let writer = try await Databases.writer(settings, logger: settings.logger)
            written = try await loading.run { try await load(writer, monitor) }
            try await catchUp(monitor)
        } catch {
            pipeline.stop()
            // A pipeline that ended by itself knows why.
            try await running.value
            throw error
        }
        pipeline.stop()
        try await running.value

        Console.line(summary(monitor.figures, written: written))
        let report = try await VerifyReport(
            databases: databases, settings: settings, definitions: settings.enabledDefinitions, withSources: true)
        Console.line("\nverify")
        Console.line(report.text.indented)
        if place.isKept { Console.line("\nkept in \(place.url.path)") }
        if !report.isEqual { throw ExitCode.failureFound }
    }

    /// Writes the load, and shows how the pipeline follows. Returns the number of transactions.
    private func load(_ writer: any SourceWriter, _ monitor: DemoMonitor) async throws -> Int {
        var workload = try await Workload(seed: seed, continuing: writer)
        let customers = workload.customers(Self.customers, at: .now())
        // In a task of its own, which an early end does not cut off.
        monitor.committed(try await Task { try await writer.write([customers]) }.value)
        // The first builds are no measure of how fresh a running pipeline keeps its projections.
        try await catchUp(monitor)
        monitor.resetFreshness()
        let view = DemoView()
        let drawing = Task {
            var lines = 0
            while !Task.isCancelled {
                lines = view.draw(monitor.figures, over: lines)
                do { try await Task.sleep(for: view.interval) } catch { break }
            }
            if view.isTerminal { _ = view.draw(monitor.figures, over: lines) }
        }
        defer { drawing.cancel() }
        let written = try await LoadGenerator(writer: writer) { monitor.committed($0) }
            .run(&workload, rate: rate, duration: duration)
        drawing.cancel()
        await drawing.value
        return written + 1
    }

    private func catchUp(_ monitor: DemoMonitor) async throws {
        let deadline = ContinuousClock.now + Self.catchUpLimit
        while !monitor.isCaughtUp {
            guard ContinuousClock.now < deadline, !monitor.hasPipelineEnded else {
                let errors = monitor.figures.projections.compactMap { name, line in line.error.map { "\(name): \($0)" }
                }
                throw TidemarkError.unavailable(
                    "the pipeline did not catch up within \(Self.catchUpLimit.defaultValueDescription). "
                        + errors.joined(separator: "; "))
            }
            try await Task.sleep(for: Self.interval)
        }
    }

    private func summary(_ figures: DemoMonitor.Figures, written: Int) -> String {
        var captures = TextTable(["CAPTURE", "CHANGES"])
        for (name, line) in figures.captures.sorted(by: { $0.key < $1.key }) {
            captures.add([name, line.rows.grouped])
        }
        var projections = TextTable(["PROJECTION", "COMMITS", "ROWS WRITTEN", "FRESHNESS P50", "P95", "P99", "MAX"])
        for (name, line) in figures.projections.sorted(by: { $0.key < $1.key }) {
            let percentiles = [0.5, 0.95, 0.99].map { DemoView.milliseconds(line.freshness.percentile($0)) }
            projections.add(
                [name, line.commits.grouped, line.rows.grouped] + percentiles
                    + [DemoView.milliseconds(line.freshness.maximum)])
        }
        return """

            summary
              \(written.grouped) transactions on the source

            \(captures.text.indented)

            \(projections.text.indented)
            """
    }

    // MARK: Set-up

    private func settings(in folder: URL) throws -> Settings {
        // Only what the demo is about; settings of the user's pipeline have no say here.
        let milliseconds = Self.interval.defaultValueDescription
        return try Settings.load(
            environment: [
                "SOURCE_DSN": "sqlite:\(folder.appending(path: "source.db").path)",
                "SERVING_DSN": "sqlite:\(folder.appending(path: "serving.db").path)",
                "STATE_DIR": folder.appending(path: "state").path,
                "POLL_INTERVAL": milliseconds, "PROJECTION_INTERVAL": milliseconds,
            ], file: nil, workingDirectory: folder.path)
    }
}
