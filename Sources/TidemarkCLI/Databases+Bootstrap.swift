import Embedded
import Foundation
import Logging
import SQLServer
import Tidemark

extension Databases {
    /// Creates what is missing for the pipeline: the sample tables where the source has none, change data capture,
    /// and the control tables.
    ///
    /// - Parameter say: told what was done, as it is done, in sentences.
    static func bootstrap(
        _ settings: Settings, logger: Logger, say: (String) -> Void = { _ in }
    ) async throws {
        let source: any ChangeSource
        switch settings.bootstrapSource ?? settings.source {
        case .sqlite(let path):
            source = try await bootstrapSource(path: path, settings) { say("source: \($0)") }
        case .sqlServer(let dsn):
            try await bootstrapSource(dsn, settings) { say("source: \($0)") }
            source = SQLServerSource(
                try SQLServerDatabase(dsn, role: "source"),
                options: .init(
                    excludedColumns: settings.excludedColumns, filter: settings.captureFilter, logger: logger))
        }
        let catalog = try await source.catalog().carried
        for warning in catalog.warnings { say("source: \(warning)") }
        for refused in catalog.refused { say("source: left out: \(refused.reason)") }
        guard !catalog.captures.isEmpty else {
            throw TidemarkError.schema(
                """
                no table of \(settings.source) can be captured: give a primary key to those to capture, and see what was left \
                out above and by CDC_INCLUDE and CDC_EXCLUDE
                """)
        }
        let faults = try await source.bounds().captures.compactMapValues(\.fault)
        let captured = catalog.captures.filter { faults[$0.instance] == nil }.map(\.table)
        if !captured.isEmpty { say("source: changes are captured of \(captured.joined(separator: ", "))") }
        if let trouble = try await source.trouble() { say("source: \(trouble.error)") }

        let serving: any ServingStore
        var roles: (() async throws -> [String])?
        switch settings.bootstrapServing ?? settings.serving {
        case .sqlite(let path):
            try makeFolder(of: path)
            serving = try EmbeddedServing(path: path)
            try await serving.bootstrap()
        case .sqlServer(let dsn):
            let scripts = try SQLServerBootstrap(
                dsn, role: "serving", variables: login(of: settings.serving, isOther: settings.bootstrapServing != nil))
            for done in try await scripts.createDatabase(Scripts.serving.creation) { say("serving: \(done)") }
            serving = SQLServerServing(
                try SQLServerDatabase(dsn, role: "serving"), scripts: Scripts.serving.tables,
                warn: { logger.warning("\($0)") })
            try await serving.bootstrap()
            roles = { try await scripts.apply(Scripts.serving.roles) }
        }
        var isPrepared = false
        for capture in catalog.captures {
            do {
                try await serving.prepareStaging(for: capture, source: settings.sourceName)
                isPrepared = true
            } catch TidemarkError.schema(let reason) {
                say("serving: left out: \(reason)")
            }
        }
        guard isPrepared else {
            throw TidemarkError.schema(
                "no capture of \(settings.source) can be staged; see above for what to do about each")
        }
        // Last, since they tell tables apart by what is there.
        for done in try await roles?() ?? [] { say("serving: \(done)") }
        say("serving: control and staging tables are in place")
    }

    // MARK: SQLite

    private static func bootstrapSource(
        path: String, _ settings: Settings, say: (String) -> Void
    ) async throws -> EmbeddedSource {
        try makeFolder(of: path)
        let source = try EmbeddedSource(path: path, filter: settings.captureFilter)
        var enabled = try await source.enableWherePossible()
        if try await !source.hasTables() {
            for script in Scripts.all("sqlite/source") {
                try await source.execute(script: script.text)
                say("applied \(script.name)")
            }
            enabled = try await source.enableWherePossible()
        }
        for refused in enabled.refused { say("left out: \(refused.reason)") }
        for instance in enabled.captures { say("enabled change data capture, capture instance \(instance)") }
        return source
    }

    private static func makeFolder(of path: String) throws {
        let folder = URL(filePath: path).deletingLastPathComponent()
        guard !FileManager.default.fileExists(atPath: folder.path) else { return }
        do {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        } catch {
            throw TidemarkError.unavailable(
                "the folder \(folder.relativePath) cannot be made: \(FileFailure.reason(error))")
        }
    }

    // MARK: SQL Server

    /// Makes the sample shop in a source that has no tables, or is that shop.
    ///
    /// In any other what is captured is its owner's choice. There an administrator's login, given for bootstrap, makes
    /// the pipeline's, lets it read what is captured, and sets the capture job's interval; without one nothing is touched.
    ///
    /// - Throws: `TidemarkError.unavailable` when such a source has change data capture off.
    private static func bootstrapSource(
        _ dsn: SQLServerDSN, _ settings: Settings, say: (String) -> Void
    ) async throws {
        var variables = login(of: settings.source, isOther: settings.bootstrapSource != nil)
        variables["CAPTURE_POLLING_SECONDS"] = "\(settings.capturePolling.components.seconds)"
        let bootstrap = try SQLServerBootstrap(dsn, role: "source", variables: variables)
        let scripts = Scripts.source
        for done in try await bootstrap.createDatabase(scripts.creation) { say(done) }
        let isSample = try await bootstrap.tables().allSatisfy { Workload.columns[$0.key] == $0.value }
        var applied: [Scripts.Script] = []
        if isSample {
            applied = scripts.tables + [scripts.roles] + scripts.data
        } else if try await bootstrap.isCaptureOff() {
            throw TidemarkError.unavailable(
                """
                change data capture is off in \(settings.source), which holds tables of its own: there it is for their \
                owner to enable, with sys.sp_cdc_enable_db and sys.sp_cdc_enable_table; docs/sql-server.md shows how
                """)
        } else if settings.bootstrapSource == nil {
            say(
                """
                holds tables of its own, so nothing was changed there; with \(SettingKey.bootstrapSourceDSN.variable), an \
                administrator's, bootstrap makes the login of \(SettingKey.sourceDSN.variable), grants it what the \
                pipeline needs, and sets the capture job's interval
                """)
        } else {
            say("holds tables of its own, which were left as they are")
            applied = [scripts.roles] + (scripts.captureJob.map { [$0] } ?? [])
        }
        for script in applied {
            for done in try await bootstrap.apply(script) { say(done) }
        }
    }

    /// The login the pipeline will use, when another one is given for bootstrap.
    private static func login(of dsn: DSN, isOther: Bool) -> [String: String] {
        var login: (user: String, password: String)?
        if isOther, case .sqlServer(let dsn) = dsn { login = dsn.login }
        return ["PIPELINE_LOGIN": login?.user ?? "", "PIPELINE_PASSWORD": login?.password ?? ""]
    }
}
