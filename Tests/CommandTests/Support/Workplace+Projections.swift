import Foundation
import GRDB
import TestSupport
import Testing

/// A projection's folder, as a user writes it.
struct ProjectionFolder {
    var name: String
    var captures: [String]
    var key: [String]
    var interval: String?
    var query: String
    var affected: String?
}

extension Workplace {
    /// A bootstrapped workplace whose source has tables of its own, read by projections of its own.
    static func holding(
        tables: String, projections: [ProjectionFolder], environment: [String: String] = [:]
    ) async throws -> Workplace {
        let place = try Workplace(environment: ["PROJECTIONS_DIR": "mine"].merging(environment) { $1 })
        try FileManager.default.createDirectory(atPath: place.file("data"), withIntermediateDirectories: true)
        try place.source("PRAGMA journal_mode = WAL")
        try place.source(tables)
        for projection in projections { try place.put(projection) }
        let outcome = try await place.run("bootstrap")
        try #require(outcome.end == .exit(0), "\(outcome.errors)")
        return place
    }

    /// Writes a projection's folder, in place of the one that was there.
    func put(_ projection: ProjectionFolder) throws {
        let folder = "mine/\(projection.name)"
        try? FileManager.default.removeItem(atPath: file(folder))
        var lines = [
            "name: \(projection.name)", "captures: [\(projection.captures.joined(separator: ", "))]",
            "key: [\(projection.key.joined(separator: ", "))]",
        ]
        if let interval = projection.interval { lines.append("interval: \(interval)") }
        try write(lines.joined(separator: "\n") + "\n", to: "\(folder)/projection.yml")
        try write(projection.query + "\n", to: "\(folder)/query.sql")
        if let affected = projection.affected { try write(affected + "\n", to: "\(folder)/affected.sql") }
    }

    /// The rows of a query on the serving database, each as its values with bars between them.
    func servingRows(_ sql: String) throws -> [String] {
        try connect("data/serving.db").read { db in
            try Row.fetchAll(db, sql: sql).map { row in
                row.databaseValues.map { value in
                    switch value.storage {
                    case .null: "NULL"
                    case .int64(let number): "\(number)"
                    case .double(let number): "\(number)"
                    case .string(let text): text
                    case .blob(let data): data.map { String($0, radix: 16) }.joined(separator: " ")
                    }
                }.joined(separator: "|")
            }
        }
    }
}
