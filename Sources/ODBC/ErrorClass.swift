/// What a caller can do about a failure.
public enum ErrorClass: String, Hashable, Sendable, CaseIterable {
    /// Trying again may help: a lost connection, a deadlock, a timeout, throttling, a failover.
    case transient
    /// The data break a rule of the database: a key, a foreign key, a check, NOT NULL.
    case constraint
    /// The login is refused or lacks a permission.
    case permission
    /// The SQL is wrong or names something that does not exist.
    case syntax
    /// The caller asked for it.
    case cancelled
    /// Anything else: trying again without a change gives the same.
    case permanent
}

extension ErrorClass {
    /// Sorts a failure by all its records.
    ///
    /// A number that SQL Server documents as transient decides: after "cannot open database" (4060), say, it adds
    /// "login failed" (18456). Then a refusal: FreeTDS adds 08001 to every login that fails, whatever the reason.
    /// Else one transient record is enough, or the first that says something.
    public init(_ records: [Diagnostic]) {
        // FreeTDS gives some ends of a connection the SQLSTATE of a warning.
        let errors = records.filter { !$0.isWarning || $0.tellsFreeTDSLoss }
        let classes = errors.map(ErrorClass.init)
        if errors.contains(where: { Self.byNativeCode($0) == .transient }) {
            self = .transient
        } else if classes.contains(.permission) {
            self = .permission
        } else if classes.contains(.transient) && !errors.contains(where: Self.isLasting) {
            self = .transient
        } else {
            self = classes.first { $0 != .permanent && $0 != .transient } ?? .permanent
        }
    }

    /// Whether a connection failed for a reason that does not pass, though its SQLSTATE is that of a lost one.
    ///
    /// Texts of Microsoft's driver 18 and of OpenSSL, which both drivers quote.
    private static func isLasting(_ record: Diagnostic) -> Bool {
        record.sqlState.hasPrefix("08")
            && (record.message.contains("for connection string attribute")
                || record.message.contains("certificate verify failed"))
    }

    /// Sorts one record.
    public init(_ record: Diagnostic) {
        self = Self.byNativeCode(record) ?? Self.bySQLState(record.sqlState)
    }

    private static func byNativeCode(_ record: Diagnostic) -> ErrorClass? {
        if record.tellsFreeTDSLoss { return .transient }
        // Both drivers put the server's name before its messages: "[FreeTDS][SQL Server]" and
        // "[Microsoft][ODBC Driver 18 for SQL Server][SQL Server]".
        if record.message.contains("SQL Server]") {
            if transientSQLServerCodes.contains(record.nativeCode) { return .transient }
            if constraintSQLServerCodes.contains(record.nativeCode) { return .constraint }
            if permissionSQLServerCodes.contains(record.nativeCode) { return .permission }
        }
        // SQLite's driver leaves SQLSTATE at HY000. Codes: https://sqlite.org/rescode.html
        if record.message.hasPrefix("[SQLite]") {
            switch record.nativeCode & 0xff {
            case 5, 6: return .transient  // SQLITE_BUSY, SQLITE_LOCKED
            case 19: return .constraint  // SQLITE_CONSTRAINT
            case 3, 8, 23: return .permission  // SQLITE_PERM, SQLITE_READONLY, SQLITE_AUTH
            case 9: return .cancelled  // SQLITE_INTERRUPT
            default: return nil
            }
        }
        return nil
    }

    private static func bySQLState(_ state: String) -> ErrorClass {
        switch state {
        // Timeouts; PostgreSQL's cancelled by a timeout, shutdowns, starting up, and lock not available.
        case "HYT00", "HYT01", "57014", "57P01", "57P02", "57P03", "55P03": .transient
        case "42501": .permission
        case "HY008": .cancelled
        default:
            switch state.prefix(2) {
            case "08", "40", "53": state == "40002" ? .constraint : .transient
            case "23": .constraint
            case "28": .permission
            case "42", "37": .syntax
            default: state.hasPrefix("S0") ? .syntax : .permanent
            }
        }
    }

    /// Deadlock victim; no locks left, lock timeout; conflict of two snapshots; Azure SQL's throttling, failover and resource limits; network errors.
    ///
    /// https://learn.microsoft.com/azure/azure-sql/database/troubleshoot-common-errors-issues
    private static let transientSQLServerCodes: Set<Int> = [
        20, 64, 233, 1204, 1205, 1222, 3960, 4060, 4221, 10053, 10054, 10060, 10928, 10929, 40197, 40501, 40613, 49918,
        49919, 49920,
    ]

    /// Foreign key or check, duplicate key in an index, duplicate key in a constraint; NULL not allowed.
    private static let constraintSQLServerCodes: Set<Int> = [515, 547, 2601, 2627]

    /// Permission denied on an object, a column, a statement; in the database; login failed; no user.
    private static let permissionSQLServerCodes: Set<Int> = [229, 230, 262, 297, 300, 916, 18456]
}

extension Diagnostic {
    /// Whether FreeTDS says that the connection is gone: a failed read or write, an unexpected end, bytes that are no
    /// message, a dead connection (`SYBEREAD`, `SYBEWRIT`, `SYBESEOF`, `SYBEBTOK`, `SYBEDDNE` of its `sybdb.h`); or
    /// that it has nothing to say, as when the connection ended before the answer's first byte.
    var tellsFreeTDSLoss: Bool {
        message.hasPrefix("[FreeTDS]")
            && ([20_004, 20_006, 20_017, 20_020, 20_047].contains(nativeCode)
                || nativeCode == 0 && message.hasSuffix("Unknown error"))
    }
}
