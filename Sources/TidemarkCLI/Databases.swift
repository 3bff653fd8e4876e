import DuckDBEngine
import Embedded
import Foundation
import Logging
import SQLServer
import Tidemark

/// The two databases the settings name, behind their ports, and what is made of them.
///
/// The one place that knows which room implements which port. The two may be of different kinds.
struct Databases: Sendable {
    let source: any ChangeSource
    let serving: any ServingStore

    /// Opens both databases, which `bootstrap` has made.
    ///
    /// - Throws: `TidemarkError.unavailable` when one is missing, not set up or cannot be opened, `.configuration`
    ///   for a DSN no installed driver can serve.
    init(_ settings: Settings, logger: Logger) async throws {
        source = try Self.source(settings, logger: logger)
        serving = try Self.serving(settings.serving, logger: logger)
        // Asks whether the control tables are there, and says what to do when they are not.
        _ = try await serving.servingID()
        try ControlSchema.requireCurrent(try await serving.schemaVersion())
    }

    private static func source(_ settings: Settings, logger: Logger) throws -> any ChangeSource {
        switch settings.source {
        case .sqlite(let path):
            try EmbeddedSource(
                path: existing(path, role: "source", setting: .sourceDSN), filter: settings.captureFilter)
        case .sqlServer(let dsn):
            SQLServerSource(
                try SQLServerDatabase(dsn, role: "source"),
                options: .init(
                    excludedColumns: settings.excludedColumns, filter: settings.captureFilter, logger: logger))
        }
    }

    private static func serving(_ dsn: DSN, logger: Logger) throws -> any ServingStore {
        switch dsn {
        case .sqlite(let path):
            try EmbeddedServing(
                path: existing(path, role: "serving", setting: .servingDSN), warn: { logger.warning("\($0)") })
        case .sqlServer(let dsn):
            SQLServerServing(
                try SQLServerDatabase(dsn, role: "serving"), scripts: Scripts.serving.tables,
                warn: { logger.warning("\($0)") })
        }
    }

    /// Opens the engine over what is staged, with what it keeps in the state directory.
    func engine(_ settings: Settings, logger: Logger) -> EngineFactory {
        DuckDBComputeEngine.factory(
            .init(directory: URL(filePath: settings.stateDirectory), memoryLimit: settings.memory.duckDBLimit),
            store: serving, logger: logger)
    }

    /// Opens an engine that keeps nothing, beside one that a pipeline may have open.
    func passingEngine(_ settings: Settings, logger: Logger) -> EngineFactory {
        DuckDBComputeEngine.factory(
            .init(memoryLimit: settings.memory.duckDBLimit), store: serving, logger: logger)
    }

    /// The pipeline these settings describe.
    func pipeline(
        _ settings: Settings, logger: Logger, observe: @escaping @Sendable (PipelineEvent) -> Void
    ) -> Pipeline {
        Pipeline(
            source: source, store: serving, engine: engine(settings, logger: logger),
            definitions: settings.enabledDefinitions, options: settings.pipelineOptions, logger: logger,
            observe: observe)
    }

    /// A connection that writes the source as an application does.
    ///
    /// - Throws: `TidemarkError.unavailable` also when the source lacks one of the tables a `Workload` writes.
    static func writer(_ settings: Settings, logger: Logger) async throws -> any SourceWriter {
        let tables = try await source(settings, logger: logger).captures().map(\.table)
        if let missing = Workload.tables.first(where: { !tables.contains($0) }) {
            throw TidemarkError.unavailable(
                """
                the load is for the sample tables \(Workload.tables.joined(separator: ", ")), and \(settings.source) has no \
                captured table \(missing); bootstrap makes them in an empty source
                """)
        }
        switch settings.source {
        case .sqlite(let path): return try await EmbeddedWriter(path: path)
        case .sqlServer(let dsn): return SQLServerWriter(try SQLServerDatabase(dsn, role: "source"))
        }
    }

    /// The path of a database that is there. To open a missing one would make an empty file, far from a mistyped path.
    private static func existing(_ path: String, role: String, setting: SettingKey) throws -> String {
        guard FileManager.default.fileExists(atPath: path) else {
            throw TidemarkError.unavailable(
                "there is no \(role) database \(path): run tidemark bootstrap to make it, or correct \(setting.variable)"
            )
        }
        return path
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
        options.onGap = onGap
        options.projectionInterval = projectionInterval
        return options
    }
}
