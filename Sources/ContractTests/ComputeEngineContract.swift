import Testing
public import Tidemark

/// What an engine works on: an empty shop whose changes are captured, and an empty serving database to stage them in.
public protocol EngineFixture: Sendable {
    var shop: any SourceFixture { get }
    var store: any ServingStore { get }

    /// Opens a new engine over what is staged in `store`.
    func engine(captures: [Capture], watermarks: [String: Watermark]) async throws -> any ComputeEngine
}

/// What every `ComputeEngine` promises.
public enum ComputeEngineContract {
    public typealias Clause = ContractClause<any EngineFixture>

    public static let clauses: [Clause] = definitions + results + tables

    // MARK: What the clauses work on

    /// Computed in full, for want of keys: what the oracle calls `byStatus`.
    static let byStatus = ProjectionDefinition(
        name: "by_status", captures: [.init(name: "orders", columns: ["status", "amount"])], key: ["status"],
        query: """
            SELECT coalesce(status, '(none)') AS status, count(*) AS orders, coalesce(sum(amount), 0)::DECIMAL(38, 2) AS total
            FROM orders GROUP BY 1
            """)

    /// Recomputed by key: the first columns of what the oracle calls `latest`.
    static let latest = ProjectionDefinition(
        name: "latest", captures: [.init(name: "dbo_orders"), .init(name: "customers")], key: ["order_id"],
        query: """
            SELECT o.order_id, o.customer_id, c.segment, o.amount
            FROM orders AS o LEFT JOIN customers AS c ON c.customer_id = o.customer_id
            """,
        affected: """
            SELECT order_id FROM changed_orders
            UNION SELECT order_id FROM orders WHERE customer_id IN (SELECT customer_id FROM changed_customers)
            """)

    private static func expected(_ definition: ProjectionDefinition, _ shop: ShopModel) -> ProjectionRows {
        definition.name == byStatus.name
            ? shop.byStatus(wide: false).mapValues { Array($0.prefix(3)) }
            : shop.latest.mapValues { Array($0.prefix(4)) }
    }

    private static let source = "source1"

    /// A shop after random transactions, all of them staged, and an engine that has loaded nothing yet.
    private struct Staged {
        let captures: [Capture]
        /// Where the log stood after each transaction, and the shop then.
        var states: [(lsn: LSN, shop: ShopModel)] = []
        let engine: any ComputeEngine

        init(_ fixture: any EngineFixture, seed: UInt64, transactions: Int = 40) async throws {
            captures = try await fixture.shop.source.captures()
            var script = ShopScript(seed: seed) { [shop = fixture.shop] in shop.literal($0) }
            for _ in 0..<transactions {
                let (statements, commits) = script.next()
                guard commits else {
                    try await fixture.shop.rolledBack(statements)
                    continue
                }
                try await fixture.shop.transaction(statements)
                states.append((try await fixture.shop.source.bounds().maxLSN, script.history[script.history.count - 1]))
            }
            let window = LSNWindow(after: .zero, through: states[states.count - 1].lsn)
            for capture in captures {
                try await fixture.store.prepareStaging(for: capture, source: source)
                try await fixture.store.ingest(
                    capture, source: source, window: window, commitTime: nil,
                    from: try await fixture.shop.source.changes(of: capture, in: window, blockRows: 100))
            }
            engine = try await fixture.engine(
                captures: captures, watermarks: try await fixture.store.watermarks(source: source))
        }

        var end: LSN { states[states.count - 1].lsn }
        var instances: Set<String> { Set(captures.map(\.instance)) }

        /// Loads everything, so that every state can be shown.
        func load() async throws {
            await engine.retain("everything", captures: instances, from: states[0].lsn)
            try await engine.load(instances, upTo: end)
        }

        func capture(_ table: String) throws -> Capture { try #require(captures.first { $0.table == table }) }
    }

    /// All that `produce` streams.
    private static func collected<Block: MeasuredBlock>(
        _ produce: @escaping @Sendable (BlockProducer<Block>) async throws -> Void
    ) async throws -> [Block] {
        try await BlockChannel.pipe(from: produce) { try await blocks(of: $0) }
    }

    /// All that is left of a reader, which blocks, and is read on a thread of its own for that.
    private static func blocks<Block: MeasuredBlock>(of reader: any BlockReader<Block>) async throws -> [Block] {
        try await BlockPool(most: .max, total: .max).gather(from: reader).blocks
    }

    private static func rows(of projection: any PreparedProjection, asOf lsn: LSN) async throws -> ProjectionRows {
        let batches: [RowBatch] = try await collected { try await projection.rows(asOf: lsn, to: $0) }
        let rows = batches.flatMap(texts)
        let width = projection.plan.table.key.count
        #expect(Set(rows.map { Array($0.prefix(width)) }).count == rows.count)
        return Dictionary(rows.map { (Array($0.prefix(width)), $0) }) { first, _ in first }
    }

    private static func texts(_ batch: RowBatch) -> [[String?]] {
        batch.readable.map { $0.map { $0.map(Text.exact) } }
    }

    private static func expectRefused(
        _ engine: any ComputeEngine, _ definition: ProjectionDefinition, saying words: String,
        refused: [RefusedCapture] = []
    ) async {
        await ServingStoreContract.expect { error in
            guard case .projection(definition.name, let reason) = error else { return false }
            return reason.contains(words)
        } _: {
            _ = try await engine.prepare(definition, refused: refused)
        }
    }

    // MARK: Definitions

    private static let definitions: [Clause] = [
        Clause("a prepared projection tells its columns, key, captures, hash, and how it is kept") { fixture in
            let staged = try await Staged(fixture, seed: 1, transactions: 3)
            let plan = try await staged.engine.prepare(byStatus, refused: []).plan
            #expect(plan.definition == byStatus)
            #expect(
                plan.table
                    == ProjectionTable(
                        projection: "by_status",
                        columns: [
                            Column(name: "status", type: .string, isNullable: false),
                            Column(name: "orders", type: .int64),
                            Column(name: "total", type: .decimal(precision: 38, scale: 2)),
                        ], key: ["status"]))
            #expect(plan.instances == [try staged.capture("orders").instance])
            #expect(plan.upkeep == .inFull)
            #expect(!plan.upkeepReason.isEmpty)
            let other = try await staged.engine.prepare(latest, refused: []).plan
            #expect(other.upkeep == .byAffectedKeys)
            #expect(
                other.instances
                    == [try staged.capture("orders").instance, try staged.capture("customers").instance])
        },
        Clause("a definition's hash stays until its result is defined otherwise") { fixture in
            let staged = try await Staged(fixture, seed: 1, transactions: 3)
            func hash(_ definition: ProjectionDefinition) async throws -> String {
                let projection = try await staged.engine.prepare(definition, refused: [])
                return projection.plan.definitionHash
            }
            var definition = byStatus
            let before = try await hash(definition)
            definition.summary = "Another description"
            #expect(try await hash(definition) == before)
            definition.query += "\nHAVING true"
            #expect(try await hash(definition) != before)
        },
        Clause("a wrong definition is refused with what is wrong") { fixture in
            let engine = try await Staged(fixture, seed: 1, transactions: 3).engine
            func expectRefused(_ words: String, _ change: (inout ProjectionDefinition) -> Void) async {
                var definition = byStatus
                change(&definition)
                await Self.expectRefused(engine, definition, saying: words)
            }
            await expectRefused("no capture named nothing") { $0.captures = [.init(name: "nothing")] }
            await expectRefused("no column colour") { $0.captures[0].columns = ["colour"] }
            await expectRefused("key column colour") { $0.key = ["colour"] }
            await expectRefused("") { $0.query = "SELECT nonsense FROM orders" }
            // What is not listed is not seen.
            await expectRefused("") { $0.query = "SELECT customer_id AS status FROM orders" }
            await expectRefused("") { $0.affected = "SELECT nonsense FROM changed_orders" }
        },
        Clause("a definition that reads a refused capture is told why that is left out") { fixture in
            let engine = try await Staged(fixture, seed: 1, transactions: 3).engine
            var definition = byStatus
            definition.captures = [.init(name: "gone")]
            await expectRefused(
                engine, definition, saying: "it has no key",
                refused: [RefusedCapture(instance: "dbo_gone", table: "gone", reason: .schema("it has no key"))])
        },
    ]

    // MARK: Results

    private static let results: [Clause] = [
        Clause("the whole result is that of the tables as they were at the LSN") { fixture in
            let staged = try await Staged(fixture, seed: 2)
            try await staged.load()
            #expect(await staged.engine.oldestLSN(of: staged.instances) <= staged.states[0].lsn)
            for definition in [byStatus, latest] {
                let projection = try await staged.engine.prepare(definition, refused: [])
                for (lsn, shop) in staged.states {
                    #expect(try await rows(of: projection, asOf: lsn) == expected(definition, shop))
                }
            }
        },
        Clause("what changed between two LSNs turns one result into the other") { fixture in
            let staged = try await Staged(fixture, seed: 3, transactions: 60)
            try await staged.load()
            var random = SplitMix64(state: 3)
            for definition in [byStatus, latest] {
                let projection = try await staged.engine.prepare(definition, refused: [])
                for _ in 0..<40 {
                    let pair = [
                        staged.states.randomElement(using: &random), staged.states.randomElement(using: &random),
                    ].compactMap(\.self).sorted { $0.lsn < $1.lsn }
                    let (old, new) = (pair[0], pair[1])
                    var rows = expected(definition, old.shop)
                    let changes: [ProjectionChange] = try await collected {
                        try await projection.changes(from: old.lsn, to: new.lsn, to: $0)
                    }
                    var hasUpserts = false
                    for change in changes {
                        switch change {
                        case .deletes(let keys):
                            #expect(!hasUpserts)
                            for key in texts(keys) { rows[key] = nil }
                        case .upserts(let batch):
                            hasUpserts = true
                            for row in texts(batch) { rows[Array(row.prefix(1))] = row }
                        }
                    }
                    #expect(rows == expected(definition, new.shop), "\(old.lsn) to \(new.lsn)")
                }
            }
        },
        Clause("a step after the other, each releasing what lies before, shows the same") { fixture in
            let staged = try await Staged(fixture, seed: 5)
            let projection = try await staged.engine.prepare(latest, refused: [])
            var last = staged.states[0].lsn
            for (lsn, shop) in staged.states {
                await staged.engine.retain("latest", captures: projection.plan.instances, from: last)
                try await staged.engine.load(projection.plan.instances, upTo: lsn)
                #expect(try await rows(of: projection, asOf: lsn) == expected(latest, shop))
                try await staged.engine.release("latest", captures: projection.plan.instances, before: lsn)
                #expect(await staged.engine.oldestLSN(of: projection.plan.instances) <= lsn)
                last = lsn
            }
        },
        Clause("a result with a NULL in its key, or a key twice, is refused, and none of it streamed") { fixture in
            let staged = try await Staged(fixture, seed: 6)
            try await staged.load()
            for query in [
                "SELECT 'same' AS status FROM orders", "SELECT CAST(NULL AS VARCHAR) AS status FROM orders LIMIT 1",
            ] {
                var definition = byStatus
                definition.query = query
                let projection = try await staged.engine.prepare(definition, refused: [])
                let batches: [RowBatch] = try await collected { producer in
                    await ServingStoreContract.expect {
                        if case .projection("by_status", _) = $0 { true } else { false }
                    } _: {
                        try await projection.rows(asOf: staged.end, to: producer)
                    }
                }
                #expect(batches.isEmpty)
            }
        },
        Clause("after it was made to start over it shows nothing until it is loaded, then the same") { fixture in
            let staged = try await Staged(fixture, seed: 7)
            try await staged.load()
            let projection = try await staged.engine.prepare(latest, refused: [])
            let instances = projection.plan.instances
            let before = try await rows(of: projection, asOf: staged.end)
            try await staged.engine.startOver(instances)
            await #expect(throws: ComputeEngineError.self) { try await rows(of: projection, asOf: staged.end) }
            try await staged.engine.load(instances, upTo: staged.end)
            #expect(try await rows(of: projection, asOf: staged.end) == before)
        },
        Clause("after it was closed it takes no calls, and another engine shows the same") { fixture in
            let staged = try await Staged(fixture, seed: 12, transactions: 10)
            try await staged.load()
            let projection = try await staged.engine.prepare(latest, refused: [])
            await staged.engine.close()
            await staged.engine.close()
            await #expect(throws: (any Error).self) { try await rows(of: projection, asOf: staged.end) }
            await #expect(throws: (any Error).self) { _ = try await staged.engine.prepare(latest, refused: []) }
            let next = try await fixture.engine(
                captures: staged.captures, watermarks: try await fixture.store.watermarks(source: source))
            try await next.load(projection.plan.instances, upTo: staged.end)
            let again = try await next.prepare(latest, refused: [])
            let shop = staged.states[staged.states.count - 1].shop
            #expect(try await rows(of: again, asOf: staged.end) == expected(latest, shop))
        },
        Clause("a table that is the result has no difference from it, and a wrong one has") { fixture in
            let staged = try await Staged(fixture, seed: 8)
            try await staged.load()
            let projection = try await staged.engine.prepare(byStatus, refused: [])
            let batches: [RowBatch] = try await collected { try await projection.rows(asOf: staged.end, to: $0) }
            let count = batches.map(\.count).reduce(0, +)
            let right = try await projection.differences(asOf: staged.end, from: ListReader(batches), sample: 5)
            #expect(right.isEmpty)
            #expect((right.expectedRows, right.actualRows) == (count, count))
            var row = RowBatch(columns: projection.plan.table.columns)
            row.columns[0].append("nowhere")
            row.columns[1].append(Int64(1))
            row.columns[2].append(scaled: 100)
            let more = try await projection.differences(
                asOf: staged.end, from: ListReader(batches + [row]), sample: 5)
            #expect((more.missingRows, more.unexpectedRows) == (0, 1))
            #expect(more.sample.count == 1 && more.sample[0].contains("nowhere"))
            let none = try await projection.differences(asOf: staged.end, from: ListReader([]), sample: 2)
            #expect((none.missingRows, none.unexpectedRows, none.sample.count) == (count, 0, min(2, count)))
        },
    ]

    // MARK: Tables

    private static func table(_ shop: any SourceFixture, _ capture: Capture) async throws -> [RowBatch] {
        try await blocks(of: shop.source.rows(of: capture, blockRows: 50))
    }

    private static let tables: [Clause] = [
        Clause("rows read anew give the changes that the staged state lacks, in log order") { fixture in
            let staged = try await Staged(fixture, seed: 9)
            try await staged.load()
            let orders = try staged.capture("orders")
            let before = try await table(fixture.shop, orders).flatMap(texts)
            try await fixture.shop.transaction([
                "DELETE FROM orders WHERE order_id IN (1, 2, 3, 4)",
                "UPDATE orders SET amount = '0.07' WHERE order_id < 9",
                """
                INSERT INTO orders (order_id, customer_id, amount, status, created_at, updated_at)
                VALUES (777, NULL, '1.00', NULL, NULL, '2026-01-01 00:00:00')
                """,
            ])
            let rows = try await table(fixture.shop, orders)
            let comparison = try await staged.engine.comparison(of: orders, with: ListReader(rows))
            let next = staged.end.next
            let changes: [ChangeBatch] = try await collected {
                try await comparison.changes(from: staged.end, at: next, to: $0)
            }
            var state = Dictionary(uniqueKeysWithValues: before.map { ($0[0], $0) })
            for change in changes.flatMap(\.readable) {
                #expect(change.lsn == next)
                #expect((change.operation == 2) == (state[change.values[0]] == nil))
                state[change.values[0]] = change.operation == 1 ? nil : change.values.map { $0.map(Text.exact) }
            }
            #expect(state == Dictionary(uniqueKeysWithValues: rows.flatMap(texts).map { ($0[0], $0) }))
            let seqvals = changes.flatMap(\.seqvals)
            #expect(seqvals == seqvals.sorted() && Set(seqvals).count == seqvals.count)
        },
        Clause("a source table is compared with the staged state but for the keys that changed since") { fixture in
            let staged = try await Staged(fixture, seed: 10)
            try await staged.load()
            let orders = try staged.capture("orders")
            func compare(leavingOut ids: [Int64]) async throws -> (difference: ProjectionDifference, leftOut: Int) {
                var keys = RowBatch(columns: [orders.columns[0]])
                for id in ids { keys.columns[0].append(id) }
                return try await staged.engine.comparison(
                    of: orders, with: ListReader(try await table(fixture.shop, orders))
                ).differences(asOf: staged.end, leavingOut: ListReader(ids.isEmpty ? [] : [keys]), sample: 5)
            }
            #expect(try await compare(leavingOut: []).difference.isEmpty)
            try await fixture.shop.transaction([
                """
                INSERT INTO orders (order_id, customer_id, amount, status, created_at, updated_at)
                VALUES (777, NULL, '1.00', NULL, NULL, '2026-01-01 00:00:00')
                """
            ])
            let wrong = try await compare(leavingOut: []).difference
            #expect((wrong.missingRows, wrong.unexpectedRows) == (0, 1))
            let right = try await compare(leavingOut: [777, 777])
            #expect(right.difference.isEmpty && right.leftOut == 1)
        },
        Clause("a state that is not loaded is not compared with") { fixture in
            let staged = try await Staged(fixture, seed: 11, transactions: 5)
            let orders = try staged.capture("orders")
            let comparison = try await staged.engine.comparison(of: orders, with: ListReader([]))
            await ServingStoreContract.expect {
                if case .transient = $0 { true } else { false }
            } _: {
                _ = try await comparison.differences(asOf: staged.end, leavingOut: ListReader([]), sample: 1)
            }
        },
    ]
}
