/// How a driver departs from the others, found by its file name.
///
/// Each trait names where the behaviour is documented, or the place in the driver's source.
struct DriverTraits: Sendable {
    enum Family: Sendable { case microsoft, freeTDS, postgreSQL, sqlite, other }

    let family: Family

    /// - Parameter driverName: SQL_DRIVER_NAME, e.g. `libtdsodbc.so`.
    init(driverName: String) {
        let name = driverName.lowercased()
        family =
            if name.contains("msodbcsql") { .microsoft } else if name.contains("tdsodbc") {
                .freeTDS
            } else if name.contains("psqlodbc") { .postgreSQL } else if name.contains("sqlite") { .sqlite } else {
                .other
            }
    }

    /// How a decimal column is fetched.
    enum DecimalBinding { case numeric, binaryNumeric, text }

    /// - FreeTDS gives SQL_C_NUMERIC a scale of 0 whatever the descriptor says, which drops the fraction, but
    ///   SQL_C_BINARY the same struct with the column's own scale (1.3.17, `odbc_tds2sql`, the branch for
    ///   `desttype == SQL_C_BINARY`). Money is no numeric there, so it is read as text.
    /// - psqlODBC parses its text into the struct and cannot express NaN; other drivers are unknown. Text is exact.
    func decimalBinding(typeName: String) -> DecimalBinding {
        switch family {
        case .microsoft: .numeric
        case .freeTDS: typeName.lowercased().contains("money") ? .text : .binaryNumeric
        default: .text
        }
    }

    /// Whether character data are fetched and sent as SQL_C_CHAR in UTF-8.
    ///
    /// SQLite's driver keeps UTF-8 as it is there, while its UTF-16 loses plane 16 (U+100000 and up): it masks
    /// the lead byte of a 4-byte sequence with 0x03 for 0x07 (0.9998, `uc_from_utf_buf`). The others
    /// translate SQL_C_CHAR to the locale's character set and replace what that lacks.
    var usesUTF8: Bool { family == .sqlite }

    /// Whether a string parameter ends at a NUL in it, whatever length the driver is told.
    ///
    /// SQLite's driver and psqlODBC (13.02) store what comes before the NUL and report success.
    var cutsTextAtNUL: Bool { family == .sqlite || family == .postgreSQL }

    /// Whether a column's declared size bounds its values, so that it can be bound.
    ///
    /// SQLite does not enforce the length in `VARCHAR(10)`: https://sqlite.org/datatype3.html
    var enforcesDeclaredSizes: Bool { family != .sqlite }

    /// Whether an integer column can hold more than its declared type. SQLite's are 64 bits wide.
    var hasWideIntegers: Bool { family == .sqlite }

    /// UTF-16 units that one character of a declared length may take.
    ///
    /// SQL Server counts `nvarchar(n)` in UTF-16 units; others count code points.
    var unitsPerCharacter: Int { isSQLServer ? 1 : 2 }

    /// Whether SQL_SS_TIME2_STRUCT and SQL_SS_TIMESTAMPOFFSET_STRUCT are taken as parameters.
    ///
    /// Both drivers return them as SQL_C_BINARY; FreeTDS converts DATE, TIME and TIMESTAMP structs only
    /// (1.3.17, `convert_datetime2server`), so there they are sent as text, which the server converts.
    var takesSQLServerTimes: Bool { family == .microsoft }

    /// Whether dates before 1753 arrive as others, when they are sent as SQL_DATE_STRUCT or SQL_TIMESTAMP_STRUCT.
    ///
    /// FreeTDS counts their days wrongly (1.3.17, `convert_datetime2server`: 1582-10-15 becomes the 16th, 0001-01-01 the
    /// year 45935), so there they are sent as text. What it reads is right.
    var misplacesEarlyDates: Bool { family == .freeTDS }

    /// Whether SQL_C_GUID is understood.
    var hasGUIDs: Bool { family != .sqlite }

    /// Whether SQLCancel may be called while another thread executes the statement.
    ///
    /// ODBC wants it so. SQLite's driver frees the statement's rows at once, under the feet of the thread that
    /// fills them, unless on Windows (0.9998, `SQLCancel`).
    var cancelsAcrossThreads: Bool { family != .sqlite }

    /// Whether a call may wait for an answer from elsewhere, and so for ever. SQLite's driver reads files.
    var waitsForNetwork: Bool { family != .sqlite }

    /// Whether large values are sent in pieces while executing.
    ///
    /// FreeTDS gathers the pieces in memory before it sends them, so nothing is gained there.
    var takesDataAtExecution: Bool { family == .microsoft || family == .postgreSQL }

    /// Whether a column size of 0 makes SQL_WVARCHAR `nvarchar(max)` and SQL_VARBINARY `varbinary(max)`:
    /// https://learn.microsoft.com/sql/relational-databases/native-client/features/using-large-value-types
    ///
    /// The others get long values as SQL_WLONGVARCHAR and SQL_LONGVARBINARY. FreeTDS must: it cuts SQL_WVARCHAR
    /// at 8000 bytes without a word (1.3.17, `tds_generic_put`: `colsize = MIN(colsize, size)`), and makes the
    /// long types `(max)` from TDS 7.2 on (`tds_set_param_type`).
    var usesUnlimitedSizes: Bool { family == .microsoft }

    /// Whether a prepared query that was not read to its end must be prepared anew.
    ///
    /// https://github.com/FreeTDS/freetds/issues/680
    var preparesAgainAfterPartialFetch: Bool { family == .freeTDS }

    var isSQLServer: Bool { family == .microsoft || family == .freeTDS }
}
