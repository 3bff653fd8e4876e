import ContractTests
import Testing

@Suite("Contracts")
struct Contracts {
    @Test("SQLite keeps the contract of a change source", arguments: ChangeSourceContract.clauses)
    func source(clause: ChangeSourceContract.Clause) async throws {
        try await clause.check(SQLiteSource.shop())
    }

    @Test("SQLite keeps the contract of a serving store", arguments: ServingStoreContract.clauses)
    func serving(clause: ServingStoreContract.Clause) async throws {
        try await clause.check(SQLiteServing())
    }
}
