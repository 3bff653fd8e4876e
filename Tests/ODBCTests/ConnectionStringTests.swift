import Testing

@testable import ODBC

@Suite("ConnectionString")
struct ConnectionStringTests {
    @Test(
        "secrets are hidden, the rest is shown",
        arguments: [
            ("Driver=FreeTDS;Server=db;UID=sa;PWD=geheim", "Driver=FreeTDS;Server=db;UID=sa;PWD=***"),
            (
                "DRIVER={ODBC Driver 18 for SQL Server};Password=geheim;UID=sa",
                "DRIVER={ODBC Driver 18 for SQL Server};Password=***;UID=sa"
            ),
            ("uid=sa;pwd={ge;he}}im};Database=d", "uid=sa;pwd=***;Database=d"),
            ("UID=sa;PWD = geheim ;Database=d", "UID=sa;PWD=***;Database=d"),
            ("AccessToken=geheim;Server=db", "AccessToken=***;Server=db"),
            ("Server=db;ClientSecret=geheim", "Server=db;ClientSecret=***"),
            ("Server=db;SSL_Key_Password=geheim", "Server=db;SSL_Key_Password=***"),
            ("PWD={geheim", "PWD=***"),
            ("PWD={geheim}tail;UID=sa", "PWD=***;***;UID=sa"),
            ("PWD=geheim;tail;UID=sa", "PWD=***;***;UID=sa"),
            ("PWD=geheim;tail=1;UID=sa", "PWD=***;***;UID=sa"),
            ("PWD=;UID=sa", "PWD=***;UID=sa"),
            ("DSN=orders;;", "DSN=orders"),
            ("Driver={a}}b;c};UID=x", "Driver={a}}b;c};UID=x"),
            ("", ""),
        ])
    func redaction(text: String, redacted: String) {
        let target = ConnectionString(text)
        #expect(target.redacted == redacted)
        #expect(target.text == text)
    }

    @Test("no way of printing shows the password")
    func printing() {
        let target: ConnectionString = "Server=db;UID=sa;PWD=geheim"
        var dumped = ""
        dump(target, to: &dumped)
        for text in ["\(target)", String(reflecting: target), String(describing: Optional(target)), dumped] {
            #expect(!text.contains("geheim"))
        }
    }

    @Test("a driver's message that quotes the password is cleaned")
    func scrubbing() {
        let target: ConnectionString = "UID=sa;PWD={ge}}heim};ClientSecret=ab"
        #expect(target.scrub("bad string 'PWD=ge}heim'") == "bad string 'PWD=***'")
        #expect(target.scrub("the ab is about ab.") == "the *** is about ***.")
    }

    @Test("values are put in braces where they need them")
    func building() {
        let target = ConnectionString(["Driver": "FreeTDS", "UID": "sa", "PWD": "a;b}c", "Database": " x"])
        #expect(target.text == "Driver=FreeTDS;UID=sa;PWD={a;b}}c};Database={ x}")
        #expect(target.redacted == "Driver=FreeTDS;UID=sa;PWD=***;Database={ x}")
    }
}
