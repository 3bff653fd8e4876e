import ODBC
import Testing

/// What the drivers and unixODBC report of a connection that did not come about, and what an operator has to read.
struct FailedConnection: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let records: [Diagnostic]
    let isTransient: Bool
    let words: [String]

    private init(_ name: String, isTransient: Bool, _ records: [Diagnostic], _ words: String...) {
        testDescription = name
        self.records = records
        self.isTransient = isTransient
        self.words = words
    }

    private static func freeTDS(_ state: String, _ number: Int, _ words: String) -> Diagnostic {
        Diagnostic(sqlState: state, nativeCode: number, message: "[FreeTDS][SQL Server]\(words)")
    }

    private static func microsoft(_ state: String, _ number: Int, _ words: String) -> Diagnostic {
        Diagnostic(sqlState: state, nativeCode: number, message: "[Microsoft][ODBC Driver 18 for SQL Server]\(words)")
    }

    private static func manager(_ state: String, _ words: String) -> Diagnostic {
        Diagnostic(sqlState: state, nativeCode: 0, message: "[unixODBC][Driver Manager]\(words)")
    }

    /// What FreeTDS ends every failed login with.
    static let conclusion = freeTDS("08001", 0, "Unable to connect to data source")

    static let all = [
        FailedConnection(
            "no such driver", isTransient: false,
            [manager("01000", "Can't open lib 'NoDriver' : file not found")],
            "has no ODBC driver", "install FreeTDS", "odbcinst -q -d"),
        FailedConnection(
            "no such data source", isTransient: false,
            [manager("IM002", "Data source name not found and no default driver specified")],
            "has no ODBC driver", "install FreeTDS"),
        FailedConnection(
            "a certificate Microsoft's driver does not trust", isTransient: false,
            [
                microsoft(
                    "08001", -1,
                    "SSL Provider: [error:0A000086:SSL routines::certificate verify failed:self-signed certificate]"),
                microsoft("08001", -1, "Client unable to establish connection."),
            ], "certificate that is not trusted", "serverCertificate=PATH", "trustServerCertificate=true"),
        FailedConnection(
            "a certificate FreeTDS does not trust", isTransient: true,
            [conclusion, freeTDS("01000", 20_002, "Adaptive Server connection failed")],
            "certificate", "serverCertificate=PATH", "trustServerCertificate=true", "encrypt=false"),
        FailedConnection(
            "a host FreeTDS finds no address of", isTransient: true,
            [conclusion, freeTDS("01000", 20_013, "Unknown host machine name.")], "name is not known", "DNS"),
        FailedConnection(
            "nobody there, FreeTDS", isTransient: true,
            [
                freeTDS("08S01", 20_009, "Unable to connect: Adaptive Server is unavailable or does not exist"),
                conclusion,
            ], "cannot be reached", "host and port"),
        FailedConnection(
            "no answer, FreeTDS", isTransient: true, [freeTDS("HYT00", 0, "Timeout expired"), conclusion],
            "cannot be reached", "host and port"),
        FailedConnection(
            "cut off, FreeTDS", isTransient: true,
            [
                conclusion, freeTDS("01000", 20_017, "Unexpected EOF from the server"),
                freeTDS("01000", 20_002, "Adaptive Server connection failed"),
            ], "cannot be reached", "host and port"),
        FailedConnection(
            "nobody there, Microsoft's driver", isTransient: true,
            [
                microsoft("HYT00", 0, "Login timeout expired"),
                microsoft("08001", 10057, "TCP Provider: Error code 0x2749"),
            ], "cannot be reached", "host and port"),
        FailedConnection(
            "a value Microsoft's driver does not know", isTransient: false,
            [microsoft("08001", 0, "Invalid value specified for connection string attribute 'Encrypt'")],
            "does not know", "correct it"),
        FailedConnection(
            "a value FreeTDS does not know", isTransient: false,
            [conclusion, freeTDS("01000", 20_214, "Local configuration error.  Check TDSDUMPCONFIG log for details.")],
            "does not know", "freetds.conf"),
        FailedConnection("no record at all", isTransient: false, [], "docs/sql-server.md#troubleshooting"),
    ]
}
