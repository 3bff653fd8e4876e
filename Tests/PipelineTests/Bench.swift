import ContractTests
import DuckDBEngine
import Embedded
import Foundation
import GRDB
import Logging
import Tidemark

/// A pipeline taken apart: both databases, and each step to be made by hand.
///
/// Everything of the product's is in variables, so that a test can drop it and open it again, as a restart does.
final class Bench {
    let directory: TemporaryDirectory
    /// Another program's connection to the source.
    let application: DatabaseQueue
    /// A reader's connection to the serving database.
    let reader: DatabaseQueue

    private(set) var source: EmbeddedSource
    private(set) var serving: EmbeddedServing
    /// What ingestors and workers are given: `serving`, unless a test puts something before it.
    lazy var store: any ServingStore = serving
    /// What the pipeline reads: `source`, unless a test puts something before it.
    lazy var pipelineSource: any ChangeSource = source
    private(set) var captures: [Capture] = []
    private(set) var engine: DuckDBComputeEngine?
    var replica: Replica? { engine?.replica }
    private(set) var workers: [String: ProjectionWorker] = [:]

    static let sourceName = "source1"
    static let repository = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    var sourcePath: String { directory.file("source.db") }
    var servingPath: String { directory.file("serving.db") }

    /// - Parameters:
    ///   - schema: the source's tables; the sample shop's by default.
    ///   - rows: SQL run before change data capture is enabled.
    init(schema: String? = nil, rows: String = "", isFast: Bool = false) async throws {
        directory = try TemporaryDirectory(isFast: isFast)
        source = try EmbeddedSource(path: directory.file("source.db"))
        let sample = Self.repository.appending(path: "sql/sqlite/source/001_tables.sql")
        try await source.execute(script: schema ?? String(contentsOf: sample, encoding: .utf8))
        if !rows.isEmpty { try await source.execute(script: rows) }
        try await source.enableCDC()
        serving = try EmbeddedServing(path: directory.file("serving.db"))
        try await serving.bootstrap()
        var configuration = GRDB.Configuration()
        configuration.busyMode = .timeout(20)
        application = try DatabaseQueue(path: directory.file("source.db"), configuration: configuration)
        try await application.writeWithoutTransaction { try $0.execute(sql: "PRAGMA synchronous = OFF") }
        configuration.readonly = true
        reader = try DatabaseQueue(path: directory.file("serving.db"), configuration: configuration)
        try await prepare()
    }

    private func prepare() async throws {
        captures = try await source.captures()
        for capture in captures { try await serving.prepareStaging(for: capture, source: Self.sourceName) }
    }

    // MARK: Parts

    /// Drops every object of the pipeline, and opens both databases anew.
    func reopenDatabases() async throws {
        closeProjections()
        source = try EmbeddedSource(path: sourcePath)
        serving = try EmbeddedServing(path: servingPath)
        store = serving
        pipelineSource = source
        try await prepare()
    }

    func closeProjections() {
        workers = [:]
        engine = nil
    }

    /// Opens the engine, and a worker for each definition.
    ///
    /// - Parameter state: the state directory; `nil` keeps the replica in memory.
    func openProjections(
        _ definitions: [ProjectionDefinition], state: String? = nil, epoch: Int = 0,
        foldLimits: Replica.FoldLimits = .init()
    ) async throws {
        closeProjections()
        let engine = try await DuckDBComputeEngine(
            Self.engineOptions(state: state, foldLimits: foldLimits), captures: captures, store: store,
            watermarks: watermarks(), epoch: epoch, logger: Self.logger)
        self.engine = engine
        for definition in definitions {
            let projection = try await engine.prepare(definition, refused: [])
            let worker = ProjectionWorker(projection: projection, engine: engine, store: store, logger: Self.logger)
            try await worker.retain(watermarks: watermarks())
            workers[definition.name] = worker
        }
    }

    /// Runs the service while `body` does what it does, and stops it.
    ///
    /// - Throws: what `body` throws, or else what the service ended with.
    func running(
        _ definitions: [ProjectionDefinition], state: String? = nil,
        onGap: GapPolicy = .stop, observe: @escaping @Sendable (PipelineEvent) -> Void = { _ in },
        _ body: () async throws -> Void
    ) async throws {
        let pipeline = pipeline(definitions, state: state, onGap: onGap, observe: observe)
        let run = Task { try await pipeline.run() }
        do {
            try await body()
        } catch {
            pipeline.stop()
            _ = await run.result
            throw error
        }
        pipeline.stop()
        try await run.value
    }

    func pipeline(
        _ definitions: [ProjectionDefinition], state: String? = nil, onGap: GapPolicy = .stop,
        observe: @escaping @Sendable (PipelineEvent) -> Void = { _ in }
    ) -> Pipeline {
        var options = Pipeline.Options()
        options.sourceName = Self.sourceName
        options.pollInterval = .milliseconds(10)
        options.projectionInterval = .milliseconds(10)
        options.troubleInterval = .milliseconds(10)
        options.onGap = onGap
        return Pipeline(
            source: pipelineSource, store: store, engine: factory(state: state), definitions: definitions,
            options: options, logger: Self.logger, observe: observe)
    }

    /// Opens engines over what is staged.
    ///
    /// - Parameter state: the state directory; `nil` keeps replicas in memory.
    func factory(state: String? = nil) -> EngineFactory {
        DuckDBComputeEngine.factory(Self.engineOptions(state: state), store: store, logger: Self.logger)
    }

    private static func engineOptions(
        state: String?, foldLimits: Replica.FoldLimits = .init()
    ) -> DuckDBComputeEngine.Options {
        var options = DuckDBComputeEngine.Options(directory: state.map { URL(filePath: $0) }, memoryLimit: "200MB")
        options.foldLimits = foldLimits
        return options
    }

    func verifier() async throws -> Verifier {
        try await Verifier(source: source, store: serving, sourceName: Self.sourceName, engine: factory())
    }

    /// The status and last error in one of the control tables.
    func status(projection: String) throws -> [String?] {
        try rows("SELECT status, last_error FROM ctl_projection_metadata WHERE projection_name = '\(projection)'").first
            ?? []
    }

    func status(capture table: String) throws -> [String?] {
        try rows("SELECT status, last_error FROM ctl_ingestion_watermarks WHERE capture_instance = 'dbo_\(table)'")
            .first
            ?? []
    }

    static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    // MARK: Steps

    func watermarks() async throws -> [String: Watermark] {
        try await serving.watermarks(source: Self.sourceName)
    }

    func watermark(_ table: String) async throws -> LSN {
        try await watermarks()["dbo_\(table)"]?.lastIngestedLSN ?? .zero
    }

    /// - Parameter engine: lets it read the table anew after a gap.
    func ingestor(
        _ capture: Capture, from other: (any ChangeSource)? = nil, maxRows: Int = 10_000,
        limits: BlockLimits = .standard, engine: (any ComputeEngine)? = nil
    ) -> Ingestor {
        Ingestor(
            capture: capture, sourceName: Self.sourceName, source: other ?? source, store: store, maxRows: maxRows,
            limits: limits, engine: engine, onGap: engine == nil ? .stop : .snapshot, logger: Self.logger)
    }

    /// One window of one capture.
    @discardableResult
    func ingest(_ table: String, maxRows: Int = 10_000, bounds: SourceBounds? = nil) async throws -> Ingestor.Step? {
        guard let capture = captures.first(where: { $0.table == table }) else { return nil }
        let end: SourceBounds
        if let bounds { end = bounds } else { end = try await source.bounds() }
        return try await ingestor(capture, maxRows: maxRows).step(after: watermark(table), bounds: end)
    }

    /// Everything there is, of these tables or of all.
    func ingestAll(_ tables: [String]? = nil) async throws {
        for table in tables ?? captures.map(\.table) {
            while try await ingest(table) != nil {}
        }
    }

    @discardableResult
    func project(_ name: String) async throws -> ProjectionWorker.Step? {
        try await workers[name]?.step(watermarks: watermarks())
    }

    // MARK: Looking in

    /// Runs SQL on the source as another program does; each call is a transaction.
    func write(_ sql: String...) throws {
        try application.inDatabase { db in
            try db.inTransaction(.immediate) {
                for statement in sql { try db.execute(sql: statement) }
                return .commit
            }
        }
    }

    /// Makes a table of the source anew in one transaction, as a migration does.
    ///
    /// - Parameter puttingBack: whether the triggers are made again by their text, after `meanwhile` was run.
    func rebuild(_ table: String, puttingBack: Bool = false, _ meanwhile: String...) throws {
        try application.inDatabase { db in
            let definition = try String.fetchOne(
                db, sql: "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", arguments: [table])
            let body = definition.map { $0[($0.firstIndex(of: "(") ?? $0.startIndex)...] } ?? ""
            let triggers = try String.fetchAll(
                db, sql: "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?", arguments: [table])
            try db.inTransaction(.immediate) {
                try db.execute(
                    sql: """
                        CREATE TABLE rebuilt \(body); INSERT INTO rebuilt SELECT * FROM \(table); DROP TABLE \(table);
                        ALTER TABLE rebuilt RENAME TO \(table)
                        """)
                for statement in meanwhile { try db.execute(sql: statement) }
                if puttingBack { for trigger in triggers { try db.execute(sql: trigger) } }
                return .commit
            }
        }
    }

    /// The rows a reader gets from the serving database, as text.
    func rows(_ sql: String) throws -> [[String?]] {
        try reader.inDatabase { try Self.rows($0, sql) }
    }

    static func rows(_ db: GRDB.Database, _ sql: String) throws -> [[String?]] {
        try Row.fetchAll(db, sql: sql).map { row in row.databaseValues.map(text) }
    }

    /// A projection as a reader sees it: the LSN it is true at, and its rows, in one snapshot.
    func table(_ name: String, key: Int) throws -> (asOf: LSN, rows: ProjectionRows) {
        try reader.inDatabase { db in
            try db.execute(sql: "BEGIN")
            defer { try? db.execute(sql: "COMMIT") }
            return try Self.table(db, name, key: key)
        }
    }

    static func table(_ db: GRDB.Database, _ name: String, key: Int) throws -> (asOf: LSN, rows: ProjectionRows) {
        let found = try Data.fetchOne(
            db, sql: "SELECT as_of_lsn FROM ctl_projection_metadata WHERE projection_name = ?", arguments: [name])
        guard let found, let asOf = LSN(bytes: Array(found)) else {
            throw Failure("projection \(name) has no as_of_lsn")
        }
        let rows = try rows(db, "SELECT * FROM \"proj_\(name)\"")
        return (asOf, Dictionary(rows.map { (Array($0.prefix(key)), $0) }) { first, _ in first })
    }

    /// A value as text: blobs in hexadecimal, texts exactly.
    private static func text(_ value: DatabaseValue) -> String? {
        switch value.storage {
        case .null: nil
        case .int64(let number): "\(number)"
        case .double(let number): "\(number)"
        case .string(let text): Text.exact(text)
        case .blob(let data): data.map { Text.hex($0) }.joined()
        }
    }

    struct Failure: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }
}

extension Bench {
    /// The projections the package ships, as shipped.
    static func shipped(_ name: String) throws -> ProjectionDefinition {
        let folder = name == "customer_lifetime_value" ? "examples/projections" : "projections"
        return try .load(
            directory: repository.appending(path: folder).appending(path: name).path(percentEncoded: false))
    }
}
