import Embedded
import Foundation
import Tidemark

/// How much memory it takes to drain one transaction of a million rows.
enum DrainBenchmark {
    static let childArgument = "drain-child"

    static func run(in folder: URL) async throws {
        let rows = IngestBenchmark.rows
        say("\nmemory: one transaction of \(rows) rows, drained by a process of its own")
        try await IngestBenchmark.makeSource(
            folder.appending(path: "drain-source.db").path, transactions: 1, rowsEach: rows)
        let process = Process()
        process.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = [childArgument, folder.path]
        try process.run()
        process.waitUntilExit()
    }

    static func child(folder: String) async throws {
        let before = Machine.peakMemory
        try await IngestBenchmark.drain(folder + "/drain-source.db", into: folder + "/drain-serving.db")
        guard let before, let peak = Machine.peakMemory else {
            report("peak memory", "not known on this system")
            return
        }
        report("peak memory", "\(peak) MiB, \(before) MiB before the first row", target: "at most 400 MiB")
    }
}
