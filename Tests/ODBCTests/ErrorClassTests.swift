import ODBC
import Testing

@Suite("ErrorClass")
struct ErrorClassTests {
    private static func record(_ state: String, _ native: Int, _ message: String = "[FreeTDS][SQL Server]x")
        -> Diagnostic
    {
        Diagnostic(sqlState: state, nativeCode: native, message: message)
    }

    @Test(
        "SQLSTATE sorts errors of any driver",
        arguments: [
            ("08001", ErrorClass.transient), ("08S01", .transient), ("HYT00", .transient), ("HYT01", .transient),
            ("40001", .transient), ("40P01", .transient), ("57P01", .transient), ("53300", .transient),
            ("23000", .constraint), ("23505", .constraint), ("40002", .constraint),
            ("28000", .permission), ("42501", .permission),
            ("42S02", .syntax), ("42000", .syntax), ("37000", .syntax), ("S0002", .syntax),
            ("HY008", .cancelled), ("22003", .permanent), ("HY000", .permanent), ("IM002", .permanent),
            ("", .permanent),
        ])
    func states(state: String, expected: ErrorClass) {
        #expect(ErrorClass([Self.record(state, 0)]) == expected)
    }

    @Test("a statement that fails for no reason the driver gives is one to try again; a connection is not")
    func noReason() {
        #expect(ODBCError.statement(sql: "SELECT 1", records: []).errorClass == .transient)
        #expect(ODBCError.connect(target: "x", records: []).errorClass == .permanent)
    }

    private static let microsoft = "[Microsoft][ODBC Driver 18 for SQL Server]"

    @Test(
        "SQL Server's numbers for what passes are transient, with either driver",
        arguments: [
            1204, 1205, 1222, 1807, 3941, 3947, 3948, 3950, 3953, 3957, 3960, 3961, 3966, 8628, 8645, 8651, 9020, 601,
            617, 669,
            2021, 2816, 596, 615, 913, 921, 922, 926, 927, 941, 942, 952, 955, 956, 982, 983, 988, 4060, 4221,
            6005,
            17142, 17187, 17197, 17809, 17889, 18401, 18451, 18461, 40020, 40143, 40166, 40197, 40540, 40613, 40671,
            42108, 42109,
            49802, 10928, 10929, 10930, 10936, 40189, 40501, 40642, 40648, 40675, 40903, 49918, 49919, 49920,
        ])
    func transientCodes(code: Int) {
        #expect(ErrorClass([Self.record("42000", code)]) == .transient)
        #expect(ErrorClass([Self.record("HY000", code, "\(Self.microsoft)[SQL Server]x")]) == .transient)
        #expect(ErrorClass([Self.record("42000", code), Self.conclusion]) == .transient)
    }

    @Test(
        "a lost connection is transient by the number of Microsoft's driver, which says something else from the server",
        arguments: [20, 64, 121, 233, 997, 10053, 10054, 10060, 11001])
    func networkCodes(code: Int) {
        #expect(
            ErrorClass([Self.record("HY000", code, "\(Self.microsoft)TCP Provider: Error code 0x79")]) == .transient)
        #expect(ErrorClass([Self.record("42000", code, "\(Self.microsoft)[SQL Server]x")]) == .syntax)
        #expect(ErrorClass([Self.record("42000", code)]) == .syntax)
        #expect(ErrorClass([Self.record("23000", code)]) == .constraint)
    }

    @Test("FreeTDS' words for a connection that is gone are transient, whatever SQLSTATE it gives them")
    func freeTDSLoss() {
        for code in [20_004, 20_006, 20_017, 20_020, 20_047] {
            #expect(ErrorClass([Self.record("01000", code)]) == .transient)
        }
        #expect(ErrorClass([Self.record("HY000", 0, "[FreeTDS][SQL Server]Unknown error")]) == .transient)
        #expect(ErrorClass([Self.record("01000", 5_701)]) == .permanent)
    }

    @Test(
        "SQL Server's numbers for constraints and permissions",
        arguments: [
            (2627, ErrorClass.constraint), (2601, .constraint), (547, .constraint), (515, .constraint),
            (229, .permission), (230, .permission), (262, .permission), (297, .permission), (300, .permission),
            (916, .permission), (208, .syntax), (102, .syntax),
        ])
    func otherCodes(code: Int, expected: ErrorClass) {
        #expect(ErrorClass([Self.record("42000", code)]) == expected)
    }

    /// What FreeTDS ends every failed login with.
    private static let conclusion = record("08001", 0, "[FreeTDS][SQL Server]Unable to connect to data source")

    @Test(
        "a refused login is none that passes, though FreeTDS adds that it could not connect",
        arguments: [
            18452, 18456, 18470, 18486, 18487, 18488, 40531, 40532, 40615, 40914, 47073,
        ])
    func refusedLogins(code: Int) {
        for state in ["42000", "28000", "HY000"] {
            let refused = Self.record(state, code, "[FreeTDS][SQL Server]Login failed for user 'sa'.")
            #expect(ErrorClass([refused, Self.conclusion]) == .permission)
            #expect(ErrorClass([Self.conclusion, refused]) == .permission)
            #expect(ErrorClass([Self.record(state, code, "\(Self.microsoft)[SQL Server]x")]) == .permission)
        }
    }

    @Test("what the server says of a failed login counts with FreeTDS as with Microsoft's driver, whatever the number")
    func serversWord() {
        #expect(ErrorClass([Self.record("42000", 18_493), Self.conclusion]) == .syntax)
        #expect(ErrorClass([Self.record("HY000", 18_493), Self.conclusion]) == .permanent)
        #expect(ErrorClass([Self.record("08004", 911), Self.conclusion]) == .transient)
        // A note is no reason: the login failed after it.
        #expect(ErrorClass([Self.record("01000", 5_701), Self.conclusion]) == .transient)
        // FreeTDS' own words, in front or behind.
        #expect(ErrorClass([Self.record("08S01", 20_009), Self.conclusion]) == .transient)
        #expect(ErrorClass([Self.conclusion, Self.record("01000", 20_002)]) == .transient)
        #expect(ErrorClass([Self.conclusion, Self.record("01000", 20_013)]) == .transient)
        // The connection broke off after the server had said something.
        #expect(
            ErrorClass([Self.record("42000", 18_493), Self.conclusion, Self.record("01000", 20_017)]) == .transient)
    }

    @Test("a word FreeTDS does not know in its own settings does not pass by waiting")
    func wrongSettings() {
        let wrong = Self.record("01000", 20_214, "[FreeTDS][SQL Server]Local configuration error.")
        #expect(ErrorClass([Self.conclusion, wrong]) == .permanent)
    }

    @Test("another database's numbers mean nothing of the kind")
    func foreignCodes() {
        #expect(ErrorClass([Self.record("HY000", 20, "[SQLite]datatype mismatch (20)")]) == .permanent)
        #expect(ErrorClass([Self.record("HY000", 64, "ERROR: x")]) == .permanent)
    }

    @Test("SQLite's codes tell busy from constraint, extended ones too")
    func sqliteCodes() {
        #expect(ErrorClass([Self.record("HY000", 5, "[SQLite]database is locked (5)")]) == .transient)
        #expect(ErrorClass([Self.record("HY000", 517, "[SQLite]database is locked")]) == .transient)
        #expect(ErrorClass([Self.record("HY000", 19, "[SQLite]UNIQUE constraint failed (19)")]) == .constraint)
    }

    @Test("one transient record among several decides, else the first that says something")
    func severalRecords() {
        #expect(ErrorClass([Self.record("28000", 18456), Self.record("42000", 4060)]) == .transient)
        #expect(ErrorClass([Self.record("01000", 3621), Self.record("23000", 2627)]) == .constraint)
        #expect(ErrorClass([Self.record("HY000", 0), Self.record("42000", 229)]) == .permission)
        #expect(ErrorClass([Self.conclusion]) == .transient)
    }

    @Test(
        "a wrong connection string or certificate does not pass by waiting",
        arguments: [
            "[Microsoft][ODBC Driver 18 for SQL Server]Invalid value specified for connection string attribute 'Encrypt'",
            "[Microsoft][ODBC Driver 18 for SQL Server]SSL Provider: [error:0A000086:SSL routines::certificate verify failed]",
        ])
    func lastingFailures(message: String) {
        let added = Self.record(
            "08001", 0, "[Microsoft][ODBC Driver 18 for SQL Server]Client unable to establish connection")
        #expect(ErrorClass([Self.record("08001", 0, message), added]) == .permanent)
    }

    @Test("an error has its class, its records and a description with the SQL")
    func error() {
        let error = ODBCError.statement(
            sql: "SELECT x", records: [Self.record("40001", 1205), Self.record("01000", 0)])
        #expect(error.errorClass == .transient)
        #expect(error.records.count == 2)
        #expect(error.description.contains("40001") && error.description.contains("1205"))
        #expect(error.description.contains("[SQL: SELECT x]"))
        #expect(ODBCError.cancelled(sql: "").errorClass == .cancelled)
        #expect(ODBCError.closed("cursor").errorClass == .permanent)
    }

    @Test("warnings are told from errors")
    func warnings() {
        #expect(Self.record("01004", 0).isWarning)
        #expect(!Self.record("42000", 0).isWarning)
    }
}
