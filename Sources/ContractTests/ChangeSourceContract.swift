import Testing
public import Tidemark

/// A fresh source database with the sample tables `customers`, `orders` and `payments`, and nothing in them.
/// Change data capture is enabled on all three.
public protocol SourceFixture: Sendable {
    var source: any ChangeSource { get }

    /// Runs the statements in one transaction, on a connection of its own.
    func transaction(_ statements: [String]) async throws

    /// Runs the statements in one transaction, and rolls it back.
    func rolledBack(_ statements: [String]) async throws

    /// A literal of Unicode text.
    func literal(_ text: String) -> String
}

extension SourceFixture {
    func orders() async throws -> Capture {
        let captures = try await source.captures()
        return try #require(captures.first { $0.table == "orders" })
    }

    /// All changes of `capture` up to now.
    func changes(
        _ capture: Capture, after: LSN = .zero, blockRows: Int = 100
    ) async throws -> [ReadableChange] {
        let window = LSNWindow(after: after, through: try await source.bounds().maxLSN)
        return try await source.changes(of: capture, in: window, blockRows: blockRows).blocks().flatMap(\.readable)
    }
}

/// What every `ChangeSource` promises.
public enum ChangeSourceContract {
    public typealias Clause = ContractClause<any SourceFixture>

    public static let clauses: [Clause] = catalog + log + windows + values

    private static func insert(_ ids: ClosedRange<Int>) -> [String] { ids.map { insert($0) } }
    private static func insert(_ id: Int, amount: String = "'10.50'") -> String {
        """
        INSERT INTO orders (order_id, customer_id, amount, status, created_at, updated_at)
        VALUES (\(id), 7, \(amount), 'new', '2026-01-31 10:00:00', '2026-01-31 10:00:00')
        """
    }

    private static let catalog: [Clause] = [
        Clause("captures have their tables' columns, types and keys") { fixture in
            let captures = try await fixture.source.captures()
            #expect(captures.map(\.instance).sorted() == ["dbo_customers", "dbo_orders", "dbo_payments"])
            let orders = try await fixture.orders()
            #expect(orders.key == ["order_id"])
            #expect(
                orders.columns.map(\.name) == [
                    "order_id", "customer_id", "amount", "status", "created_at", "updated_at",
                ])
            #expect(orders.columns[2].type == .decimal(precision: 18, scale: 2))
            #expect(orders.columns[3].type == .string)
            #expect(orders.columns[4].type == .timestamp)
        },
        Clause("bounds tell of every capture, and stay where they are while nothing happens") { fixture in
            try await fixture.transaction(insert(1...3))
            let first = try await fixture.source.bounds()
            let second = try await fixture.source.bounds()
            #expect(first.captures.keys.sorted() == ["dbo_customers", "dbo_orders", "dbo_payments"])
            #expect(first.maxLSN > .zero)
            #expect(first.maxCommitTime != nil)
            #expect(second.captures == first.captures)
            #expect(try await fixture.changes(fixture.orders(), after: first.maxLSN).isEmpty)
        },
    ]

    private static let log: [Clause] = [
        Clause("an insert, an update and a delete are changes 2, 4 and 1") { fixture in
            try await fixture.transaction([insert(1)])
            try await fixture.transaction(["UPDATE orders SET status = 'paid' WHERE order_id = 1"])
            try await fixture.transaction(["DELETE FROM orders WHERE order_id = 1"])
            let changes = try await fixture.changes(fixture.orders()).filter { $0.operation != 3 }
            #expect(changes.map(\.operation) == [2, 4, 1])
            #expect(changes.map { $0.values[3] } == ["new", "paid", "paid"])
            #expect(changes.allSatisfy { $0.values[2] == "10.50" })
        },
        Clause("an update of the key is a delete of the old row and an insert of the new one") { fixture in
            try await fixture.transaction([insert(1)])
            try await fixture.transaction(["UPDATE orders SET order_id = 2, status = 'moved' WHERE order_id = 1"])
            let changes = try await fixture.changes(fixture.orders())
            #expect(changes.map(\.operation) == [2, 1, 2])
            #expect(changes.map { $0.values[0] } == ["1", "1", "2"])
            #expect(changes.map { $0.values[3] } == ["new", "new", "moved"])
        },
        Clause("a transaction has one LSN over all its statements") { fixture in
            try await fixture.transaction(insert(1...3) + ["DELETE FROM orders WHERE order_id = 2"])
            let changes = try await fixture.changes(fixture.orders())
            #expect(changes.count == 4)
            #expect(Set(changes.map(\.lsn)).count == 1)
        },
        Clause("what is committed after the bounds were asked for lies above them") { fixture in
            try await fixture.transaction([insert(1)])
            let bounds = try await fixture.source.bounds()
            try await fixture.transaction([insert(2)])
            let later = try await fixture.changes(fixture.orders(), after: bounds.maxLSN)
            #expect(later.map { $0.values[0] } == ["2"])
        },
        Clause("a transaction that was rolled back leaves no change") { fixture in
            try await fixture.rolledBack(insert(1...3))
            try await fixture.transaction([insert(4)])
            #expect(try await fixture.changes(fixture.orders()).map { $0.values[0] } == ["4"])
        },
        Clause("a row deleted and inserted again in one transaction comes out in that order") { fixture in
            try await fixture.transaction([insert(1)])
            try await fixture.transaction(["DELETE FROM orders WHERE order_id = 1", insert(1, amount: "'2.00'")])
            let changes = try await fixture.changes(fixture.orders())
            #expect(changes.map(\.operation) == [2, 1, 2])
            #expect(changes.map { $0.values[2] } == ["10.50", "10.50", "2.00"])
        },
        Clause("a commit time is known for a position, and none before the log") { fixture in
            try await fixture.transaction([insert(1)])
            let bounds = try await fixture.source.bounds()
            #expect(try await fixture.source.commitTime(of: bounds.maxLSN) == bounds.maxCommitTime)
            #expect(try await fixture.source.commitTime(of: .zero) == nil)
        },
        Clause("a position is found as it was read; one at another time, or beyond the log, is not") { fixture in
            var positions: [SourcePosition] = []
            for id in 1...3 {
                try await fixture.transaction([insert(id)])
                let bounds = try await fixture.source.bounds()
                positions.append(
                    SourcePosition(lsn: bounds.maxLSN, commitTime: try #require(bounds.maxCommitTime)))
            }
            let orders = try await fixture.orders()
            let window = LSNWindow(after: positions[0].lsn, through: positions[2].lsn)
            for position in positions {
                #expect(try await fixture.source.bounds(verifying: position).finding == .kept)
            }
            let kept = try await fixture.source.changes(
                of: orders, in: window, expecting: positions, limits: .standard
            ).blocks().flatMap(\.readable)
            #expect(kept.count == 2)
            #expect(try await fixture.source.bounds().finding == .unasked)

            var other = positions[1]
            other.commitTime = Timestamp(microseconds: other.commitTime.microseconds - 1_234_000)
            let found = try await fixture.source.bounds(verifying: other).finding
            #expect(found == .replaced(by: positions[1].commitTime))
            let far = SourcePosition(lsn: LSN(high: .max, low: 0), commitTime: .now())
            #expect(try await fixture.source.bounds(verifying: far).finding == .beyond)
            for wrong in [other, far] {
                await #expect(throws: TidemarkError.self) {
                    _ = try await fixture.source.changes(of: orders, in: window, expecting: [wrong], limits: .standard)
                        .blocks()
                }
            }
        },
    ]

    private static let windows: [Clause] = [
        Clause("a window ends at the upper bound when all changes fit") { fixture in
            try await fixture.transaction(insert(1...3))
            let orders = try await fixture.orders()
            let max = try await fixture.source.bounds().maxLSN
            #expect(try await fixture.source.windowEnd(of: orders, after: .zero, upTo: max, maxRows: 3) == max)
            #expect(try await fixture.source.windowEnd(of: orders, after: max, upTo: max, maxRows: 3) == max)
            #expect(
                try await fixture.source.windowEnd(of: orders, after: .zero, upTo: max, maxRows: .max) == max)
        },
        Clause("windows never split a transaction, however large, and lose nothing between them") { fixture in
            var id = 0
            for size in [1, 2, 7, 1, 3, 1] {
                try await fixture.transaction(insert((id + 1)...(id + size)))
                id += size
                // A source may give transactions one LSN until the position is asked for.
                _ = try await fixture.source.bounds()
            }
            let orders = try await fixture.orders()
            let max = try await fixture.source.bounds().maxLSN
            let whole = try await fixture.changes(orders)
            for maxRows in 1...16 {
                var after = LSN.zero
                var pieces: [ReadableChange] = []
                while after < max {
                    let end = try await fixture.source.windowEnd(of: orders, after: after, upTo: max, maxRows: maxRows)
                    try #require(end > after && end <= max)
                    let window = LSNWindow(after: after, through: end)
                    let piece = try await fixture.source.changes(of: orders, in: window, blockRows: 100)
                        .blocks().flatMap(\.readable)
                    #expect(piece.count <= maxRows || Set(piece.map(\.lsn)).count == 1)
                    pieces += piece
                    after = end
                }
                #expect(pieces == whole)
            }
        },
        Clause("blocks hold no more rows than asked for, and are never empty") { fixture in
            try await fixture.transaction(insert(1...10))
            let orders = try await fixture.orders()
            let window = LSNWindow(after: .zero, through: try await fixture.source.bounds().maxLSN)
            let blocks = try await fixture.source.changes(of: orders, in: window, blockRows: 3).blocks()
            #expect(blocks.map(\.count) == [3, 3, 3, 1])
            #expect(blocks.flatMap(\.readable).map { $0.values[0] } == (1...10).map { "\($0)" })
        },
        Clause("a window without changes has no block") { fixture in
            try await fixture.transaction(insert(1...2))
            let customers = try #require(try await fixture.source.captures().first { $0.table == "customers" })
            #expect(try await fixture.changes(customers).isEmpty)
        },
        Clause("a reader dropped half-way does no harm") { fixture in
            try await fixture.transaction(insert(1...10))
            let orders = try await fixture.orders()
            let window = LSNWindow(after: .zero, through: try await fixture.source.bounds().maxLSN)
            for _ in 0..<10 {
                let reader = try await fixture.source.changes(of: orders, in: window, blockRows: 3)
                #expect(try reader.next()?.count == 3)
            }
            try await fixture.transaction([insert(11)])
            #expect(try await fixture.changes(orders).count == 11)
        },
        Clause("the rows of a table are read as they stand") { fixture in
            try await fixture.transaction(insert(1...5) + ["DELETE FROM orders WHERE order_id = 3"])
            let rows = try await fixture.source.rows(of: fixture.orders(), blockRows: 2).blocks()
            #expect(rows.allSatisfy { $0.count <= 2 })
            #expect(rows.flatMap(\.readable).compactMap { $0[0] }.sorted() == ["1", "2", "4", "5"])
        },
    ]

    private static let values: [Clause] = [
        Clause("NULL and the empty string stay apart") { fixture in
            try await fixture.transaction([
                "INSERT INTO customers (customer_id, segment, is_active, updated_at) "
                    + "VALUES (1, NULL, 1, '2026-01-31 10:00:00'), (2, '', 0, '2026-01-31 10:00:00')"
            ])
            let customers = try #require(try await fixture.source.captures().first { $0.table == "customers" })
            #expect(try await fixture.changes(customers).map { $0.values[1] } == [nil, ""])
            #expect(try await fixture.changes(customers).map { $0.values[2] } == ["1", "0"])
        },
        Clause("text beyond ASCII arrives unchanged") { fixture in
            let text = "ŝoes 靴 👟 e\u{301} 'quoted'"
            try await fixture.transaction([
                "INSERT INTO customers (customer_id, segment, is_active, updated_at) "
                    + "VALUES (1, \(fixture.literal(text)), 1, '2026-01-31 10:00:00')"
            ])
            let customers = try #require(try await fixture.source.captures().first { $0.table == "customers" })
            let values = try await fixture.changes(customers).map { $0.values[1] }
            #expect(values.map { $0.map { Array($0.utf8) } } == [Array(text.utf8)])
        },
        Clause("decimals keep every digit") { fixture in
            try await fixture.transaction([
                insert(1, amount: "'9999999999999999.99'"), insert(2, amount: "'-9999999999999999.99'"),
                insert(3, amount: "'0.01'"), insert(4, amount: "NULL"),
            ])
            #expect(
                try await fixture.changes(fixture.orders()).map { $0.values[2] }
                    == ["9999999999999999.99", "-9999999999999999.99", "0.01", nil])
        },
        Clause("the earliest and the latest time arrive unchanged") { fixture in
            try await fixture.transaction([
                insert(1),
                """
                UPDATE orders SET created_at = '0001-01-01 00:00:00', updated_at = '9999-12-31 23:59:59.999'
                """,
            ])
            let last = try #require(try await fixture.changes(fixture.orders()).last)
            #expect(last.values[4] == "0001-01-01 00:00:00")
            #expect(last.values[5] == "9999-12-31 23:59:59.999000")
        },
    ]
}
