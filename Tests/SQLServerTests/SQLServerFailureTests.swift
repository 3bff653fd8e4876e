import ODBC
import Testing
import Tidemark

@testable import SQLServer

@Suite("What an operator reads of SQL Server's errors")
struct SQLServerFailureTests {
    private static let freeTDS = "[FreeTDS][SQL Server]"
    private static let microsoft = "[Microsoft][ODBC Driver 18 for SQL Server]"
    private static func record(_ state: String, _ number: Int, _ message: String) -> Diagnostic {
        Diagnostic(sqlState: state, nativeCode: number, message: message)
    }

    /// An error of a statement, with either driver's prefix, as FreeTDS states numbers it does not know.
    private static func statement(_ number: Int, _ state: String = "42000", _ driver: String = freeTDS) -> ODBCError {
        .statement(sql: "SELECT 1", records: [record(state, number, "\(driver)words of the server")])
    }

    private static func connect(_ records: Diagnostic...) -> ODBCError {
        .connect(target: "Server=db;PWD=***", records: records)
    }

    private static func told(_ error: ODBCError) -> TidemarkError? {
        SQLServerFailure.readable(error, in: DatabaseLabel(role: "serving", place: "db/shop")) as? TidemarkError
    }

    private static func isTransient(_ error: TidemarkError) -> Bool {
        if case .transient = error { true } else { false }
    }

    @Test(
        "a number comes with its sentence and its remedy, with either driver",
        arguments: [
            (208, "lacks a table", "tidemark bootstrap"), (207, "lacks a table, column", "tidemark bootstrap"),
            (229, "refuses this to the login", "docs/sql-server.md#permissions"),
            (262, "refuses this to the login", "docs/sql-server.md#permissions"),
            (297, "refuses this to the login", "docs/sql-server.md#permissions"),
            (313, "does not have all the changes", "tidemark status"),
            (515, "refuses NULL", "drop the NOT NULL"), (547, "foreign key or a check", "drop the one"),
            (916, "may not be opened by this login", "create a user"),
            (976, "secondary replica", "listener"),
            (1101, "is full", "make room"), (1105, "is full", "make room"), (9002, "is full", "make room"),
            (40544, "is full", "make room"),
            (2601, "keys already", "drop unique indexes"), (2627, "keys already", "drop unique indexes"),
            (3906, "is read-only", "primary replica"), (3908, "is read-only", "primary replica"),
            (40549, "ended by Azure SQL", "CDC_BATCH_MAX_ROWS"),
        ])
    func lasting(number: Int, words: String, remedy: String) throws {
        for driver in [Self.freeTDS, "\(Self.microsoft)[SQL Server]"] {
            for state in ["42000", "HY000", "25000", "23000"] {
                let error = try #require(Self.told(Self.statement(number, state, driver)))
                #expect(!Self.isTransient(error))
                #expect(error.description.hasPrefix("the serving database db/shop "))
                #expect(error.description.contains(words) && error.description.contains(remedy), "\(error)")
                #expect(error.description.contains("error \(number)") && error.description.contains("SELECT 1"))
            }
        }
    }

    @Test(
        "a number that passes says what happens and what to do if it does not",
        arguments: [
            (1204, "short of memory", "more memory"), (8645, "short of memory", "more memory"),
            (1205, "deadlock", "who else writes"), (1222, "did not answer in time", "blocks it"),
            (3960, "in favour of another", "who else writes"),
            (4060, "cannot be opened by this login", "create a user"),
            (911, "cannot be opened by this login", "check the database's name"),
            (926, "marked suspect", "error log"), (942, "offline", "online"), (983, "changing its role", "online"),
            (18401, "takes no logins just now", "error log"), (17142, "takes no logins just now", "error log"),
            (40197, "moved by Azure SQL", "passes"), (40613, "moved by Azure SQL", "passes"),
            (10928, "limit of Azure SQL", "larger service tier"), (49918, "limit of Azure SQL", "larger service tier"),
            (1807, "at the moment", "who changes"), (596, "was lost", "check the network"),
        ])
    func passing(number: Int, words: String, remedy: String) throws {
        let state = number == 911 ? "08004" : "42000"
        for error in [
            Self.statement(number, state), Self.statement(number, state, "\(Self.microsoft)[SQL Server]"),
        ] {
            let error = try #require(Self.told(error))
            #expect(Self.isTransient(error))
            #expect(error.description.contains(words) && error.description.contains(remedy), "\(error)")
        }
    }

    @Test(
        "a refused login says why, whatever FreeTDS adds",
        arguments: [
            (18456, "refuses the login", "check user and password"), (18452, "no SQL login", "Authentication mode"),
            (18470, "disabled", "ENABLE"), (18486, "locked out", "UNLOCK"), (18487, "expired", "ALTER LOGIN"),
            (18488, "expired", "ALTER LOGIN"), (40532, "does not know", "NAME.database.windows.net"),
            (40615, "firewall", "allow its address"), (47073, "firewall", "allow its address"),
        ])
    func refusedLogins(number: Int, words: String, remedy: String) throws {
        let server = Self.record("42000", number, "\(Self.freeTDS)Login failed")
        for error in [
            Self.connect(server, FailedConnection.conclusion),
            Self.connect(Self.record("28000", number, "\(Self.microsoft)[SQL Server]Login failed")),
        ] {
            let error = try #require(Self.told(error))
            #expect(!Self.isTransient(error))
            #expect(error.description.contains(words) && error.description.contains(remedy), "\(error)")
            #expect(!error.description.contains("cannot be reached"))
        }
    }

    @Test("a database that cannot be opened is named before the login that failed because of it")
    func unopened() throws {
        let records = [
            Self.record("28000", 18456, "\(Self.freeTDS)Login failed"),
            Self.record("42000", 4060, "\(Self.freeTDS)Cannot open database \"x\" requested by the login."),
        ]
        let error = try #require(Self.told(.connect(target: "", records: records + [FailedConnection.conclusion])))
        #expect(Self.isTransient(error) && error.description.contains("cannot be opened by this login"))
    }

    @Test("a connection that does not come about says what to look at", arguments: FailedConnection.all)
    func connections(sample: FailedConnection) throws {
        let error = try #require(Self.told(.connect(target: "Server=db;PWD=***", records: sample.records)))
        #expect(Self.isTransient(error) == sample.isTransient)
        for words in sample.words { #expect(error.description.contains(words), "\(error)") }
    }

    @Test("what has no number or an unknown one still says where to look")
    func others() throws {
        for number in [0, 50_000, 8_152] {
            let error = try #require(Self.told(Self.statement(number, "HY000")))
            #expect(!Self.isTransient(error))
            #expect(
                error.description.contains("docs/sql-server.md#troubleshooting")
                    && error.description.contains("error \(number)"))
        }
        #expect(try #require(Self.told(Self.statement(0, "23000"))).description.contains("drop one"))
        #expect(try #require(Self.told(Self.statement(0, "42501"))).description.contains("#permissions"))
        let lost = Self.statement(20_006, "08S01")
        #expect(try #require(Self.told(lost)).description.contains("check the network"))
        let slow = Self.statement(0, "HYT00")
        #expect(try #require(Self.told(slow)).description.contains("see whether another session blocks it"))
    }

    @Test("a cancelled statement is a cancellation, and errors of others are left alone")
    func untouched() {
        let label = DatabaseLabel(role: "source", place: "db")
        #expect(SQLServerFailure.readable(ODBCError.cancelled(sql: ""), in: label) is CancellationError)
        let other = TidemarkError.schema("words")
        #expect(SQLServerFailure.readable(other, in: label) as? TidemarkError == other)
    }
}
