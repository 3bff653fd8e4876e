import Tidemark

/// Random transactions on the sample shop in SQL that every database takes, with the oracle's model kept in step.
///
/// Each statement is made twice, once as SQL and once on the dictionaries. A transaction carries its number in the
/// row of customer `tick`, by which a position in the log is known again.
struct ShopScript {
    /// The customer whose segment is the number of the last transaction.
    static let tick: Int64 = 1_000_000

    /// The shop after each transaction; the first is the empty one.
    private(set) var history = [ShopModel()]
    private var draft = ShopModel()
    private var random: SplitMix64
    private let literal: @Sendable (String) -> String

    /// - Parameter literal: a literal of Unicode text in the source's SQL.
    init(seed: UInt64, literal: @escaping @Sendable (String) -> String) {
        random = SplitMix64(state: seed)
        self.literal = literal
    }

    /// The statements of the next transaction, and whether it is to be committed.
    mutating func next() -> (statements: [String], commits: Bool) {
        draft = history[history.count - 1]
        let commits = Int.random(in: 0..<12, using: &random) > 0
        var statements =
            history.count == 1 ? ["INSERT INTO customers \(Self.customerColumns) VALUES \(tickRow(0))"] : []
        for _ in 0..<Int.random(in: 1...5, using: &random) { statements += change() }
        statements.append("UPDATE customers SET segment = '\(history.count)' WHERE customer_id = \(Self.tick)")
        draft.customers[Self.tick] = .init(segment: "\(history.count)", isActive: false, updatedAt: 0, clock: 0)
        if commits { history.append(draft) }
        return (statements, commits)
    }

    private static let customerColumns = "(customer_id, segment, is_active, updated_at)"
    private static let orderColumns = "(order_id, customer_id, amount, status, created_at, updated_at)"
    private static let paymentColumns = "(payment_id, order_id, paid_amount, paid_at)"

    private func tickRow(_ number: Int) -> String {
        "(\(Self.tick), '\(number)', 0, '1970-01-01 00:00:00')"
    }

    // MARK: Statements

    private mutating func change() -> [String] {
        switch Int.random(in: 0..<100, using: &random) {
        case ..<18: putCustomer(Int64.random(in: 1...6, using: &random))
        case ..<40: putOrder(Int64.random(in: 1...14, using: &random))
        case ..<55: putPayment(Int64.random(in: 1...14, using: &random))
        case ..<62: delete("customers", "customer_id", Int64.random(in: 1...6, using: &random))
        case ..<69: delete("orders", "order_id", Int64.random(in: 1...14, using: &random))
        case ..<74: delete("payments", "payment_id", Int64.random(in: 1...14, using: &random))
        case ..<82: swapOrders()
        case ..<88: moveAll()
        case ..<94: manyOrders()
        default: touchNothing()
        }
    }

    /// Inserts the row, or changes the one that is there.
    private mutating func putCustomer(_ id: Int64) -> [String] {
        let (segment, isActive, time) = (text(Self.segments), Bool.random(using: &random), time())
        let exists = draft.customers[id] != nil
        draft.customers[id] = .init(segment: segment, isActive: isActive, updatedAt: time, clock: 0)
        let (text, flag, at) = (sql(segment), isActive ? "1" : "0", sql(time: time))
        return exists
            ? [
                "UPDATE customers SET segment = \(text), is_active = \(flag), updated_at = \(at) WHERE customer_id = \(id)"
            ]
            : ["INSERT INTO customers \(Self.customerColumns) VALUES (\(id), \(text), \(flag), \(at))"]
    }

    private mutating func order() -> ShopModel.Order {
        .init(
            customer: chance(0.1) ? nil : Int64.random(in: 1...8, using: &random), amount: cents(),
            status: text(Self.statuses), createdAt: chance(0.1) ? nil : time(), updatedAt: time(), clock: 0)
    }

    private func values(_ row: ShopModel.Order) -> [String] {
        [
            row.customer.map { "\($0)" } ?? "NULL", sql(cents: row.amount), sql(row.status), sql(time: row.createdAt),
            sql(time: row.updatedAt),
        ]
    }

    private mutating func putOrder(_ id: Int64) -> [String] {
        let exists = draft.orders[id] != nil
        let row = order()
        draft.orders[id] = row
        let values = values(row)
        guard exists else {
            return ["INSERT INTO orders \(Self.orderColumns) VALUES (\(id), \(values.joined(separator: ", ")))"]
        }
        let names = ["customer_id", "amount", "status", "created_at", "updated_at"]
        let sets = zip(names, values).map { "\($0) = \($1)" }.joined(separator: ", ")
        return ["UPDATE orders SET \(sets) WHERE order_id = \(id)"]
    }

    private mutating func putPayment(_ id: Int64) -> [String] {
        let row = ShopModel.Payment(
            order: chance(0.1) ? nil : Int64.random(in: 1...16, using: &random), amount: cents(),
            paidAt: chance(0.1) ? nil : time(), clock: 0)
        let exists = draft.payments[id] != nil
        draft.payments[id] = row
        let values = [row.order.map { "\($0)" } ?? "NULL", sql(cents: row.amount), sql(time: row.paidAt)]
        return exists
            ? [
                """
                UPDATE payments SET order_id = \(values[0]), paid_amount = \(values[1]), paid_at = \(values[2]) \
                WHERE payment_id = \(id)
                """
            ] : ["INSERT INTO payments \(Self.paymentColumns) VALUES (\(id), \(values.joined(separator: ", ")))"]
    }

    private mutating func delete(_ table: String, _ key: String, _ id: Int64) -> [String] {
        switch table {
        case "customers": draft.customers[id] = nil
        case "orders": draft.orders[id] = nil
        default: draft.payments[id] = nil
        }
        return ["DELETE FROM \(table) WHERE \(key) = \(id)"]
    }

    /// Two orders swap their keys in one statement.
    private mutating func swapOrders() -> [String] {
        let ids = draft.orders.keys.filter { $0 < 100 }.sorted().shuffled(using: &random).prefix(2)
        guard ids.count == 2, let a = ids.first, let b = ids.last else { return touchNothing() }
        (draft.orders[a], draft.orders[b]) = (draft.orders[b], draft.orders[a])
        // SQLite checks each row as it goes, so it takes a detour.
        return [
            "UPDATE orders SET order_id = -1 WHERE order_id = \(a)",
            "UPDATE orders SET order_id = \(a) WHERE order_id = \(b)",
            "UPDATE orders SET order_id = \(b) WHERE order_id = -1",
        ]
    }

    /// All orders of a customer move to another minute, or all active customers to another segment.
    private mutating func moveAll() -> [String] {
        if Bool.random(using: &random) {
            let (customer, time) = (Int64.random(in: 1...8, using: &random), time())
            for (id, row) in draft.orders where row.customer == customer { draft.orders[id]?.createdAt = time }
            return ["UPDATE orders SET created_at = \(sql(time: time)) WHERE customer_id = \(customer)"]
        }
        let segment = text(Self.segments)
        for (id, row) in draft.customers where row.isActive { draft.customers[id]?.segment = segment }
        return ["UPDATE customers SET segment = \(sql(segment)) WHERE is_active = 1"]
    }

    /// A few hundred orders in one statement, or all of them gone.
    private mutating func manyOrders() -> [String] {
        if draft.orders.keys.contains(where: { $0 >= 1000 }) {
            draft.orders = draft.orders.filter { $0.key < 1000 }
            return ["DELETE FROM orders WHERE order_id >= 1000"]
        }
        let rows = (0..<Int64.random(in: 50...300, using: &random)).map { offset in
            let row = order()
            draft.orders[1000 + offset] = row
            return "(\(1000 + offset), \(values(row).joined(separator: ", ")))"
        }
        return ["INSERT INTO orders \(Self.orderColumns) VALUES \(rows.joined(separator: ", "))"]
    }

    /// A change that changes nothing, and one that finds nothing.
    private mutating func touchNothing() -> [String] {
        [
            "UPDATE orders SET amount = amount WHERE order_id = \(Int64.random(in: 1...14, using: &random))",
            "DELETE FROM payments WHERE payment_id = 999999",
        ]
    }

    // MARK: Values

    private static let segments = [
        "A", "a", "", "UNKNOWN", "retail", "RETAIL", "é", "e\u{301}", "日本語", "👩‍👩‍👧", "'; --", "\u{FEFF}x", "\\", "ß",
    ]
    private static let statuses = ["NEW", "new", "", " ", "NEW ", "ŝ", "\"quoted\"\n"]

    private mutating func chance(_ probability: Double) -> Bool {
        Double.random(in: 0..<1, using: &random) < probability
    }

    private mutating func text(_ texts: [String]) -> String? {
        chance(0.15) ? nil : texts[Int.random(in: 0..<texts.count, using: &random)]
    }

    private mutating func cents() -> Int128? {
        let extreme: Int128 = 999_999_999_999_999_999
        switch Int.random(in: 0..<10, using: &random) {
        case 0: return nil
        case 1: return extreme
        case 2: return -extreme
        case 3: return 0
        default: return Int128(Int.random(in: -100_000..<100_000, using: &random))
        }
    }

    /// Whole milliseconds, which every database's sample tables hold.
    private mutating func time() -> Int64 {
        if chance(0.05) {
            return [-62_135_596_800_000_000, 0, 253_402_300_799_999_000].randomElement(using: &random) ?? 0
        }
        let seconds = Int64.random(in: 0..<300, using: &random) * 1_000
        return (1_709_251_080_000 + seconds + Int64.random(in: 0..<1_000, using: &random)) * 1_000
    }

    private func sql(_ text: String?) -> String { text.map(literal) ?? "NULL" }
    private func sql(cents: Int128?) -> String { cents.map { "'\(Text.cents($0))'" } ?? "NULL" }
    private func sql(time: Int64?) -> String {
        // Three digits of a second: SQL Server rounds what its columns have no room for, and refuses nothing.
        time.map { time in
            let text = Text.time(time)
            return "'\(text.contains(".") ? String(text.dropLast(3)) : text)'"
        } ?? "NULL"
    }
}
