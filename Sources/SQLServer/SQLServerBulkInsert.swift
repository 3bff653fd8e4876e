import ODBC
import Tidemark

/// Inserts rows into a table, thousands to a statement, inside the caller's transaction.
///
/// The rows travel as one JSON parameter, which OPENJSON makes a table of, and their binary values as another one that
/// SUBSTRING takes apart: the fastest way both drivers have (docs/benchmarks.md). Rows with a value that JSON might
/// change travel as arrays of parameters in their binary form, and so do all where the database has no OPENJSON (a
/// compatibility level below 130).
struct SQLServerBulkInsert {
    /// What one column of the table is filled with.
    enum Source {
        case values(ColumnVector, SQLServerRowEncoder)
        case lsns([LSN])
        case integers([Int32])
        case operations([UInt8])
        /// The same in every row.
        case time(Timestamp)
    }

    /// Bytes of JSON and binary values in a statement: some two thousand rows, beyond which it gets no faster.
    private static let statementBytes = 256 << 10
