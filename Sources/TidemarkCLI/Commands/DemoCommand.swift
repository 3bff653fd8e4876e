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
            is verified. Exit code 0 only if all is equal.

            Example:
              tidemark demo --duration 30s --rate 2000
              tidemark demo --dir shop --keep && sqlite3 shop/serving.db 'SELECT * FROM proj_orders_latest LIMIT 5'
            """)

    @Option(name: .long, help: ArgumentHelp("How long the load lasts.", valueName: "duration"))
    var duration: Duration = .seconds(15)

    @Option(name: .long, help: ArgumentHelp("Transactions a second.", valueName: "n"))
    var rate = 500

    @Option(name: .long, help: ArgumentHelp("Folder of the databases (default: a temporary one).", valueName: "folder"))
    var dir: String?

    @Flag(name: .long, help: "Keep the databases, to look into them afterwards.")
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
        let folder = try makeFolder()
        let settings = try settings(in: folder)
        // Databases that were there before are the user's: the demo goes on in them, and leaves them.
        let isFirst = !["source.db", "serving.db"].contains {
            FileManager.default.fileExists(atPath: folder.appending(path: $0).path)
        }
        let keep = keep || !isFirst
        defer { if !keep { Self.remove(folder, isTemporary: dir == nil) } }
        _ = try await Databases.bootstrap(settings)
        let databases = try Databases(settings)

        let monitor = DemoMonitor(projections: settings.enabledProjections.map(\.definition.name))
        let pipeline = Pipeline(
            source: databases.source, store: databases.serving, definitions: settings.enabledDefinitions,
            options: settings.pipelineOptions,
            logger: LoggerFactory(level: .warning, format: .text).logger("tidemark"),
            observe: { monitor.observed($0) })
        let running = Task {
            defer { pipeline.stop() }
            try await pipeline.run()
        }
        print("databases in \(folder.path); \(rate) transactions a second for \(duration.defaultValueDescription)")

        let written: Int
        do {
            written = try await load(databases, monitor)
            try await catchUp(monitor, running)
        } catch {
            pipeline.stop()
            _ = await running.result
            throw error
        }
        pipeline.stop()
        try await running.value

        print(summary(monitor.figures, written: written))
        let report = try await VerifyReport(
            databases: databases, settings: settings, definitions: settings.enabledDefinitions, withSources: true)
        print("\nverify")
        for line in report.lines { print("  \(line)") }
        if keep { print("\nkept in \(folder.path)") }
        if !report.isEqual { throw ExitCode.verificationFailed }
    }

    /// Writes the load, and shows how the pipeline follows.
    private func load(_ databases: Databases, _ monitor: DemoMonitor) async throws -> Int {
        let writer = try await databases.writer()
        var workload = try await Workload(seed: seed, continuing: writer)
        monitor.committed(try await writer.write([workload.customers(Self.customers, at: .now())]))
        let view = DemoView()
        let drawing = Task {
            var lines = 0
            while !Task.isCancelled {
                lines = view.draw(monitor.figures, over: lines)
                do { try await Task.sleep(for: view.interval) } catch { break }
            }
            _ = view.draw(monitor.figures, over: lines)
        }
        defer { drawing.cancel() }
        let written = try await LoadGenerator(writer: writer) { monitor.committed($0) }
            .run(&workload, rate: rate, duration: duration)
        drawing.cancel()
        await drawing.value
        return written + 1
    }

    private func catchUp(_ monitor: DemoMonitor, _ running: Task<Void, any Error>) async throws {
        let deadline = ContinuousClock.now + Self.catchUpLimit
        while !monitor.isCaughtUp {
            guard ContinuousClock.now < deadline else {
                let errors = monitor.figures.projections.compactMap { name, line in line.error.map { "\(name): \($0)" } }
                throw TidemarkError.unavailable(
                    "the pipeline did not catch up within \(Self.catchUpLimit.defaultValueDescription). "
                        + errors.joined(separator: "; "))
            }
            try await Task.sleep(for: Self.interval)
        }
    }

    private func summary(_ figures: DemoMonitor.Figures, written: Int) -> String {
        var lines = ["", "summary", "  source transactions  \(written.grouped)"]
        for (name, line) in figures.captures.sorted(by: { $0.key < $1.key }) {
            lines.append("  changes of \(name)  \(line.rows.grouped)")
        }
        for (name, line) in figures.projections.sorted(by: { $0.key < $1.key }) {
            let histogram = line.freshness
            lines.append("  \(name)  \(line.commits.grouped) commits, \(line.rows.grouped) rows written")
            let percentiles = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)].map { label, fraction in
                "\(label) \(DemoView.milliseconds(histogram.percentile(fraction)))"
            }
            lines.append(
                "    freshness  \(percentiles.joined(separator: "  "))  max \(DemoView.milliseconds(histogram.maximum))")
        }
        return lines.joined(separator: "\n")
    }

    // MARK: Set-up

    private func makeFolder() throws -> URL {
        let folder =
            dir.map { URL(filePath: $0) }
            ?? FileManager.default.temporaryDirectory.appending(path: "tidemark-demo-\(UUID().uuidString.prefix(8))")
        do {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        } catch {
            throw TidemarkError.unavailable("the folder \(folder.path) cannot be made: \(error.localizedDescription)")
        }
        return folder
    }

    /// Removes what the demo made; a folder the user named stays, with whatever else is in it.
    private static func remove(_ folder: URL, isTemporary: Bool) {
        let manager = FileManager.default
        let made = ["source.db", "serving.db"].flatMap { [$0, $0 + "-wal", $0 + "-shm", $0 + ".lock"] } + ["state"]
        for path in isTemporary ? [folder] : made.map({ folder.appending(path: $0) })
        where manager.fileExists(atPath: path.path) {
            do {
                try manager.removeItem(at: path)
            } catch {
                print("\(path.path) could not be removed: \(error.localizedDescription)")
            }
        }
    }

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
