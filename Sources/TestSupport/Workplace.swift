import Foundation
import Synchronization
package import Testing

/// A folder in which `tidemark` is run as its users run it, removed with the value.
///
/// Both databases are in `data/`, as by default; the environment holds nothing but what is said here.
package final class Workplace: Sendable {
    /// What a run of a command left.
    package struct Outcome {
        package let end: ChildProcess.End
        package let output: String
        package let errors: String

        package var lines: [String] { Workplace.lines(output) }
        package var errorLines: [String] { Workplace.lines(errors) }
    }

    /// A command that runs, and what it has written.
    package struct Running {
        package let process: ChildProcess
        package let outputFile: String
        package let errorFile: String

        package var output: String { Workplace.read(outputFile) }
        package var errors: String { Workplace.read(errorFile) }

        package func ended(within limit: Duration = patience) async throws -> Outcome {
            let end: ChildProcess.End
            do {
                end = try await process.wait(within: limit)
            } catch {
                throw TimedOut(description: "\(error); it wrote: \(output)\(errors)")
            }
            return Outcome(end: end, output: output, errors: errors)
        }

        /// Waits until standard error has `text`; an end of the process before is an error.
        package func logs(_ text: String, within limit: Duration = patience) async throws {
            var hasEnded = false
            do {
                try await eventually("the log says '\(text)'", within: limit) {
                    // The order matters: what was written before the end is seen.
                    hasEnded = process.ended != nil
                    return errors.contains(text) || hasEnded
                }
            } catch {
                throw TimedOut(description: "\(error); it says: \(errors)")
            }
            guard errors.contains(text) else {
                throw TimedOut(description: "ended before the log said '\(text)': \(errors)")
            }
        }

        /// Ends a service as an operator does, and checks that it keeps its promise.
        package func stop(_ signal: Int32 = SIGTERM, sourceLocation: SourceLocation = #_sourceLocation) async throws {
            let start = ContinuousClock.now
            process.send(signal)
            let outcome = try await ended()
            let took = ContinuousClock.now - start
            #expect(outcome.end == .exit(0), "it wrote: \(outcome.errors)", sourceLocation: sourceLocation)
            #expect(took < .seconds(5), "stopping took \(took)", sourceLocation: sourceLocation)
        }
    }

    package let path: String
    private let environment: [String: String]
    private let count = Mutex(0)

    /// - Parameter environment: besides what makes the pipeline look often, so that tests take less time.
    package init(environment: [String: String] = [:]) throws {
        path = NSTemporaryDirectory() + "tidemark-command-\(UUID().uuidString.prefix(8))"
        for folder in ["", "/tmp", "/logs"] {
            try FileManager.default.createDirectory(atPath: path + folder, withIntermediateDirectories: true)
        }
        // The zone of the tests is the zone of what they run: `.ci/run` chooses one.
        let zone = ProcessInfo.processInfo.environment["TZ"].map { ["TZ": $0] } ?? [:]
        self.environment = [
            "POLL_INTERVAL": "50ms", "PROJECTION_INTERVAL": "50ms", "TMPDIR": path + "/tmp",
        ].merging(zone) { $1 }.merging(environment) { $1 }
    }

    /// A workplace whose databases are bootstrapped.
    package static func bootstrapped(environment: [String: String] = [:]) async throws -> Workplace {
        let place = try Workplace(environment: environment)
        let outcome = try await place.run("bootstrap")
        try #require(outcome.end == .exit(0), "\(outcome.errors)")
        return place
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    package func file(_ name: String) -> String { "\(path)/\(name)" }

    package func write(_ text: String, to name: String) throws {
        let url = URL(filePath: file(name))
        try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: url)
    }

    package func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: file(name)) }

    package func contents(of folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: file(folder)).sorted()
    }

    // MARK: Commands

    package func start(
        _ arguments: String..., environment: [String: String] = [:], directory: String = ""
    ) throws -> Running {
        try start(arguments, environment: environment, directory: directory)
    }

    package func start(
        _ arguments: [String], environment: [String: String], directory: String = ""
    ) throws -> Running {
        let number = count.withLock { count in
            count += 1
            return count
        }
        let files = ["out", "err"].map { file("logs/\(number)-\(arguments.first ?? "tidemark").\($0)") }
        let process = try ChildProcess(
            try Self.binary(), arguments, environment: self.environment.merging(environment) { $1 },
            directory: file(directory), output: .files(output: files[0], errors: files[1]))
        return Running(process: process, outputFile: files[0], errorFile: files[1])
    }

    /// Runs a command to its end.
    package func run(
        _ arguments: String..., environment: [String: String] = [:], directory: String = ""
    ) async throws -> Outcome {
        try await start(arguments, environment: environment, directory: directory).ended()
    }

    /// Starts a command on a terminal.
    package func start(_ arguments: String..., on terminal: PseudoTerminal) throws -> ChildProcess {
        try ChildProcess(
            try Self.binary(), arguments, environment: environment.merging(["TERM": "xterm"]) { $1 }, directory: path,
            output: .terminal(terminal))
    }

    /// Starts a command whose log nobody reads any more.
    package func startUnread(_ arguments: String...) throws -> ChildProcess {
        try ChildProcess(
            try Self.binary(), arguments, environment: environment, directory: path,
            output: .brokenPipe(output: file("logs/unread.out")))
    }

    /// Starts the service and waits until its loops work.
    package func startPipeline(environment: [String: String] = [:]) async throws -> Running {
        let running = try start("run", environment: environment)
        try await running.logs("running")
        return running
    }

    /// Waits until every enabled projection is true at the end of the source's log.
    package func caughtUp(within limit: Duration = patience, environment: [String: String] = [:]) async throws {
        var last = ""
        do {
            try await eventually("the projections have caught up", within: limit) {
                last = try await run("status", "--json", environment: environment).output
                let status = try Status(last)
                return status.projections.allSatisfy {
                    !$0.enabled || ($0.status == "OK" && $0.asOfLsn == status.sourceMaxLsn)
                }
            }
        } catch let error as TimedOut {
            throw TimedOut(description: "\(error); the status is: \(last)")
        }
    }

    /// The product beside the test bundle: swift build puts both into one folder.
    private static func binary() throws -> String {
        let bundles = Bundle.allBundles.map(\.bundleURL) + [URL(filePath: CommandLine.arguments[0])]
        let candidates = bundles.flatMap { [$0, $0.deletingLastPathComponent()] }
            .map { $0.appending(path: "tidemark").path }
        return try #require(
            candidates.first { path in
                var isFolder: ObjCBool = false
                return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && !isFolder.boolValue
            }, "there is no tidemark beside the tests")
    }

    // MARK: Text

    private static func read(_ file: String) -> String {
        FileManager.default.contents(atPath: file).map { String(decoding: $0, as: UTF8.self) } ?? ""
    }

    private static func lines(_ text: String) -> [String] {
        text.split(separator: "\n", omittingEmptySubsequences: false).dropLast(text.hasSuffix("\n") ? 1 : 0)
            .map(String.init)
    }
}

/// What `tidemark status --json` prints.
package struct Status: Decodable {
    package struct Capture: Decodable {
        package let capture: String
        package let status: String
        package let lastIngestedLsn: String
        package let lastCommitTime: String?
        package let lagSeconds: Double?
        package let rowsIngested: Int
        package let lastError: String?
    }

    package struct Projection: Decodable {
        package let projection: String
        package let enabled: Bool
        package let status: String
        package let asOfLsn: String?
        package let asOfTime: String?
        package let lagSeconds: Double?
        package let rowsWritten: Int
        package let builtAt: String?
        package let lastError: String?
        package let waiting: String?
    }

    package let source: String
    package let serving: String
    package let sourceMaxLsn: String
    package let sourceMaxCommitTime: String?
    package let captures: [Capture]
    package let projections: [Projection]

    package init(_ text: String) throws {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        self = try decoder.decode(Status.self, from: Data(text.utf8))
    }

    package func capture(_ name: String) throws -> Capture { try #require(captures.first { $0.capture == name }) }
    package func projection(_ name: String) throws -> Projection {
        try #require(projections.first { $0.projection == name })
    }
}
