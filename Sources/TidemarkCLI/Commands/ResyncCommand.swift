import ArgumentParser
import Tidemark

struct ResyncCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resync",
        abstract: "Have source tables read anew, readers undisturbed.",
        discussion: """
            With a table's name: the table is read, compared with what is staged of it, and what differs is staged as changes. \
            Projections take them in like any others.

            Without one, all tables are read anew and every projection is built from them: the answer to a source that was put \
            back from a backup, or is another database on purpose. Projections stay as they are until then.

            The pipeline does the work. When one is running, this command waits until it is done; otherwise the next \
            `tidemark run` does it.

            Example:
              tidemark resync orders
              tidemark resync
            """)

    @OptionGroup var common: CommonOptions

    @Argument(help: "A table or capture instance; all of the source's without one.")
    var table: String?

    @Option(
        name: .long, help: ArgumentHelp("How long to wait for a running pipeline, e.g. 10m.", valueName: "duration"))
    var timeout: Duration = .seconds(600)

    /// Pause between two looks at what the running pipeline has done.
    private static let lookInterval: Duration = .milliseconds(100)

    func run() async throws {
        let settings = try common.settings()
        let databases = try await Databases(settings, logger: settings.logger)
        let store = databases.serving
        let source = settings.sourceName
        let instance = try await instance(in: store, source)
        let name = instance ?? "all tables of \(source)"
        let epoch = try await store.source(source)?.epoch ?? 0
        guard try await store.requestResync(source: source, capture: instance) else {
            throw TidemarkError.unavailable(
                "nothing has been read from \(source) yet: tidemark run reads its tables at its first start")
        }
        let deadline = ContinuousClock.now + timeout
        var isWaiting = false
        repeat {
            // Free when no pipeline runs, also when one ends while this command waits for it.
            if let lease = try await store.acquireLease() {
                lease.release()
                Console.line("no pipeline is running; the next tidemark run reads \(name) anew")
                return
            }
            if !isWaiting {
                // Said before the wait, and apart from the result.
                Console.complaint("a pipeline is running; it is asked to read \(name) anew")
                isWaiting = true
            }
            try await Task.sleep(for: Self.lookInterval)
            if try await isDone(instance, in: store, source, since: epoch) {
                Console.line("read \(name) anew")
                return
            }
        } while ContinuousClock.now < deadline
        throw TidemarkError.unavailable(
            """
            the running pipeline did not read \(name) anew within \(timeout.defaultValueDescription); see its log. The \
            request stands
            """)
    }

    /// The capture instance of the table; `nil` for all.
    private func instance(in store: any ServingStore, _ source: String) async throws -> String? {
        guard let table else { return nil }
        let instances = try await store.watermarks(source: source).keys.sorted()
        guard let instance = instances.first(where: { $0 == table || $0 == "dbo_\(table)" }) else {
            throw TidemarkError.configuration(
                "there is no capture of \(table); there are: \(instances.joined(separator: ", "))")
        }
        if let mismatch = try await store.source(source)?.mismatch {
            throw TidemarkError.unavailable("one table alone cannot be read anew: \(mismatch)")
        }
        return instance
    }

    private func isDone(
        _ instance: String?, in store: any ServingStore, _ source: String, since epoch: Int
    ) async throws -> Bool {
        let watermarks = try await store.watermarks(source: source)
        if let instance { return watermarks[instance]?.isResyncRequested == false }
        guard let record = try await store.source(source), record.epoch > epoch else { return false }
        for watermark in watermarks.values where watermark.status == .error {
            throw TidemarkError.unavailable("a table could not be read: \(watermark.lastError ?? "")")
        }
        return watermarks.values.allSatisfy { $0.lastIngestedLSN > .zero }
    }
}
