import ContractTests
import GRDB
import Tidemark

/// Writes random transactions to the shop as another program does, and keeps the oracle's model in step.
///
/// The model never looks at what the tables hold: each statement is made twice, once as SQL and once on the
/// dictionaries. Only the LSN is the database's: the clock's value, read inside the transaction.
struct ShopWriter {
    private(set) var shop = ShopModel()
    /// The state after the last transaction of each LSN.
    private var history: [(clock: Int64, shop: ShopModel)] = []
    /// What the transaction at hand has done; dropped when it rolls back.
    private var draft = ShopModel()
    private var clock: Int64 = 0
    private let connection: DatabaseQueue
    private(set) var transactions = 0
    /// The statements of the last transaction, for the trace.
    private(set) var lastStatements: [String] = []

    /// - Parameter shop: what the tables held when they were first captured.
    init(_ connection: DatabaseQueue, shop: ShopModel) {
        self.connection = connection
        self.shop = shop
        history = [(1, shop)]
    }

    /// The shop as it was when `lsn` was the end of the log.
    func shop(asOf lsn: LSN) -> ShopModel {
        history.last { $0.clock <= Int64(clamping: lsn.high) }?.shop ?? ShopModel()
    }

    // MARK: Transactions

    mutating func transaction(using random: inout SplitMix64) throws {
        var writer = self
        var generator = random
        try connection.inDatabase { db in
            try db.execute(sql: "BEGIN IMMEDIATE")
            writer.clock = try Int64.fetchOne(db, sql: "SELECT value FROM cdc_clock") ?? 0
            writer.draft = writer.shop
            writer.lastStatements = []
            for _ in 0..<[1, 1, 1, 2, 3, 6].pick(&generator) {
                if generator.chance(0.12) {
                    try writer.savepoint(db, &generator)
                } else {
                    try writer.statement(db, &generator)
                }
            }
            if generator.chance(0.08) {
                writer.lastStatements.append("ROLLBACK")
                try db.execute(sql: "ROLLBACK")
            } else {
                try db.execute(sql: "COMMIT")
                writer.commit()
            }
        }
        self = writer
        random = generator
    }

    private mutating func commit() {
        shop = draft
        transactions += 1
        if history.last?.clock == clock { history.removeLast() }
        history.append((clock, shop))
    }

    private mutating func savepoint(_ db: GRDB.Database, _ random: inout SplitMix64) throws {
        let before = draft
        try run(db, "SAVEPOINT part")
        for _ in 0..<[1, 2, 3].pick(&random) { try statement(db, &random) }
        if random.chance(0.5) {
            try run(db, "ROLLBACK TO part")
            draft = before
            if random.chance(0.5) { try statement(db, &random) }
        }
        try run(db, "RELEASE part")
    }

    private mutating func run(_ db: GRDB.Database, _ sql: String, _ arguments: [(any DatabaseValueConvertible)?] = [])
        throws
    {
        lastStatements.append(arguments.isEmpty ? sql : "\(sql) \(arguments.map { $0.map { "\($0)" } ?? "NULL" })")
        try db.cachedStatement(sql: sql).execute(arguments: StatementArguments(arguments))
    }

    // MARK: Statements

    private mutating func statement(_ db: GRDB.Database, _ random: inout SplitMix64) throws {
        switch Int.random(in: 0..<100, using: &random) {
        case ..<12: try putCustomer(db, random.key(Keys.customers), .random(clock, &random), &random)
        case ..<20: try changeCustomer(db, &random)
        case ..<24: try deleteCustomer(db, random.key(Keys.customers))
        case ..<40: try putOrder(db, random.key(Keys.orders), .random(clock, &random), &random)
        case ..<54: try changeOrder(db, &random)
        case ..<59: try deleteOrder(db, random.key(Keys.orders))
        case ..<72: try putPayment(db, random.key(Keys.payments), .random(clock, &random), &random)
        case ..<76: try changePayment(db, &random)
        case ..<79: try deletePayment(db, random.key(Keys.payments))
        case ..<86: try swapOrMoveKeys(db, &random)
        case ..<90: try deleteAndReinsert(db, &random)
        case ..<93: try manyRows(db, &random)
        case ..<97: try manyChanges(db, &random)
        default: try manyDeletes(db, &random)
        }
    }

    /// How a row that may be there already is written.
    private func put(_ exists: Bool, _ random: inout SplitMix64) -> String {
        exists || random.chance(0.3) ? "INSERT OR REPLACE" : "INSERT"
    }

    private mutating func putCustomer(
        _ db: GRDB.Database, _ id: Int64, _ row: ShopModel.Customer, _ random: inout SplitMix64
    ) throws {
        let columns = "INTO customers (customer_id, segment, is_active, updated_at) VALUES (?, ?, ?, ?)"
        let values: [(any DatabaseValueConvertible)?] = [id, row.segment, row.isActive, Text.time(row.updatedAt)]
        if draft.customers[id] != nil, random.chance(0.4) {
            try run(
                db,
                """
                INSERT \(columns) ON CONFLICT (customer_id) DO UPDATE \
                SET segment = excluded.segment, is_active = excluded.is_active, updated_at = excluded.updated_at
                """, values)
        } else {
            try run(db, "\(put(draft.customers[id] != nil, &random)) \(columns)", values)
        }
        draft.customers[id] = row
    }

    private mutating func changeCustomer(_ db: GRDB.Database, _ random: inout SplitMix64) throws {
        let id = random.key(Keys.customers)
        let segment = random.text(of: Keys.segments)
        if random.chance(0.25) {
            // Nothing is changed, and yet it is a change.
            try run(db, "UPDATE customers SET segment = segment WHERE customer_id = ?", [id])
        } else {
            try run(db, "UPDATE customers SET segment = ? WHERE customer_id = ?", [segment, id])
            draft.customers[id]?.segment = segment
        }
        draft.customers[id]?.clock = clock
    }

    private mutating func deleteCustomer(_ db: GRDB.Database, _ id: Int64) throws {
        try run(db, "DELETE FROM customers WHERE customer_id = ?", [id])
        draft.customers[id] = nil
    }

    private mutating func putOrder(
        _ db: GRDB.Database, _ id: Int64, _ row: ShopModel.Order, _ random: inout SplitMix64
    ) throws {
        try run(
            db,
            """
            \(put(draft.orders[id] != nil, &random)) INTO orders \
            (order_id, customer_id, amount, status, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)
            """,
            [
                id, row.customer, row.amount.map(Text.cents), row.status, row.createdAt.map(Text.time),
                Text.time(row.updatedAt),
            ])
        draft.orders[id] = row
    }

    private mutating func changeOrder(_ db: GRDB.Database, _ random: inout SplitMix64) throws {
        let id = random.key(Keys.orders)
        let row = ShopModel.Order.random(clock, &random)
        switch Int.random(in: 0..<5, using: &random) {
        case 0:
            try run(db, "UPDATE orders SET customer_id = ? WHERE order_id = ?", [row.customer, id])
            draft.orders[id]?.customer = row.customer
        case 1:
            try run(db, "UPDATE orders SET amount = ? WHERE order_id = ?", [row.amount.map(Text.cents), id])
            draft.orders[id]?.amount = row.amount
        case 2:
            try run(db, "UPDATE orders SET status = ? WHERE order_id = ?", [row.status, id])
            draft.orders[id]?.status = row.status
        case 3:
            try run(db, "UPDATE orders SET created_at = ? WHERE order_id = ?", [row.createdAt.map(Text.time), id])
            draft.orders[id]?.createdAt = row.createdAt
        default:
            try run(db, "UPDATE orders SET amount = amount WHERE order_id = ?", [id])
        }
        draft.orders[id]?.clock = clock
    }

    private mutating func deleteOrder(_ db: GRDB.Database, _ id: Int64) throws {
        try run(db, "DELETE FROM orders WHERE order_id = ?", [id])
        draft.orders[id] = nil
    }

    private mutating func putPayment(
        _ db: GRDB.Database, _ id: Int64, _ row: ShopModel.Payment, _ random: inout SplitMix64
    ) throws {
        try run(
            db,
            """
            \(put(draft.payments[id] != nil, &random)) INTO payments \
            (payment_id, order_id, paid_amount, paid_at) VALUES (?, ?, ?, ?)
            """, [id, row.order, row.amount.map(Text.cents), row.paidAt.map(Text.time)])
        draft.payments[id] = row
    }

    private mutating func changePayment(_ db: GRDB.Database, _ random: inout SplitMix64) throws {
        let id = random.key(Keys.payments)
        let row = ShopModel.Payment.random(clock, &random)
        if random.chance(0.5) {
            try run(db, "UPDATE payments SET order_id = ? WHERE payment_id = ?", [row.order, id])
            draft.payments[id]?.order = row.order
        } else {
            try run(
                db, "UPDATE payments SET paid_amount = ?, paid_at = ? WHERE payment_id = ?",
                [row.amount.map(Text.cents), row.paidAt.map(Text.time), id])
            draft.payments[id]?.amount = row.amount
            draft.payments[id]?.paidAt = row.paidAt
        }
        draft.payments[id]?.clock = clock
    }

    private mutating func deletePayment(_ db: GRDB.Database, _ id: Int64) throws {
        try run(db, "DELETE FROM payments WHERE payment_id = ?", [id])
        draft.payments[id] = nil
    }

    /// A row takes another key, or two rows change theirs by way of a third key.
    private mutating func swapOrMoveKeys(_ db: GRDB.Database, _ random: inout SplitMix64) throws {
        func moves(_ ids: some Sequence<Int64>, _ free: [Int64]) -> [(Int64, Int64)] {
            let ids = ids.sorted().shuffled(using: &random)
            if ids.count >= 2, random.chance(0.6) { return [(ids[0], -1), (ids[1], ids[0]), (-1, ids[1])] }
            guard let id = ids.first, let target = free.randomElement(using: &random) else { return [] }
            return [(id, target)]
        }
        func free(_ keys: ClosedRange<Int64>, _ used: some Sequence<Int64>) -> [Int64] {
            let used = Set(used)
            return keys.filter { !used.contains($0) }
        }
        switch Int.random(in: 0..<3, using: &random) {
        case 0:
            for (from, to) in moves(draft.customers.keys, free(Keys.customers, draft.customers.keys)) {
                try run(db, "UPDATE customers SET customer_id = ? WHERE customer_id = ?", [to, from])
                draft.customers[to] = draft.customers.removeValue(forKey: from)
                draft.customers[to]?.clock = clock
            }
        case 1:
            for (from, to) in moves(draft.orders.keys, free(Keys.orders, draft.orders.keys)) {
                try run(db, "UPDATE orders SET order_id = ? WHERE order_id = ?", [to, from])
                draft.orders[to] = draft.orders.removeValue(forKey: from)
                draft.orders[to]?.clock = clock
            }
        default:
            for (from, to) in moves(draft.payments.keys, free(Keys.payments, draft.payments.keys)) {
                try run(db, "UPDATE payments SET payment_id = ? WHERE payment_id = ?", [to, from])
                draft.payments[to] = draft.payments.removeValue(forKey: from)
                draft.payments[to]?.clock = clock
            }
        }
    }

    private mutating func deleteAndReinsert(_ db: GRDB.Database, _ random: inout SplitMix64) throws {
        if random.chance(0.5) {
            let id = random.key(Keys.orders)
            var row = draft.orders[id] ?? .random(clock, &random)
            if random.chance(0.5) { row = .random(clock, &random) }
            row.clock = clock
            try deleteOrder(db, id)
            try putOrder(db, id, row, &random)
        } else {
            let id = random.key(Keys.customers)
            try deleteCustomer(db, id)
            try putCustomer(db, id, .random(clock, &random), &random)
        }
    }

    /// Hundreds of orders, with payments for some, in the statements of one transaction.
    private mutating func manyRows(_ db: GRDB.Database, _ random: inout SplitMix64) throws {
        let count = Int64([20, 60, 300].pick(&random))
        let time = random.time()
        for id in 1000..<1000 + count {
            var row = ShopModel.Order.random(clock, &random)
            if random.chance(0.8) { row.createdAt = time }
            try putOrder(db, id, row, &random)
            if random.chance(0.2) {
                var payment = ShopModel.Payment.random(clock, &random)
                payment.order = id
                try putPayment(db, id, payment, &random)
            }
        }
        lastStatements.removeLast(max(0, lastStatements.count - 8))
        lastStatements.append("… \(count) orders in all")
    }

    private mutating func manyChanges(_ db: GRDB.Database, _ random: inout SplitMix64) throws {
        let row = ShopModel.Order.random(clock, &random)
        let customer = random.chance(0.2) ? nil : random.key(Keys.customers)
        switch Int.random(in: 0..<3, using: &random) {
        case 0:
            try run(
                db, "UPDATE orders SET created_at = ? WHERE customer_id IS ?", [row.createdAt.map(Text.time), customer])
            for (id, order) in draft.orders where order.customer == customer {
                draft.orders[id]?.createdAt = row.createdAt
                draft.orders[id]?.clock = clock
            }
        case 1:
            try run(db, "UPDATE customers SET segment = ? WHERE is_active", [row.status])
            for (id, row) in draft.customers where row.isActive { draft.customers[id]?.clock = clock }
            for (id, old) in draft.customers where old.isActive { draft.customers[id]?.segment = row.status }
        default:
            try run(db, "UPDATE payments SET order_id = order_id + 1, paid_at = ?", [row.createdAt.map(Text.time)])
            for id in draft.payments.keys {
                guard var payment = draft.payments[id] else { continue }
                payment.order = payment.order.map { $0 + 1 }
                payment.paidAt = row.createdAt
                payment.clock = clock
                draft.payments[id] = payment
            }
        }
    }

    private mutating func manyDeletes(_ db: GRDB.Database, _ random: inout SplitMix64) throws {
        switch Int.random(in: 0..<3, using: &random) {
        case 0:
            try run(db, "DELETE FROM orders WHERE order_id >= 1000")
            draft.orders = draft.orders.filter { $0.key < 1000 }
        case 1:
            try run(db, "DELETE FROM payments")
            draft.payments = [:]
        default:
            let customer = random.key(Keys.customers)
            try run(db, "DELETE FROM orders WHERE customer_id = ?", [customer])
            try run(db, "DELETE FROM customers WHERE customer_id = ?", [customer])
            draft.orders = draft.orders.filter { $0.value.customer != customer }
            draft.customers[customer] = nil
        }
    }
}

// MARK: - Random values

/// Keys and texts in use: few, so that rows meet; orders and payments name some that never exist.
private enum Keys {
    static let customers: ClosedRange<Int64> = 1...7
    static let orders: ClosedRange<Int64> = 1...16
    static let payments: ClosedRange<Int64> = 1...16
    static let segments = [
        "A", "b", "", "UNKNOWN", "retail", "é", "e\u{301}", "日本語", "👩‍👩‍👧", "'; --", " ", "\u{FEFF}x", "\\",
    ]
    static let statuses = ["NEW", "PAID", "", "(none)", "ŝ", "\"quoted\"\n"]
}

extension ShopModel.Customer {
    fileprivate static func random(_ clock: Int64, _ random: inout SplitMix64) -> Self {
        Self(
            segment: random.text(of: Keys.segments), isActive: random.chance(0.5), updatedAt: random.time(),
            clock: clock)
    }
}

extension ShopModel.Order {
    fileprivate static func random(_ clock: Int64, _ random: inout SplitMix64) -> Self {
        Self(
            customer: random.chance(0.1) ? nil : random.chance(0.1) ? .min : random.key(Keys.customers),
            amount: random.cents(),
            // Now and then a row of 20 KB.
            status: random.chance(0.03) ? String(repeating: "w", count: 20_000) : random.text(of: Keys.statuses),
            createdAt: random.chance(0.1) ? nil : random.time(), updatedAt: random.time(), clock: clock)
    }
}

extension ShopModel.Payment {
    fileprivate static func random(_ clock: Int64, _ random: inout SplitMix64) -> Self {
        Self(
            order: random.chance(0.1) ? nil : random.chance(0.1) ? 999 : random.key(Keys.orders),
            amount: random.cents(), paidAt: random.chance(0.1) ? nil : random.time(), clock: clock)
    }
}

extension Array {
    func pick(_ random: inout SplitMix64) -> Element { self[Int.random(in: 0..<count, using: &random)] }
}

extension SplitMix64 {
    mutating func chance(_ probability: Double) -> Bool { Double.random(in: 0..<1, using: &self) < probability }

    mutating func key(_ keys: ClosedRange<Int64>) -> Int64 { Int64.random(in: keys, using: &self) }

    mutating func text(of texts: [String]) -> String? { chance(0.15) ? nil : texts.pick(&self) }

    /// Cents, out to the ends of DECIMAL(18,2).
    mutating func cents() -> Int128? {
        let extreme: Int128 = 999_999_999_999_999_999
        switch Int.random(in: 0..<10, using: &self) {
        case 0: return nil
        case 1: return extreme
        case 2: return -extreme
        case 3: return 0
        case 4: return -1
        default: return Int128(Int.random(in: 0..<100_000, using: &self))
        }
    }

    /// Mostly a few minutes around a leap day's midnight, and sometimes long ago or the ends of what a time can be.
    mutating func time() -> Int64 {
        if chance(0.04) { return [-62_135_596_800_000_000, -1, 0, 253_402_300_799_999_999].pick(&self) }
        let base: Int64 = chance(0.1) ? -7_200_000_000 : 1_709_251_080_000_000
        let seconds = Int64.random(in: 0..<300, using: &self) * 1_000_000
        return base + seconds + (chance(0.5) ? 0 : Int64.random(in: 0..<1_000_000, using: &self))
    }
}
