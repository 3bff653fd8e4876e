/// The transactions of a small shop, one after the other: orders come in, are paid, change and are cancelled,
/// customers come and move between segments.
///
/// SQL that SQLite and SQL Server both take: numbers and times are quoted text, which each converts by the
/// column's type without losing a digit.
public struct Workload: Sendable {
    /// What kinds of transactions there are, with how many of 100 are of each.
    enum Kind: CaseIterable {
        case newOrder, newPaidOrder, statusChange, payment, amountCorrection, cancellation, newCustomer, segmentMove

        var weight: Int {
            switch self {
            case .newOrder: 26
            case .newPaidOrder: 24
            case .statusChange: 22
            case .payment: 14
            case .amountCorrection: 5
            case .cancellation: 4
            case .newCustomer: 3
            case .segmentMove: 2
            }
        }
    }

    /// The tables it writes.
    public static let tables = ["customers", "orders", "payments"]

    /// The columns they have in the sample schema, by the tables' names on SQL Server.
    public static let columns = [
        "dbo.customers": ["customer_id", "segment", "is_active", "updated_at"],
        "dbo.orders": ["order_id", "customer_id", "amount", "status", "created_at", "updated_at"],
        "dbo.payments": ["payment_id", "order_id", "paid_amount", "paid_at"],
    ]

    static let segments = ["RETAIL", "WHOLESALE", "ONLINE", "PARTNER"]
    static let statuses = ["NEW", "PICKED", "SHIPPED", "DELIVERED", "RETURNED"]
    /// Most changes hit recent orders, as they do in a shop.
    private static let recentOrders: Int64 = 500

    private var random: SplitMix64
    private var lastCustomer: Int64
    private var lastOrder: Int64
    private var lastPayment: Int64

    /// - Parameters:
    ///   - seed: the same seed and ids give the same transactions.
    ///   - lastCustomer: the highest `customer_id` in use, 0 for none; likewise the others.
    public init(seed: UInt64, lastCustomer: Int64, lastOrder: Int64, lastPayment: Int64) {
        random = SplitMix64(state: seed)
        self.lastCustomer = lastCustomer
        self.lastOrder = lastOrder
        self.lastPayment = lastPayment
    }

    /// Continues where the source tables end.
    public init(seed: UInt64, continuing writer: any SourceWriter) async throws {
        self.init(
            seed: seed,
            lastCustomer: try await writer.integer("SELECT MAX(customer_id) FROM customers") ?? 0,
            lastOrder: try await writer.integer("SELECT MAX(order_id) FROM orders") ?? 0,
            lastPayment: try await writer.integer("SELECT MAX(payment_id) FROM payments") ?? 0)
    }

    /// One transaction that makes `count` customers; the load needs some to begin with.
    public mutating func customers(_ count: Int, at now: Timestamp) -> [String] {
        (0..<count).map { _ in insertCustomer(at: now) }
    }

    /// The next transaction, as its statements.
    public mutating func next(at now: Timestamp) -> [String] {
        if lastCustomer == 0 { return customers(1, at: now) }
        var draw = Int.random(in: 0..<100, using: &random)
        let kind = Kind.allCases.first { kind in
            draw -= kind.weight
            return draw < 0
        }
        let time = Self.quoted(now)
        switch kind ?? .newOrder {
        case .newOrder:
            return [insertOrder(at: now)]
        case .newPaidOrder:
            return [insertOrder(at: now), insertPayment(order: lastOrder, at: now)]
        case .statusChange:
            let status = Self.statuses.randomElement(using: &random) ?? "NEW"
            return ["UPDATE orders SET status = '\(status)', updated_at = \(time) WHERE order_id = \(recentOrder())"]
        case .payment:
            return [insertPayment(order: recentOrder(), at: now)]
        case .amountCorrection:
            let order = max(lastOrder, 1)
            return [
                """
                UPDATE orders SET amount = '\(amount())', updated_at = \(time) \
                WHERE order_id = \(Int64.random(in: 1...order, using: &random))
                """
            ]
        case .cancellation:
            let order = recentOrder()
            return [
                "DELETE FROM payments WHERE order_id = \(order)", "DELETE FROM orders WHERE order_id = \(order)",
            ]
        case .newCustomer:
            return [insertCustomer(at: now)]
        case .segmentMove:
            let segment = Self.segments.randomElement(using: &random) ?? "RETAIL"
            return [
                """
                UPDATE customers SET segment = '\(segment)', updated_at = \(time) \
                WHERE customer_id = \(Int64.random(in: 1...lastCustomer, using: &random))
                """
            ]
        }
    }

    private mutating func insertCustomer(at now: Timestamp) -> String {
        lastCustomer += 1
        let segment = Self.segments.randomElement(using: &random) ?? "RETAIL"
        return """
            INSERT INTO customers (customer_id, segment, is_active, updated_at) \
            VALUES (\(lastCustomer), '\(segment)', 1, \(Self.quoted(now)))
            """
    }

    private mutating func insertOrder(at now: Timestamp) -> String {
        lastOrder += 1
        let customer = Int64.random(in: 1...lastCustomer, using: &random)
        let time = Self.quoted(now)
        return """
            INSERT INTO orders (order_id, customer_id, amount, status, created_at, updated_at) \
            VALUES (\(lastOrder), \(customer), '\(amount())', 'NEW', \(time), \(time))
            """
    }

    private mutating func insertPayment(order: Int64, at now: Timestamp) -> String {
        lastPayment += 1
        return """
            INSERT INTO payments (payment_id, order_id, paid_amount, paid_at) \
            VALUES (\(lastPayment), \(order), '\(amount())', \(Self.quoted(now)))
            """
    }

    private mutating func recentOrder() -> Int64 {
        Int64.random(in: max(1, lastOrder - Self.recentOrders)...max(1, lastOrder), using: &random)
    }

    /// An amount from 0.01 to 1000.00.
    private mutating func amount() -> String {
        let cents = Int.random(in: 1...100_000, using: &random)
        let rest = cents % 100
        return "\(cents / 100).\(rest < 10 ? "0" : "")\(rest)"
    }

    private static func quoted(_ time: Timestamp) -> String { "'\(time)'" }
}

/// The SplitMix64 generator: small, fast, and the same on every platform for a seed
/// (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
public struct SplitMix64: RandomNumberGenerator, Sendable {
    public var state: UInt64

    public init(state: UInt64) { self.state = state }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
