import ODBC
import Testing
import Tidemark

@testable import SQLServer

@Suite("Whether bootstrap makes the database")
struct BootstrapDecisionTests {
    /// What looking into master comes to when the server reports these numbers.
    private static func refused(_ numbers: Int...) -> any Error {
        let records = numbers.map {
            Diagnostic(sqlState: "42000", nativeCode: $0, message: "[FreeTDS][SQL Server]words of the server")
        }
        return SQLServerFailure.readable(
            ODBCError.connect(target: "", records: records), in: DatabaseLabel(role: "source", place: "db/master"))
    }

    @Test("it is made when master says that it is missing")
    func missing() async throws {
        #expect(try await SQLServerBootstrap.isMissing { true })
        #expect(try await !SQLServerBootstrap.isMissing { false })
    }

    @Test("it counts as there when the login may not open master, or not read there")
    func closedMaster() async throws {
        for error in [Self.refused(4060, 18456), Self.refused(916), Self.refused(229)] {
            #expect(try await !SQLServerBootstrap.isMissing { throw error })
        }
    }

    @Test("a wrong setting or a cancellation ends it")
    func others() async {
        await #expect(throws: TidemarkError.configuration("words")) {
            try await SQLServerBootstrap.isMissing { throw TidemarkError.configuration("words") }
        }
        await #expect(throws: CancellationError.self) {
            try await SQLServerBootstrap.isMissing { throw CancellationError() }
        }
    }
}
