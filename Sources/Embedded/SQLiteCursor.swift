import GRDB
import Tidemark

/// Hands out the rows of a statement block by block, in one snapshot, on a connection of its own.
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
    private let connection: DatabaseQueue
    private let file: SQLiteFile

    init(_ opening: Opening, on connection: DatabaseQueue, of file: SQLiteFile) {
        self.opening = opening
        self.connection = connection
        self.file = file
    }

    deinit { close() }

    func next() throws -> Block? {
        do {
            let block = try connection.unsafeRead { _ in
                try opening.flatMap { try $0.nextBlock($0.statement) }
            }
            if block == nil { close() }
            return block
        } catch {
            close()
            throw SQLiteFailure.readable(error, in: file.label)
        }
    }

    private func close() {
        let wasOpen = connection.unsafeRead { db in
            guard opening != nil else { return false }
            opening = nil
            if db.isInsideTransaction { try? db.execute(sql: "ROLLBACK") }
            return true
        }
        if wasOpen { file.giveBack(connection) }
    }
}
