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
    /// "login failed" (18456). Then a refusal. Else one transient record is enough, or the first that says something.
    public init(_ records: [Diagnostic]) {
        // FreeTDS gives some ends of a connection the SQLSTATE of a warning.
        var errors = records.filter { !$0.isWarning || $0.tellsFreeTDSLoss }
        // It adds 08001 to every login that fails, whatever the reason the server gave.
        if errors.contains(where: \.isServers) { errors.removeAll(where: \.isFreeTDSConclusion) }
        let classes = errors.map(ErrorClass.init)
        if errors.contains(where: { Self.byNativeCode($0) == .transient }) {
            self = .transient
        } else if classes.contains(.permission) {
            self = .permission
        } else if classes.contains(.transient) && !records.contains(where: Self.isLasting) {
            self = .transient
        } else {
            self = classes.first { $0 != .permanent && $0 != .transient } ?? .permanent
        }
    }

    /// Whether a connection failed for a reason that does not pass, though its SQLSTATE is that of a lost one.
    ///
    /// Texts of Microsoft's driver 18 and of OpenSSL, which it quotes; FreeTDS' number for a word it does not know in
    /// its own settings (`TDSECONF` of its `tds.h`), which it gives the SQLSTATE of a warning.
    private static func isLasting(_ record: Diagnostic) -> Bool {
        record.message.hasPrefix("[FreeTDS]") && record.nativeCode == 20_214
            || record.sqlState.hasPrefix("08")
                && (record.message.contains("for connection string attribute")
                    || record.message.contains("certificate verify failed"))
    }

    /// Sorts one record.
    public init(_ record: Diagnostic) {
        self = Self.byNativeCode(record) ?? Self.bySQLState(record.sqlState)
    }

    private static func byNativeCode(_ record: Diagnostic) -> ErrorClass? {
        if record.tellsFreeTDSLoss { return .transient }
        if record.isServers {
            if transientSQLServerCodes.contains(record.nativeCode) { return .transient }
            if constraintSQLServerCodes.contains(record.nativeCode) { return .constraint }
            if permissionSQLServerCodes.contains(record.nativeCode) { return .permission }
        } else if record.message.contains("for SQL Server]"), networkCodes.contains(record.nativeCode) {
            return .transient
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

    /// What passes by itself, as SQL Server and Azure SQL number it.
    ///
    /// - Azure's lists of faults that pass and of limits:
    ///   https://learn.microsoft.com/azure/azure-sql/database/troubleshoot-common-errors-issues
    /// - What Microsoft's own client tries again:
    ///   https://learn.microsoft.com/dotnet/api/microsoft.data.sqlclient.sqlconfigurableretryfactory
    /// - The texts, most of which ask for another try:
    ///   https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
    private static let transientSQLServerCodes: Set<Int> = [
        // No locks left; deadlock victim; lock timeout; the lock on model that CREATE DATABASE takes.
        1204, 1205, 1222, 1807,
        // Row versions and snapshots: what a transaction began with is gone, or another one changed the same row.
        3941, 3947, 3948, 3950, 3953, 3957, 3960, 3961, 3966,
        // No time to optimize, no memory for a query; the log could not grow while it is shrunk; metadata changed meanwhile;
        // a page moved under a scan without locks, as those of change data capture's functions are.
        8628, 8645, 8651, 9020, 617, 669, 2021, 2816, 601,
        // The session was killed, as all are when a database moves or goes offline.
        596,
        // A database that starts, recovers, is restored, changes its role, or is offline. 926 ("suspect") and 615 are on
        // Azure's list, 4060 because a database that moves cannot be opened.
        615, 913, 921, 922, 926, 927, 941, 942, 952, 955, 956, 982, 983, 988, 4060, 4221,
        // A server that starts, stops, is paused, takes administrators only for now, or has too many connections.
        6005, 17142, 17187, 17197, 17809, 17889, 18401, 18451, 18461,
        // Azure SQL: a failover or a move.
        40020, 40143, 40166, 40197, 40540, 40613, 40671, 42108, 42109, 49802,
        // Azure SQL: a limit that is reached, and throttling.
        10928, 10929, 10930, 10936, 40189, 40501, 40642, 40648, 40675, 40903, 49918, 49919, 49920,
    ]

    /// A connection that was lost or did not come about, as Microsoft's driver numbers it: the numbers of Windows, on
    /// other systems too.
    ///
    /// On the list of its client for .NET, and of Entity Framework Core (`SqlServerTransientExceptionDetector.cs` in
    /// github.com/dotnet/efcore). They mean this in the driver's own records only: the server's 121 is an INSERT with too
    /// few columns, its 233 a NULL where none is allowed.
    private static let networkCodes: Set<Int> = [20, 64, 121, 233, 997, 10053, 10054, 10060, 11001]

    /// Foreign key or check, duplicate key in an index, duplicate key in a constraint; NULL not allowed.
    private static let constraintSQLServerCodes: Set<Int> = [515, 547, 2601, 2627]

    /// What the server refuses to a login. Only the login failure 18456 has an SQLSTATE of its own in FreeTDS
    /// (`tds_alloc_lookup_sqlstate`).
    private static let permissionSQLServerCodes: Set<Int> = [
        // Permission denied on an object, a column, a statement; on the server; in the database.
        229, 230, 262, 297, 300, 916,
        // Login failed: wrong; no Windows login; account disabled, locked out; password expired, to be changed.
        18452, 18456, 18470, 18486, 18487, 18488,
        // Azure SQL: no such server, or none named; the firewall; the rules of virtual networks; private endpoints only.
        40531, 40532, 40615, 40914, 47073,
    ]
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

    /// Whether the server said it. FreeTDS puts the server's name before its own words as well, whose numbers are 0 and
    /// those of `sybdb.h` and `tds.h`, from 20000 on.
    var isServers: Bool {
        message.contains("[SQL Server]")
            && !(message.hasPrefix("[FreeTDS]") && (nativeCode == 0 || (20_000..<20_300).contains(nativeCode)))
    }

    /// Whether it is what FreeTDS ends every failed login with (1.3.17, `odbc_connect`).
    var isFreeTDSConclusion: Bool { message.hasPrefix("[FreeTDS]") && sqlState == "08001" && nativeCode == 0 }
}
