import GRDB
import TestSupport

extension Workplace {
    // The databases, as another program uses them.

    func source(_ sql: String) throws { try execute(sql, "data/source.db") }
    func serving(_ sql: String) throws { try execute(sql, "data/serving.db") }

    private func execute(_ sql: String, _ database: String) throws {
        try connect(database).writeWithoutTransaction { try $0.execute(sql: sql) }
    }

    /// The first value of the first row.
    func sourceValue(_ sql: String) throws -> String? { try value(sql, "data/source.db") }
    func servingValue(_ sql: String) throws -> String? { try value(sql, "data/serving.db") }

    private func value(_ sql: String, _ database: String) throws -> String? {
        try connect(database).read { try String.fetchOne($0, sql: sql) }
    }

    func connect(_ database: String) throws -> DatabaseQueue {
        var configuration = Configuration()
        configuration.busyMode = .timeout(30)
        // For tests that hold a lock for a while.
        configuration.allowsUnsafeTransactions = true
        return try DatabaseQueue(path: file(database), configuration: configuration)
    }
}
