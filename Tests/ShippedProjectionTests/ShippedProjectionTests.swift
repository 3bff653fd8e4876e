import DuckDB
import Foundation
import Testing
import Tidemark

/// The SQL of the shipped projections and the examples, run by DuckDB as the pipeline runs it.
@Suite("The SQL of shipped projections")
struct ShippedProjectionTests {
    static let repository = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    static func projection(_ name: String) throws -> ProjectionDefinition {
        let folder = name == "customer_lifetime_value" ? "examples/projections" : "projections"
        return try ProjectionDefinition.load(
            directory: repository.appending(path: folder).appending(path: name).path(percentEncoded: false))
    }

    static let names = ["customer_lifetime_value", "orders_kpi_by_minute_segment", "orders_latest"]
    static let seeds = Array(0..<UInt64(25))

    // MARK: Meaning

    @Test("the KPIs of a minute and segment add up, whatever is missing", arguments: seeds)
    func kpi(seed: UInt64) throws {
        var generator = SplitMix64(state: seed)
        let shop = Shop.random(using: &generator)
        var expected: [[String]: (orders: Int, amount: Int, paid: Int)] = [:]
        func segment(_ order: Shop.Order) -> String {
            order.customer.flatMap { shop.customers[$0]?.segment } ?? "UNKNOWN"
        }
        for order in shop.orders.values {
            guard let time = order.createdAt else { continue }
            expected[["\(time / 60)", segment(order)], default: (0, 0, 0)].orders += 1
            expected[["\(time / 60)", segment(order)], default: (0, 0, 0)].amount += order.amount ?? 0
        }
        for payment in shop.payments.values {
            guard let time = payment.paidAt, let order = payment.order.flatMap({ shop.orders[$0] }) else { continue }
            expected[["\(time / 60)", segment(order)], default: (0, 0, 0)].paid += payment.amount ?? 0
        }
        let rows = try Self.rows(
            of: "orders_kpi_by_minute_segment", in: shop,
            columns: """
                epoch_us(minute_bucket) // 60_000_000, segment, orders_count, \
                (orders_amount_sum * 100)::HUGEINT, (paid_amount_sum * 100)::HUGEINT
                """)
        let texts: [[String]] = expected.map { group, sums in
            group + [sums.orders, sums.amount, sums.paid].map { String($0) }
        }
        #expect(rows == Set(texts))
    }

    @Test("an order is shown with its customer's segment and the later of the two LSNs", arguments: seeds)
    func latest(seed: UInt64) throws {
        var generator = SplitMix64(state: seed)
        let shop = Shop.random(using: &generator)
        let expected: [[String]] = shop.orders.map { id, order in
            let customer = order.customer.flatMap { shop.customers[$0] }
            let lsn = String(max(order.lsn, customer?.lsn ?? 0), radix: 16, uppercase: true)
            return [
                "\(id)", text(order.customer), customer?.segment ?? "NULL", text(order.amount), order.status,
                text(order.createdAt), String(repeating: "0", count: 20 - lsn.count) + lsn,
            ]
        }
        let rows = try Self.rows(
            of: "orders_latest", in: shop,
            columns: """
                order_id, customer_id, segment, (amount::DECIMAL(38, 2) * 100)::HUGEINT, status, epoch_us(created_at) // 1_000_000, \
                hex(__source_lsn)
                """)
        #expect(rows == Set(expected))
    }

    @Test("a customer's orders and payments are added up apart", arguments: seeds)
    func lifetimeValue(seed: UInt64) throws {
        var generator = SplitMix64(state: seed)
        let shop = Shop.random(using: &generator)
        let expected: [[String]] = shop.customers.map { id, customer in
            let orders = shop.orders.filter { $0.value.customer == id }
            let paid = shop.payments.values.filter { $0.order.map { orders[$0] != nil } ?? false }
            let times = orders.values.compactMap(\.createdAt)
            let ordered = orders.values.compactMap(\.amount).reduce(0, +)
            let received = paid.compactMap(\.amount).reduce(0, +)
            return [
                "\(id)", customer.segment ?? "NULL", "\(orders.count)", "\(ordered)", "\(received)",
                text(times.min()), text(times.max()),
            ]
        }
        let rows = try Self.rows(
            of: "customer_lifetime_value", in: shop,
            columns: """
                customer_id, segment, orders_count, (orders_amount_sum * 100)::HUGEINT, \
                (paid_amount_sum * 100)::HUGEINT, epoch_us(first_order_at) // 1_000_000, \
                epoch_us(last_order_at) // 1_000_000
                """)
        #expect(rows == Set(expected))
    }

    @Test("the columns have the types the projections promise")
    func types() throws {
        let bench = try Bench(
            projection: Self.projection("orders_kpi_by_minute_segment"), before: Shop(), after: Shop())
        try bench.show("after")
        #expect(
            try bench.query().columns.map { "\($0.name) \($0.type)" } == [
                "minute_bucket TIMESTAMP", "segment VARCHAR", "orders_count BIGINT",
                "orders_amount_sum DECIMAL(38,2)", "paid_amount_sum DECIMAL(38,2)",
            ])
    }

    // MARK: Upkeep

    @Test("affected.sql misses no key, and the query for those keys alone mends the result", arguments: names, seeds)
    func affected(name: String, seed: UInt64) throws {
        var generator = SplitMix64(state: seed)
        let before = Shop.random(using: &generator)
        let bench = try Bench(
            projection: Self.projection(name), before: before, after: before.mutated(using: &generator))
        let key = bench.projection.key

        try bench.show("before")
        let resultBefore = try bench.rows()
        var affected = try bench.affected()
        try bench.show("after")
        let resultAfter = try bench.rows()
        affected.formUnion(try bench.affected())

        let indices = try bench.query().columns.enumerated().filter { key.contains($0.element.name) }.map(\.offset)
        func keyOf(_ row: [String]) -> [String] { indices.map { row[$0] } }
        let different = Set(resultBefore.symmetricDifference(resultAfter).map(keyOf))
        #expect(different.subtracting(affected).isEmpty)
        #expect(affected.allSatisfy { !$0.contains("NULL") })

        try bench.restrict(to: affected)
        let mended = resultBefore.filter { !affected.contains(keyOf($0)) }
            .union(try bench.rows().filter { affected.contains(keyOf($0)) })
        #expect(mended == resultAfter)
    }

    private func text(_ number: Int?) -> String { number.map { String($0) } ?? "NULL" }

    /// The projection's result as text, through `columns`, in a full build.
    private static func rows(of name: String, in shop: Shop, columns: String) throws -> Set<[String]> {
        let bench = try Bench(projection: projection(name), before: Shop(), after: shop)
        try bench.show("after")
        return try bench.rows(columns: columns)
    }
}

/// A projection's SQL with two states of its tables.
private final class Bench {
    let projection: ProjectionDefinition
    private let connection: Connection

    init(projection: ProjectionDefinition, before: Shop, after: Shop) throws {
        self.projection = projection
        connection = try Database(options: ["threads": "1"]).connect()
        try before.store(in: connection, side: "before")
        try after.store(in: connection, side: "after")
        for column in projection.key { try connection.execute("CREATE MACRO affected_\(column)(x) AS (true)") }
    }

    /// Shows the captured tables, and what changed in the columns the projection may see, as they are on `side`.
    func show(_ side: String) throws {
        let other = side == "before" ? "after" : "before"
        for capture in projection.captures {
            let columns = capture.columns?.joined(separator: ", ") ?? "*"
            try connection.execute(
                """
                CREATE OR REPLACE VIEW \(capture.name) AS SELECT \(columns) FROM \(side)_\(capture.name);
                CREATE OR REPLACE VIEW changed_\(capture.name) AS
                SELECT \(columns) FROM \(side)_\(capture.name) EXCEPT SELECT \(columns) FROM \(other)_\(capture.name)
                """)
        }
    }

    func query() throws -> QueryResult { try connection.query(projection.query) }

    func rows(columns: String = "*") throws -> Set<[String]> {
        let rows = try connection.query("SELECT \(columns) FROM (\(projection.query)\n)").rows()
        let texts = Set(rows.map { $0.map(\.description) })
        #expect(texts.count == rows.count)
        return texts
    }

    /// The keys `affected.sql` yields on the side shown, in the key's order.
    func affected() throws -> Set<[String]> {
        let result = try connection.query(try #require(projection.affected))
        #expect(result.columns.map(\.name) == projection.key)
        return Set(try result.rows().map { $0.map(\.description) })
    }

    /// Makes the macros let only the span of each key column's values pass.
    func restrict(to keys: Set<[String]>) throws {
        for (index, column) in projection.key.enumerated() {
            let values = keys.map { "('\($0[index])')" }.joined(separator: ", ")
            let type = try query().columns.first { $0.name == column }.map { "\($0.type)" } ?? "VARCHAR"
            let test =
                keys.isEmpty
                ? "false"
                : """
                x BETWEEN (SELECT min(v::\(type)) FROM (VALUES \(values)) AS t(v)) \
                AND (SELECT max(v::\(type)) FROM (VALUES \(values)) AS t(v))
                """
            try connection.execute("CREATE OR REPLACE MACRO affected_\(column)(x) AS (\(test))")
        }
    }
}
