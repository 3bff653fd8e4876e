import Embedded
import Foundation
import Tidemark

/// The two databases the settings name, behind their ports.
///
/// The one place that knows which room implements which DSN.
struct Databases: Sendable {
    let source: any ChangeSource
    let serving: any ServingStore

    /// Opens both databases, which `bootstrap` has made.
    ///
    /// - Throws: `TidemarkError.unavailable` when one is missing, not set up or cannot be opened, `.configuration`
    ///   for a DSN this build has no driver for.
    init(_ settings: Settings) async throws {
        source = try EmbeddedSource(path: Self.existing(settings.source, role: "source", setting: .sourceDSN))
        let serving = try EmbeddedServing(
            path: Self.existing(settings.serving, role: "serving", setting: .servingDSN))
        // Asks whether the control tables are there, and says what to do when they are not.
        _ = try await serving.servingID()
        self.serving = serving
    }

    /// Creates what is missing for the pipeline: the sample tables where the source has none, change data capture,
    /// and the control tables.
    ///
    /// - Returns: sentences that say what was done.
    static func bootstrap(_ settings: Settings) async throws -> [String] {
        var done: [String] = []
        for dsn in [settings.source, settings.serving] {
            let folder = URL(filePath: try path(dsn)).deletingLastPathComponent()
            if !FileManager.default.fileExists(atPath: folder.path) {
                do {
                    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
                } catch {
                    throw TidemarkError.unavailable(
                        "the folder \(folder.relativePath) cannot be made: \(FileFailure.reason(error))")
                }
            }
        }
        let source = try EmbeddedSource(path: path(settings.source))
        var enabled = try await source.enableCDC()
        if try await !source.hasTables() {
            for (name, script) in FileTree.embedded.subtree("sql/sqlite/source").files.sorted(by: { $0.key < $1.key }) {
                try await source.execute(script: script)
                done.append("source: applied sql/sqlite/source/\(name)")
            }
            enabled = try await source.enableCDC()
        }
        done += enabled.map { "source: enabled change data capture, capture instance \($0)" }
        let captures = try await source.captures()
        guard !captures.isEmpty else {
            throw TidemarkError.schema(
                "no table of \(settings.source) has a primary key, by which changes are told apart; give one to those to capture"
            )
        }
        done.append("source: changes are captured of \(captures.map(\.table).joined(separator: ", "))")
        let serving = try EmbeddedServing(path: path(settings.serving))
        try await serving.bootstrap()
        for capture in captures {
            try await serving.prepareStaging(for: capture, source: settings.sourceName)
        }
        done.append("serving: control and staging tables are in place")
        return done
    }

    /// A connection that writes the source as an application does.
    ///
    /// - Throws: `TidemarkError.unavailable` also when the source lacks one of the tables a `Workload` writes.
    static func writer(_ settings: Settings) async throws -> any SourceWriter {
        let path = try existing(settings.source, role: "source", setting: .sourceDSN)
        let tables = try await EmbeddedSource(path: path).captures().map(\.table)
        if let missing = Workload.tables.first(where: { !tables.contains($0) }) {
            throw TidemarkError.unavailable(
                """
                the load is for the sample tables \(Workload.tables.joined(separator: ", ")), and \(settings.source) has no \
                captured table \(missing); bootstrap makes them in an empty source
                """)
        }
        return try await EmbeddedWriter(path: path)
    }

    /// The path of a database that is there. To open a missing one would make an empty file, far from a mistyped path.
    private static func existing(_ dsn: DSN, role: String, setting: SettingKey) throws -> String {
        let path = try path(dsn)
        guard FileManager.default.fileExists(atPath: path) else {
            throw TidemarkError.unavailable(
                "there is no \(role) database \(path): run tidemark bootstrap to make it, or correct \(setting.variable)"
            )
        }
        return path
    }

    private static func path(_ dsn: DSN) throws -> String {
        switch dsn {
        case .sqlite(let path): return path
        case .sqlServer, .odbc:
            throw TidemarkError.configuration("\(dsn): this build has no SQL Server driver; use sqlite:PATH")
        }
    }
}

extension Settings {
    /// The definitions of the enabled projections, each with the interval the settings give it.
    var enabledDefinitions: [ProjectionDefinition] {
        enabledProjections.map { projection in
            var definition = projection.definition
            definition.interval = projection.interval
            return definition
        }
    }

    /// The definitions of all projections, or of one.
    ///
    /// - Throws: `TidemarkError.configuration` for a name no projection has.
    func definitions(named name: String?) throws -> [ProjectionDefinition] {
        guard let name else { return enabledDefinitions }
        guard let definition = projections.first(where: { $0.definition.name == name })?.definition else {
            let known = projections.map(\.definition.name).joined(separator: ", ")
            throw TidemarkError.configuration("there is no projection \(name); there are: \(known)")
        }
        return [definition]
    }

    /// How the pipeline runs under these settings.
    var pipelineOptions: Pipeline.Options {
        var options = Pipeline.Options()
        options.sourceName = sourceName
        options.pollInterval = pollInterval
        options.batchMaxRows = batchMaxRows
        options.projectionInterval = projectionInterval
        options.stateDirectory = URL(filePath: stateDirectory)
        options.memoryLimit = duckDBMemoryLimit
        return options
    }
}
