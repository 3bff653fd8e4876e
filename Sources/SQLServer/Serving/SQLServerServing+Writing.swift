import ODBC
import Tidemark

extension SQLServerServing {
    /// How often a transaction whose data are in memory is tried when the database fails in a way that passes.
    static let attempts = 5

    /// Runs `body` in a transaction.
    ///
    /// A connection lost in COMMIT leaves open whether it took place. So `isDone` asks the database, in a transaction
    /// that waits for the lost one's row lock; when it took place, all is well.
    ///
    /// - Parameter attempts: how often to try when the failure passes: a deadlock, a lost connection, throttling. 1
    ///   when `body` cannot be repeated.
    func write<Success: Sendable>(
        attempts: Int = 1, _ body: @escaping @Sendable (Connection) throws -> Success,
        isDone: @escaping @Sendable (Connection) throws -> Bool
    ) async throws -> Success {
        var attempt = 1
        while true {
            do {
                return try await database.run { connection in
                    var result: Success?
                    do {
                        return try connection.transaction {
                            let success = try body(connection)
                            result = success
                            return success
                        }
                    } catch let error as ODBCError {
                        guard let result, error.errorClass != .cancelled else { throw error }
                        throw CommitInDoubt(result: result, error: error)
                    }
                }
            } catch let doubt as CommitInDoubt<Success> {
                let error = SQLServerFailure.readable(doubt.error, in: database.label)
                do {
                    if try await database.transaction(isDone) { return doubt.result }
                } catch {
                    // What happened to the transaction remains open; the caller looks at the database again.
                    throw SQLServerFailure.readable(doubt.error, in: database.label)
                }
                guard attempt < attempts else { throw error }
            } catch TidemarkError.transient(let message) {
                guard attempt < attempts else { throw TidemarkError.transient(message) }
            }
            try await Task.sleep(for: Self.pause(after: attempt))
            attempt += 1
        }
    }

    /// 50 ms, doubling, with as much again at random, so that two victims of a deadlock do not meet again.
    private static func pause(after attempt: Int) -> Duration {
        let pause = Duration.milliseconds(50 << (attempt - 1))
        return pause + pause * Double.random(in: 0..<1)
    }

    /// Updates a row of a control table, or inserts it when it is missing.
    ///
    /// Two that insert at once are told apart by the primary key: the second one updates.
    func upsert(
        update: @escaping @Sendable (Connection) throws -> Int,
        insert: @escaping @Sendable (Connection) throws -> Void
    ) async throws {
        try await database.run { connection in
            if try update(connection) > 0 { return }
            do {
                try insert(connection)
            } catch let error as ODBCError where error.isKeyViolation {
                _ = try update(connection)
            }
        }
    }
}

/// A COMMIT that failed, so that nobody knows whether it took place.
private struct CommitInDoubt<Success: Sendable>: Error {
    let result: Success
    let error: ODBCError
}
