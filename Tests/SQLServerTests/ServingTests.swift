import ContractTests
import Foundation
import ODBC
import Testing
import Tidemark

@testable import SQLServer

@Suite("A serving database on SQL Server", .serialized, .enabled(if: ServingServer.dsn != nil, ServingServer.hint))
struct ServingTests {
    @Test("SQL Server keeps the contract of a serving store", arguments: ServingStoreContract.clauses)
    func contract(clause: ServingStoreContract.Clause) async throws {
        try await SQLServerServingFixture.run { try await clause.check($0) }
    }
}
