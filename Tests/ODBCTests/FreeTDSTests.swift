import Foundation
import ODBC
import TestSupport
import Testing

@Suite("FreeTDS' driver without a server", .enabled(if: Installed.freeTDS, Installed.freeTDSHint))
struct FreeTDSTests {
    private func target(_ port: Int) -> ConnectionString {
        ConnectionString([
            "Driver": "FreeTDS", "Server": "127.0.0.1", "Port": "\(port)", "UID": "sa", "PWD": "ge;heim}nis",
            "TDS_Version": "7.4",
        ])
    }

    @Test("a server that is not there is transient, with every record and without the password")
    func unreachable() throws {
        let port = try Listener().port  // closed again by now
        let error = try #require(throws: ODBCError.self) { try Environment().connect(target(port)) }
        #expect(error.errorClass == .transient)
        #expect(error.records.count >= 2)
        #expect(error.description.contains("Server=127.0.0.1;Port=\(port);UID=sa;PWD=***"))
        #expect(!String(reflecting: error).contains("heim"))
    }

    @Test("a server that does not answer is given up after the login timeout")
    func silent() throws {
        let listener = try Listener()
        let start = ContinuousClock.now
        let error = try #require(throws: ODBCError.self) {
            try Environment().connect(target(listener.port), loginTimeout: .seconds(1))
        }
        #expect(error.errorClass == .transient)
        #expect(ContinuousClock.now - start < .seconds(10))
    }
}
