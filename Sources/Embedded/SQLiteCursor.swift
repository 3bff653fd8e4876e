import GRDB
import Tidemark

/// Hands out the rows of a statement block by block, on a connection of its own.
///
/// Either in one snapshot, or letting go of it after each block: while the consumer is busy with a block, a snapshot
/// would keep SQLite from checkpointing the WAL, which then grows with every write.
///
/// `@unchecked`: the state is touched on the connection's queue only.
final class SQLiteCursor<Block: Sendable>: BlockReader, @unchecked Sendable {
    /// A statement before its first row, and what makes the next block of it.
    struct Opening {
        let statement: SQLiteStatement
        /// `nil` when the statement has no more rows.
        let nextBlock: (SQLiteStatement) throws -> Block?
    }

    private var opening: Opening?
    /// Opens the statement again, to go on after the last block; `nil` for a cursor with one snapshot.
    private let resume: ((Database) throws -> Opening)?
    private var isClosed = false
    private let connection: DatabaseQueue
    private let file: SQLiteFile

    init(
        _ opening: Opening, resume: ((Database) throws -> Opening)? = nil, on connection: DatabaseQueue,
        of file: SQLiteFile
    ) {
        self.opening = opening
        self.resume = resume
        self.connection = connection
        self.file = file
    }

    deinit { close() }

    func next() throws -> Block? {
        do {
            let block = try connection.unsafeRead { db in try nextBlock(db) }
            if block == nil { close() }
            return block
        } catch {
            close()
            throw SQLiteFailure.readable(error, in: file.label)
        }
    }

    private func nextBlock(_ db: Database) throws -> Block? {
        guard !isClosed else { return nil }
        if opening == nil, let resume {
            try db.execute(sql: "BEGIN DEFERRED")
            opening = try resume(db)
        }
        guard let current = opening, let block = try current.nextBlock(current.statement) else { return nil }
        if current.statement.isAtEnd {
            end(db)
            isClosed = true
            file.giveBack(connection)
        } else if resume != nil {
            end(db)
        }
        return block
    }

    /// Ends the snapshot.
    private func end(_ db: Database) {
        opening = nil
        if db.isInsideTransaction { try? db.execute(sql: "ROLLBACK") }
    }

    private func close() {
        let wasOpen = connection.unsafeRead { db in
            guard !isClosed else { return false }
            isClosed = true
            end(db)
            return true
        }
        if wasOpen { file.giveBack(connection) }
    }
}
