import DuckDB

/// A small shop in a random state, with everything that makes projections go wrong: rows that refer to nothing, NULLs
/// everywhere, minutes that hold several rows.
struct Shop: Equatable {
    struct Customer: Equatable {
        var segment: String?
        var isActive: Bool
        var lsn: Int
    }

    struct Order: Equatable {
        var customer: Int?
        /// In cents.
        var amount: Int?
        var status: String
        /// In seconds since 1970.
        var createdAt: Int?
        var lsn: Int
    }

    struct Payment: Equatable {
        var order: Int?
        /// In cents.
        var amount: Int?
        /// In seconds since 1970.
        var paidAt: Int?
        var lsn: Int
    }

    var customers: [Int: Customer] = [:]
    var orders: [Int: Order] = [:]
    var payments: [Int: Payment] = [:]

    /// Ids in use; the orders and payments refer to some that never exist.
    private static let ids = (customers: 0..<6, orders: 0..<10, payments: 0..<14)

    static func random(using generator: inout SplitMix64) -> Shop {
        var shop = Shop()
        for id in ids.customers where generator.chance(0.6) { shop.customers[id] = .random(using: &generator) }
        for id in ids.orders where generator.chance(0.6) { shop.orders[id] = .random(using: &generator) }
        for id in ids.payments where generator.chance(0.6) { shop.payments[id] = .random(using: &generator) }
        return shop
    }

    /// The shop after some inserts, updates and deletes; sometimes none.
    func mutated(using generator: inout SplitMix64) -> Shop {
        var shop = self
        for _ in 0..<[0, 1, 1, 1, 2, 3, 6].randomElement(using: &generator)! {
            let isDelete = generator.chance(0.3)
            switch Int.random(in: 0..<3, using: &generator) {
            case 0:
                let id = Self.ids.customers.randomElement(using: &generator)!
                shop.customers[id] = isDelete ? nil : .random(using: &generator)
            case 1:
                let id = Self.ids.orders.randomElement(using: &generator)!
                let fresh = Order.random(using: &generator)
                // Often only one column changes: a row that moves for that reason alone.
                if var order = shop.orders[id], !isDelete, generator.chance(0.7) {
                    switch Int.random(in: 0..<4, using: &generator) {
                    case 0: order.customer = fresh.customer
                    case 1: order.amount = fresh.amount
                    case 2: order.status = fresh.status
                    default: order.createdAt = fresh.createdAt
                    }
                    order.lsn = fresh.lsn
                    shop.orders[id] = order
                } else {
                    shop.orders[id] = isDelete ? nil : fresh
                }
            default:
                let id = Self.ids.payments.randomElement(using: &generator)!
                shop.payments[id] = isDelete ? nil : .random(using: &generator)
            }
        }
        return shop
    }
}

extension Shop.Customer {
    static func random(using generator: inout SplitMix64) -> Self {
        Self(
            segment: [nil, "UNKNOWN", "", "a", "b", "ß"].randomElement(using: &generator)!,
            isActive: generator.chance(0.5), lsn: generator.lsn())
    }
}

extension Shop.Order {
    static func random(using generator: inout SplitMix64) -> Self {
        Self(
            customer: generator.chance(0.1) ? nil : Int.random(in: 0..<8, using: &generator),
            amount: generator.amount(), status: ["new", "paid"].randomElement(using: &generator)!,
            createdAt: generator.seconds(), lsn: generator.lsn())
    }
}

extension Shop.Payment {
    static func random(using generator: inout SplitMix64) -> Self {
        Self(
            order: generator.chance(0.1) ? nil : Int.random(in: 0..<14, using: &generator),
            amount: generator.amount(), paidAt: generator.seconds(), lsn: generator.lsn())
    }
}

/// A generator with a seed, so that a failure can be repeated (Steele, Lea, Flood: Fast splittable pseudorandom
/// number generators, OOPSLA 2014).
struct SplitMix64: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func chance(_ probability: Double) -> Bool { Double.random(in: 0..<1, using: &self) < probability }

    mutating func lsn() -> Int { Int.random(in: 1..<100_000, using: &self) }

    /// Cents, up to the greatest a DECIMAL(18,2) holds.
    mutating func amount() -> Int? {
        let any = Int.random(in: 0..<1_000_000, using: &self)
        return [nil, 0, -101, 999_999_999_999_999_999, any].randomElement(using: &self)!
    }

    /// A few minutes around the end of 1999.
    mutating func seconds() -> Int? {
        chance(0.1) ? nil : 946_684_620 + Int.random(in: 0..<360, using: &self)
    }
}

// MARK: - In DuckDB

extension Shop {
    /// The captured tables with their types; `__lsn` is what every state table shows besides.
    static let tables: [(name: String, definition: String)] = [
        ("customers", "customer_id INT, segment VARCHAR, is_active BOOLEAN, updated_at TIMESTAMP, __lsn BLOB"),
        (
            "orders",
            """
            order_id BIGINT, customer_id INT, amount DECIMAL(18,2), status VARCHAR, created_at TIMESTAMP, \
            updated_at TIMESTAMP, __lsn BLOB
            """
        ),
        (
            "payments", "payment_id BIGINT, order_id BIGINT, paid_amount DECIMAL(18,2), paid_at TIMESTAMP, __lsn BLOB"
        ),
    ]

    /// Makes the tables `<side>_customers` and so on.
    func store(in connection: Connection, side: String) throws {
        var rows: [String: [String]] = [:]
        rows["customers"] = customers.map { id, row in
            "(\(id), \(sql(row.segment)), \(row.isActive), NULL, \(lsn(row.lsn)))"
        }
        rows["orders"] = orders.map { id, row in
            """
            (\(id), \(sql(row.customer)), \(cents(row.amount)), '\(row.status)', \(time(row.createdAt)), NULL, \
            \(lsn(row.lsn)))
            """
        }
        rows["payments"] = payments.map { id, row in
            "(\(id), \(sql(row.order)), \(cents(row.amount)), \(time(row.paidAt)), \(lsn(row.lsn)))"
        }
        for table in Self.tables {
            try connection.execute("CREATE OR REPLACE TABLE \(side)_\(table.name) (\(table.definition))")
            guard let values = rows[table.name], !values.isEmpty else { continue }
            try connection.execute("INSERT INTO \(side)_\(table.name) VALUES \(values.joined(separator: ", "))")
        }
    }

    private func sql(_ number: Int?) -> String { number.map { "\($0)" } ?? "NULL" }
    private func sql(_ text: String?) -> String { text.map { "'\($0)'" } ?? "NULL" }
    private func cents(_ amount: Int?) -> String {
        amount.map { "(\($0)::DECIMAL(20,0) * 0.01)::DECIMAL(18,2)" } ?? "NULL"
    }
    private func time(_ seconds: Int?) -> String { seconds.map { "make_timestamp(\($0)000000)" } ?? "NULL" }
    private func lsn(_ number: Int) -> String { "unhex(printf('%020x', \(number)))" }
}
