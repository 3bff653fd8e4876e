import ContractTests
import Embedded
import Foundation
import GRDB
import Synchronization
import Testing
import Tidemark

/// A directory of its own for one test, removed with the value.
final class TemporaryDirectory: Sendable {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "tidemark-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { "\(path)/\(name)" }
}

/// A clock that stands until a test moves it.
final class ManualClock: Sendable {
    private let time = Mutex(Timestamp("2026-01-31 12:00:00")!)

    var now: Timestamp { time.withLock { $0 } }

    func advance(seconds: Int64) {
        time.withLock { $0 = Timestamp(microseconds: $0.microseconds + seconds * 1_000_000) }
    }
}

/// A source database in a temporary directory, and a plain connection to it, as another program has one.
final class SQLiteSource: SourceFixture {
    let directory: TemporaryDirectory
    let clock = ManualClock()
    let embedded: EmbeddedSource
    let plain: DatabaseQueue

    var source: any ChangeSource { embedded }
    var path: String { directory.file("source.db") }

    /// - Parameter schema: what to create before capture is enabled.
    init(schema: String, enable: Bool = true) async throws {
        directory = try TemporaryDirectory()
        let clock = clock
        embedded = try EmbeddedSource(path: directory.file("source.db"), now: { clock.now })
        var configuration = Configuration()
        configuration.foreignKeysEnabled = true
        configuration.busyMode = .timeout(10)
        plain = try DatabaseQueue(path: directory.file("source.db"), configuration: configuration)
        try await embedded.execute(script: schema)
        if enable { try await embedded.enableCDC() }
    }

    static func shop() async throws -> SQLiteSource {
        try await SQLiteSource(schema: sampleSchema())
    }

    /// The sample schema the package ships.
    static func sampleSchema() throws -> String {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        return try String(
            contentsOf: root.appendingPathComponent("sql/sqlite/source/001_tables.sql"), encoding: .utf8)
    }

    func transaction(_ statements: [String]) async throws {
        try await plain.write { db in
            for statement in statements { try db.execute(sql: statement) }
        }
    }

    func rolledBack(_ statements: [String]) async throws {
        try await plain.writeWithoutTransaction { db in
            try db.inTransaction {
                for statement in statements { try db.execute(sql: statement) }
                return .rollback
            }
        }
    }

    func literal(_ text: String) -> String { "'" + text.replacing("'", with: "''") + "'" }

    /// Runs statements outside a transaction.
    func execute(_ sql: String) throws {
        try plain.inDatabase { try $0.execute(sql: sql) }
    }

    func capture(_ table: String) async throws -> Capture {
        try #require(try await embedded.captures().first { $0.table == table })
    }

    /// All changes of a table that are left.
    func changes(_ table: String) async throws -> [ReadableChange] {
        let capture = try await capture(table)
        let bounds = try await embedded.bounds()
        let isComplete = try await embedded.isComplete(capture)
        let own = bounds.captures[capture.instance]
        let first = own?.minLSN ?? .zero
        // What was captured before the capture was made anew is not all there was.
        let after = isComplete ? .zero : own?.restartedAt ?? LSN(high: first.high - 1, low: 0)
        return try await embedded.changes(
            of: capture, in: LSNWindow(after: after, through: bounds.maxLSN), blockRows: 100
        ).blocks()
            .flatMap(\.readable)
    }

    /// Changes in short: `2(1, a)`.
    func log(_ table: String) async throws -> [String] {
        try await changes(table).map(\.description)
    }

    /// What the changes of a table amount to, by key (the first column).
    func replayed(_ table: String) async throws -> [[String?]] {
        var state: [String?: [String?]] = [:]
        for change in try await changes(table) {
            state[change.values[0]] = change.operation == 1 ? nil : change.values
        }
        return state.values.sorted { "\($0)" < "\($1)" }
    }

    /// The same of the changes after `lsn`.
    func replayedAfter(_ table: String, _ lsn: LSN) async throws -> [[String?]] {
        let window = LSNWindow(after: lsn, through: try await embedded.bounds().maxLSN)
        var state: [String?: [String?]] = [:]
        for change in try await embedded.changes(of: capture(table), in: window, blockRows: 100).blocks()
            .flatMap(\.readable)
        {
            state[change.values[0]] = change.operation == 1 ? nil : change.values
        }
        return state.values.sorted { "\($0)" < "\($1)" }
    }

    /// The rows of a table as they stand.
    func rows(_ table: String) async throws -> [[String?]] {
        try await embedded.rows(of: capture(table), blockRows: 100).blocks().flatMap(\.readable)
            .sorted { "\($0)" < "\($1)" }
    }
}

/// A serving database in a temporary directory.
final class SQLiteServing: ServingFixture {
    let directory: TemporaryDirectory
    let embedded: EmbeddedServing

    var store: any ServingStore { embedded }
    var path: String { directory.file("serving.db") }

    init() async throws {
        directory = try TemporaryDirectory()
        embedded = try EmbeddedServing(path: directory.file("serving.db"))
        try await embedded.bootstrap()
    }

    func another() async throws -> any ServingStore { try EmbeddedServing(path: path) }

    func execute(_ sql: String) async throws { try await embedded.execute(script: sql) }

    func indexedColumns(of table: String) async throws -> [String] {
        try await DatabaseQueue(path: path).read { db in
            try String.fetchAll(
                db,
                sql: """
                    SELECT c.name FROM pragma_index_list(?) AS i JOIN pragma_index_info(i.name) AS c
                    WHERE i.origin = 'c' ORDER BY c.name
                    """,
                arguments: [table])
        }
    }
}
