import Testing
import Tidemark

@testable import SQLServer

@Suite("What users put on a projection's table on SQL Server")
struct TableAdditionTests {
    private let sql = ProjectionTableSQL(
        ProjectionTable(
            projection: "notes", columns: [Column(name: "id", type: .int64), Column(name: "note", type: .string)],
            key: ["id"]))

    private func statements(_ additions: TableAdditions) -> [String?] { additions.statements(on: sql).map(\.sql) }

    @Test("an index is made on the new table as it was on the old one")
    func indexes() {
        let additions = TableAdditions(indexes: [
            .init(
                name: "by_note", isUnique: true, key: [.init(column: "note", isDescending: true), .init(column: "ID")],
                filter: "([id]>(1))"),
            .init(name: "covering", key: [.init(column: "id")], included: ["note"]),
            .init(name: "stripes", isColumnstore: true, included: ["id", "note"]),
        ])
        #expect(
            statements(additions) == [
                """
                CREATE UNIQUE NONCLUSTERED INDEX [by_note] ON [dbo].[ctl_build_notes] ([note] DESC, [ID]) WHERE ([id]>(1))
                """,
                "CREATE NONCLUSTERED INDEX [covering] ON [dbo].[ctl_build_notes] ([id]) INCLUDE ([note])",
                "CREATE NONCLUSTERED COLUMNSTORE INDEX [stripes] ON [dbo].[ctl_build_notes] ([id], [note])",
            ])
    }

    @Test("permissions are given again, as they were given")
    func permissions() {
        let additions = TableAdditions(permissions: [
            .init(state: "GRANT", name: "SELECT", grantee: "o'brien]"),
            .init(state: "DENY", name: "UPDATE", grantee: "public", column: "note"),
            .init(state: "GRANT_WITH_GRANT_OPTION", name: "SELECT", grantee: "lead"),
        ])
        #expect(
            statements(additions) == [
                "GRANT SELECT ON [dbo].[ctl_build_notes] TO [o'brien]]]",
                "DENY UPDATE ([note]) ON [dbo].[ctl_build_notes] TO [public]",
                "GRANT SELECT ON [dbo].[ctl_build_notes] TO [lead] WITH GRANT OPTION",
            ])
    }

    @Test("what stood on a column that is gone has no statement, and is named")
    func gone() {
        let additions = TableAdditions(
            indexes: [.init(name: "by_place", key: [.init(column: "place")])],
            permissions: [.init(state: "GRANT", name: "SELECT", grantee: "reader", column: "place")])
        #expect(
            additions.statements(on: sql) == [
                .init(what: "index by_place", sql: nil), .init(what: "SELECT on place granted to reader", sql: nil),
            ])
    }
}
