import DuckDB

extension DuckDBError {
    /// Whether this proves that the database's file is damaged, or of a version this DuckDB does not read: it is of no
    /// use then, whoever opens it.
    ///
    /// An error of the operating system (a full disk, a missing permission, a lock) says nothing about the file, nor
    /// does one about a statement.
    var meansDamage: Bool {
        switch self {
        case .open(_, let message, let kind), .statement(_, let message, let kind), .append(_, let message, let kind):
            // Whatever kind of error the log's replay ends with: it has been written by DuckDB.
            if message.contains("Failure while replaying WAL") { return true }
            switch kind {
            case .corruption, .serialization: return true
            // DuckDB has one kind for what it finds in a file and for what the system says about it.
            case .io: return Self.damagePhrases.contains { message.contains($0) }
            default: return false
            }
        case .parameter, .unsupportedType, .typeMismatch, .invalidValue, .noRow, .closed: return false
        }
    }

    /// The words of DuckDB's `SingleFileBlockManager`, `FileHandle` and `WriteAheadLog` about a file they cannot make sense
    /// of. The last are about a log of another checkpoint than the file's.
    private static let damagePhrases = [
        "is not a valid DuckDB database file", "Could not read enough bytes", "version number", "Corrupt",
        "This WAL was created for",
    ]

    /// Whether this is about what a statement says, which another one need not share.
    var concernsStatement: Bool {
        switch kind {
        case .binder, .catalog, .parser, .conversion, .notImplemented, .invalidInput, .dependency, .outOfRange,
            .constraint:
            true
        case .connection, .corruption, .fatal, .internal, .interrupt, .io, .outOfMemory, .permission, .serialization,
            .transaction, .other:
            false
        }
    }
}
