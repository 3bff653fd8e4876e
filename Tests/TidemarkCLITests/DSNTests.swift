import SQLServer
import Testing

@testable import TidemarkCLI

@Suite("DSN")
struct DSNTests {
    @Test("sqlite: is followed by a path")
    func sqlite() throws {
        #expect(try DSN("sqlite:data/source.db") == .sqlite(path: "data/source.db"))
        #expect(try DSN("sqlite:/var/lib/a b;c=d.db") == .sqlite(path: "/var/lib/a b;c=d.db"))
        #expect(try DSN("sqlite:data/source.db").description == "sqlite:data/source.db")
    }

    @Test("sqlserver:// is taken apart, percent-encoding undone")
    func sqlServer() throws {
        guard
            case .sqlServer(.address(let address)) = try DSN(
                "sqlserver://sa:p%40ss:w%C3%B6rd@db.example:1434/?database=shop&Encrypt=false&trustservercertificate=yes"
            )
        else {
            Issue.record("not recognised")
            return
        }
        #expect(address.host == "db.example")
        #expect(address.port == 1434)
        #expect(address.user == "sa")
        #expect(address.password == "p@ss:wörd")
        #expect(address.options == [.database: "shop", .encrypt: "false", .trustServerCertificate: "yes"])
        #expect(address.encryption == .off && address.trustsServerCertificate)
        #expect(
            address.description
                == "sqlserver://sa:***@db.example:1434?database=shop&encrypt=false&trustServerCertificate=yes")

        let bare = try SQLServerAddress("sqlserver://[::1]?authentication=ActiveDirectoryManagedIdentity")
        #expect(bare.host == "::1" && bare.description.hasPrefix("sqlserver://[::1]?"))
        #expect(bare.port == nil && bare.user == nil && bare.password == nil)
        #expect(bare.encryption == .required && !bare.trustsServerCertificate)
        #expect(try SQLServerAddress("sqlserver://sa:x@[::1]:99").port == 99)
        let local = try SQLServerAddress("sqlserver://sa:x@[fe80::1%25eth0]:99")
        #expect(local.host == "fe80::1%eth0" && local.port == 99)
        #expect(try SQLServerAddress("sqlserver://sa:x@[::ffff:10.0.0.1]").host == "::ffff:10.0.0.1")
        #expect(try SQLServerAddress("sqlserver://sa:x@db%5Csales").host == "db\\sales")
    }

    @Test(
        "a host with colons is refused unless it is an IPv6 address in brackets",
        arguments: [
            "fe80::1", "::1", "::1:1433", "db:1433:1", "[::1", "::1]", "[::1]1433", "[::1]:", "[]", "[db]", "[db:1433]",
            "[a:b]:1", "x[::1]", "[[::1]]", "[::1][::1]", "fe80%3A%3A1", "tcp%3Adb",
        ])
    func colons(host: String) throws {
        let error = #expect(throws: DSNError.self) { try SQLServerAddress("sqlserver://sa:s3cret@\(host)?database=x") }
        let words = try #require(error).description
        #expect(words.contains("[::1]:1433") || words.contains("port that is not a number"), "\(words)")
        #expect(!words.contains("s3cret"))
    }

    @Test("an ODBC string is taken apart, and only harmless keywords are shown")
    func odbc() throws {
        let text = "Driver={ODBC Driver 18; for {SQL}} Server};Server=tcp:db,1433; UID=sa;PWD={s;}}cret};"
        guard case .sqlServer(.odbc(let string)) = try DSN(text) else {
            Issue.record("not recognised")
            return
        }
        #expect(string.connectionString == text)
        #expect(string.pairs.map(\.keyword) == ["Driver", "Server", "UID", "PWD"])
        #expect(string.pairs[0].value == "ODBC Driver 18; for {SQL} Server")
        #expect(string.pairs[3].value == "s;}cret")
        #expect(
            string.description == "Driver=ODBC Driver 18; for {SQL} Server;Server=tcp:db,1433;UID=***;PWD=***")
    }

    @Test("neither description, interpolation nor dump shows a secret")
    func secrets() throws {
        for text in ["sqlserver://sa:s3cret@db", "Driver=x;PWD=s3cret", "sqlserver://sa:s3cret@db?database=x"] {
            let dsn = try DSN(text)
            var dumped = ""
            dump(["dsn": dsn], to: &dumped)
            for shown in [dsn.description, "\(dsn)", "\([dsn])", String(reflecting: dsn), dumped] {
                #expect(!shown.contains("s3cret"))
            }
        }
    }

    @Test(
        "what is malformed is refused without repeating it",
        arguments: [
            "", "s3cret", "sqlite:", "sqlite::memory:", "sqlite:///s3cret", "sqlsever://sa:s3cret@db",
            "mysql://sa:s3cret@db/x?a=b", "sqlserver://", "sqlserver://sa:s3cret@", "sqlserver://sa:s3cret@db:x",
            "sqlserver://sa:s3cret@db:0", "sqlserver://sa:s3c@ret@db", "sqlserver://sa:s3c/ret@db",
            "sqlserver://sa:s3c#ret@db", "sqlserver://sa:s3cret%zz@db", "sqlserver://db?s3cret",
            "sqlserver://sa:x@db?encrypt=s3cret", "sqlserver://sa:x@db?database=s3cret&Database=s3cret",
            "sqlserver://sa:x@db?pasword=s3cret", "sqlserver://db?database=s3cret",
            "sqlserver://sa:s3cret@db%5Csales:1433", "Server=db;PWD=s3cret", "Driver=x;PWD", "Driver={x;PWD=s3cret",
            "Driver={x}y;PWD=s3cret", "=s3cret;Driver=x",
        ])
    func malformed(text: String) throws {
        let error = #expect(throws: DSNError.self) { try DSN(text) }
        let message = try #require(error).description
        #expect(!message.contains("s3c"))
        #expect(message.split(whereSeparator: \.isNewline).count == 1)
    }
}
