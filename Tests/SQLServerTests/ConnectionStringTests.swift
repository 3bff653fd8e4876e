import Foundation
import ODBC
import Testing

@testable import SQLServer

@Suite("What a DSN comes to for a driver")
struct ConnectionStringTests {
    private static let freeTDS = SQLServerDrivers(names: ["SQLite3", "FreeTDS"])
    private static let both = SQLServerDrivers(names: ["FreeTDS", "ODBC Driver 18 for SQL Server"])

    private func target(
        _ rest: String, _ drivers: SQLServerDrivers = freeTDS
    ) throws -> ConnectionString {
        try SQLServerAddress("sqlserver://" + rest).connectionString(drivers: drivers)
    }

    private func refusal(_ rest: String, _ drivers: SQLServerDrivers = freeTDS) -> String {
        do {
            return "accepted: \(try target(rest, drivers).redacted)"
        } catch {
            return "\(error)"
        }
    }

    @Test("FreeTDS is the default, and is told to check the certificate")
    func freeTDSDefault() throws {
        let address = try SQLServerAddress("sqlserver://sa:x@db:1500?database=shop")
        let target = try address.connectionString(drivers: Self.both)
        #expect(target.text.hasPrefix("Driver=FreeTDS;Servername="))
        #expect(target.text.contains(";Database=shop;UID=sa;PWD=x"))
        #expect(SQLServerDSN.address(address).place == "db:1500/shop")
        let section = FreeTDSConfiguration.text(address)
        for line in ["host = db\n", "port = 1500\n", "encryption = require\n", "ca file = system\n"] {
            #expect(section.contains(line))
        }
        #expect(section.contains("check certificate hostname = yes"))
    }

    @Test("FreeTDS names a server by its own name at login, which Azure's gateway goes by, and no other server so")
    func serverName() throws {
        func name(_ rest: String) throws -> String {
            let text = try target(rest, Self.freeTDS).text
            return String(text.split(separator: ";").first { $0.hasPrefix("Servername=") } ?? "")
        }
        let azure = "sa:x@Tm-Names.database.windows.net"
        #expect(try name("\(azure)?database=a") == "Servername=tm-names.database.windows.net")
        #expect(
            try name("\(azure)?database=b&applicationIntent=ReadOnly") == "Servername=tm-names.database.windows.net")
        #expect(try name("\(azure)?trustServerCertificate=true").hasPrefix("Servername=tidemark"))
        #expect(try name("sa:x@[fd00::7]:1433").hasPrefix("Servername=tidemark"))
        #expect(try name("sa:x@10.0.0.7").hasPrefix("Servername=tidemark"))
        #expect(try name("sa:x@tm-names%5Csales").hasPrefix("Servername=tidemark"))
    }

    @Test("a certificate goes unchecked, and a connection unencrypted, only when the DSN says so")
    func weaker() throws {
        let trusting = FreeTDSConfiguration.text(
            try SQLServerAddress("sqlserver://sa:x@db?trustServerCertificate=true"))
        #expect(trusting.contains("encryption = require") && !trusting.contains("ca file"))
        let plain = FreeTDSConfiguration.text(try SQLServerAddress("sqlserver://sa:x@db?encrypt=false"))
        #expect(plain.contains("encryption = off"))
        let named = FreeTDSConfiguration.text(
            try SQLServerAddress("sqlserver://sa:x@db%5Csales?serverCertificate=/etc/ca.pem"))
        #expect(named.contains("host = db\n") && named.contains("instance = sales\n") && !named.contains("port"))
        #expect(named.contains("ca file = /etc/ca.pem"))
    }

    @Test("what FreeTDS cannot do is refused with the reason and the way out")
    func refusals() {
        for driver in ["&driver=FreeTDS", ""] {
            let strict = refusal("sa:x@db?encrypt=strict\(driver)")
            #expect(strict.contains("encrypt=strict") && strict.contains("ODBC Driver 18"))
            let identity = refusal("db?authentication=ActiveDirectoryManagedIdentity\(driver)")
            #expect(identity.contains("ntra") || identity.contains("ActiveDirectoryManagedIdentity"))
            #expect(identity.contains("ODBC Driver 18"))
        }
        #expect(refusal("sa:x@db?hostNameInCertificate=other").contains("hostNameInCertificate"))
        #expect(refusal("sa:x@db?multiSubnetFailover=true").contains("multiSubnetFailover"))
        #expect(refusal("sa:x@db?driver=PostgreSQL").contains("neither FreeTDS nor"))
        #expect(refusal("sa:x@db", SQLServerDrivers(names: ["SQLite3"])).contains("install FreeTDS"))
    }

    @Test("Microsoft's driver is taken where only it will do, with its own words")
    func microsoft() throws {
        let text = try target(
            "db:1500?database=shop&authentication=ActiveDirectoryManagedIdentity&multiSubnetFailover=true", Self.both
        ).text
        #expect(
            text == """
                Driver=ODBC Driver 18 for SQL Server;Server={tcp:db,1500};Database=shop;Encrypt=yes;\
                TrustServerCertificate=no;MultiSubnetFailover=Yes;Authentication=ActiveDirectoryMsi;APP=tidemark
                """)
        let strict = try target("sa:p%3Bw%7D@db?encrypt=strict&applicationIntent=ReadOnly", Self.both)
        #expect(strict.text.contains("Encrypt=strict"))
        #expect(strict.text.contains("ApplicationIntent=ReadOnly"))
        #expect(strict.text.hasSuffix("UID=sa;PWD={p;w}}}"))
        #expect(!strict.redacted.contains("p;w"))
    }

    /// What a raw ODBC string comes to: itself, or why it is refused.
    private func odbc(_ text: String, _ drivers: SQLServerDrivers = freeTDS) throws -> String {
        let dsn = try #require(try SQLServerDSN(text))
        do {
            return try dsn.connectionString(drivers: drivers).text
        } catch {
            return "\(error)"
        }
    }

    @Test(
        "a raw string is refused when FreeTDS would leave out what protects it, with the way out",
        arguments: [
            ("Encrypt=strict", "Encrypt,"), ("Encrypt=yes", "Encrypt,"), ("encrypt = Mandatory ", "Encrypt,"),
            ("Encrypt={true}", "Encrypt,"), ("Encrypt=whatever", "Encrypt,"), ("Encrypt=no;Encrypt=yes", "Encrypt,"),
            ("TrustServerCertificate=no", "TrustServerCertificate,"),
            ("Trust Server Certificate=False", "TrustServerCertificate,"),
            ("ServerCertificate=/etc/ca.pem", "ServerCertificate,"),
            ("HostNameInCertificate=db.example", "HostNameInCertificate,"),
            ("MultiSubnetFailover=Yes", "MultiSubnetFailover,"),
            ("Authentication=ActiveDirectoryMsi", "Authentication,"),
            ("ClientCertificate=file:/c.pem", "ClientCertificate,"), ("ClientKey=file:/k.pem", "ClientCertificate,"),
            ("ColumnEncryption=Enabled", "ColumnEncryption,"),
            ("User ID=sa", "UID"), ("User=sa", "UID"), ("Password=s3cret", "PWD"),
        ])
    func leftOut(keywords: String, words: String) throws {
        let refusal = try odbc("Driver=FreeTDS;Server=db;UID=sa;PWD=s3cret;\(keywords)")
        #expect(refusal.contains(words) && refusal.contains("FreeTDS would leave out"))
        #expect(refusal.contains("sqlserver://") || refusal.contains("leave it out") || refusal.contains("write "))
        #expect(refusal.contains("Driver={ODBC Driver 18 for SQL Server}"))
        #expect(!refusal.contains("s3cret") && !refusal.contains("/c.pem"))
    }

    @Test(
        "a raw string that asks FreeTDS for nothing more than it does goes to it as written",
        arguments: [
            "", "Encryption=require", "Encryption=off", "Encrypt=no", "Encrypt=optional", "TrustServerCertificate=yes",
            "MultiSubnetFailover=No", "Authentication=SqlPassword", "ColumnEncryption=Disabled",
            "ApplicationIntent=ReadOnly", "Trusted_Connection=yes", "HostNameInCertificate=", "APP=Encrypt",
        ])
    func kept(keywords: String) throws {
        let text = "Driver=FreeTDS;Server=db;Port=1433;UID=sa;PWD={x;Encrypt=yes};\(keywords)"
        #expect(try odbc(text) == text)
    }

    @Test("FreeTDS is known by its name, by its library, and behind a data source")
    func family() throws {
        let drivers = SQLServerDrivers(
            names: ["House", "Elsewhere"],
            libraries: [
                "House": "/usr/lib/x86_64-linux-gnu/odbc/libtdsodbc.so", "Elsewhere": "/opt/lib/libmsodbcsql-18.6.so",
                "FreeTDS of old": "/opt/lib/libmsodbcsql-17.so",
            ],
            dataSources: ["Shop": "house", "Direct": "/usr/lib/libtdsodbc.so", "Elsewhere": "Elsewhere"])
        for start in [
            "Driver=freetds", "Driver={FreeTDS}", "Driver=/usr/lib/x86_64-linux-gnu/odbc/libtdsodbc.so",
            "Driver=HOUSE", "DSN=shop", "DSN=Direct", "Server=db;DSN=Shop",
        ] {
            #expect(try odbc("\(start);Encrypt=strict", drivers).contains("FreeTDS would leave out"), "\(start)")
        }
        for start in [
            "Driver={ODBC Driver 18 for SQL Server}", "Driver=elsewhere", "Driver={FreeTDS of old}", "DSN=Elsewhere",
            "DSN=unknown", "FILEDSN=/etc/shop.dsn", "Driver=Other",
        ] {
            #expect(try odbc("\(start);Encrypt=strict", drivers) == "\(start);Encrypt=strict", "\(start)")
        }
    }

    @Test("an IPv6 address goes to either driver without its brackets")
    func ipv6() throws {
        let address = try SQLServerAddress("sqlserver://sa:x@[::1]:1500?database=shop")
        #expect(FreeTDSConfiguration.text(address).contains("host = ::1\n\tport = 1500\n"))
        #expect(SQLServerDSN.address(address).place == "[::1]:1500/shop")
        func server(_ rest: String) throws -> String? {
            let text = try target("sa:x@\(rest)?driver=ODBC%20Driver%2018%20for%20SQL%20Server", Self.both).text
            return text.components(separatedBy: ";").first { $0.hasPrefix("Server=") }
        }
        #expect(try server("[::1]:1500") == "Server={tcp:::1,1500}")
        #expect(try server("[fe80::1%25eth0]") == "Server=tcp:fe80::1%eth0")
    }

    @Test("FreeTDS gets a password in the form it can read, or a refusal")
    func freeTDSPasswords() throws {
        func password(_ text: String) throws -> String {
            let encoded = try #require(text.addingPercentEncoding(withAllowedCharacters: .alphanumerics))
            let string = try target("sa:\(encoded)@db")
            #expect(!string.redacted.contains("secret"))
            return String(try #require(string.text.components(separatedBy: ";PWD=").last))
        }
        #expect(try password("secret") == "secret")
        #expect(try password("a}b{c=d@secret ") == "a}b{c=d@secret ")
        #expect(try password("a;b{secret") == "{a;b{secret}")
        #expect(try password("{secret") == "{{secret}")
        #expect(throws: DSNError.self) { try password("a;b}secret") }
    }

    @Test("the configuration file of FreeTDS holds no secret")
    func noSecret() throws {
        _ = try target("sa:hunter2@db-of-secrets?database=shop")
        let path = try #require(getenv("FREETDSCONF").map { String(cString: $0) })
        let text = try String(contentsOfFile: path, encoding: .utf8)
        #expect(text.contains("db-of-secrets") && !text.contains("hunter2"))
    }
}
