import Foundation

// Measures the pipeline against what the databases do by themselves, each pair in one run on one machine.
// `make bench` builds and runs it; docs/benchmarks.md says what was measured, where, and what holds it back.
//
//     tidemark-bench                  all of it
//     tidemark-bench ingest cycle     some of it

let arguments = Array(CommandLine.arguments.dropFirst())
do {
    if arguments.first == DrainBenchmark.childArgument {
        try await DrainBenchmark.child(folder: arguments[1])
    } else {
        let all = ["ingest", "memory", "service", "cycle", "load", "serving", "reading"]
        let unknown = arguments.filter { !all.contains($0) }
        guard unknown.isEmpty else {
            say("unknown: \(unknown.joined(separator: " ")); there are: \(all.joined(separator: " "))")
            exit(64)
        }
        let chosen = arguments.isEmpty ? all : arguments
        let folder = FileManager.default.temporaryDirectory.appending(
            path: "tidemark-bench-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        say(Machine.description)
        if chosen.contains("ingest") { try await IngestBenchmark.run(in: folder) }
        if chosen.contains("memory") { try await DrainBenchmark.run(in: folder) }
        if chosen.contains("service") { try await ServiceMemoryBenchmark.run(in: folder) }
        if chosen.contains("reading") { try await ReadBenchmark.run() }
        if chosen.contains("serving") { try await StagingInsertBenchmark.run() }
        if chosen.contains("cycle") || chosen.contains("load") { try await ProjectionBenchmark.run(in: folder) }
    }
} catch {
    say("failed: \(error)")
    exit(70)
}
