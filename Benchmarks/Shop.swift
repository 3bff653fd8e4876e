import Foundation
import Synchronization
import Tidemark

/// The sample tables as captures, and made-up changes of them in staging order.
enum Shop {
    static let customers = Capture(
        instance: "dbo_customers", table: "customers",
        columns: [
            Column(name: "customer_id", type: .int64, isNullable: false), Column(name: "segment", type: .string),
            Column(name: "is_active", type: .bool), Column(name: "updated_at", type: .timestamp),
        ], key: ["customer_id"])
    static let orders = Capture(
        instance: "dbo_orders", table: "orders",
        columns: [
            Column(name: "order_id", type: .int64, isNullable: false), Column(name: "customer_id", type: .int64),
            Column(name: "amount", type: .decimal(precision: 18, scale: 2)), Column(name: "status", type: .string),
            Column(name: "created_at", type: .timestamp), Column(name: "updated_at", type: .timestamp),
        ], key: ["order_id"])
    static let payments = Capture(
        instance: "dbo_payments", table: "payments",
        columns: [
            Column(name: "payment_id", type: .int64, isNullable: false), Column(name: "order_id", type: .int64),
            Column(name: "paid_amount", type: .decimal(precision: 18, scale: 2)),
            Column(name: "paid_at", type: .timestamp),
        ], key: ["payment_id"])
    static let captures = [customers, orders, payments]

    static let customerCount: Int64 = 100_000
    /// 2026-01-01, in microseconds.
    private static let start: Int64 = 1_767_225_600_000_000
    /// An order every 600 ms.
    private static let step: Int64 = 600_000

    /// Changes for rows with the given ids. `version` varies the amounts, so that a later one is a change.
    static func changes(
        of capture: Capture, ids: some Collection<Int64>, operation: ChangeOperation, lsn: (Int64) -> LSN,
        version: Int64
    ) -> ChangeBatch {
        var batch = ChangeBatch(columns: capture.columns, reserving: ids.count)
        for id in ids {
            batch.lsns.append(lsn(id))
            batch.commandIDs.append(1)
            batch.seqvals.append(LSN(high: UInt64(id), low: 0))
            batch.operations.append(operation.rawValue)
            let cents = (id &* 7919 &+ version &* 101) % 100_000
            switch capture.table {
            case "customers":
                batch.columns[0].append(id)
                batch.columns[1].append("SEGMENT_\(id % 5)")
                batch.columns[2].append(true)
                batch.columns[3].append(start)
            case "orders":
                batch.columns[0].append(id)
                batch.columns[1].append((id &* 7919) % customerCount + 1)
                batch.columns[2].append(scaled: Int128(cents))
                batch.columns[3].append(version == 0 ? "NEW" : "SHIPPED")
                batch.columns[4].append(start + id * step)
                batch.columns[5].append(start + id * step + version)
            default:
                batch.columns[0].append(id)
                batch.columns[1].append(id)
                batch.columns[2].append(scaled: Int128(cents))
                batch.columns[3].append(start + id * step + 30_000_000)
            }
        }
        return batch
    }

    /// Inserts of the ids 1 to `count`, a thousand to an LSN, in blocks.
    static func history(of capture: Capture, count: Int64) -> any BlockReader<ChangeBatch> {
        let next = Mutex<Int64>(1)
        return Blocks {
            let first = next.withLock { next in
                defer { next += 16_384 }
                return next
            }
            guard first <= count else { return nil }
            return changes(
                of: capture, ids: first...min(first + 16_383, count), operation: .insert,
                lsn: { LSN(high: UInt64($0 / 1000 + 1), low: 0) }, version: 0)
        }
    }

    static func once(_ batch: ChangeBatch) -> any BlockReader<ChangeBatch> {
        let left = Mutex<ChangeBatch?>(batch)
        return Blocks { left.withLock { $0.take() } }
    }
}

/// A reader over a closure.
final class Blocks: BlockReader {
    private let body: @Sendable () -> ChangeBatch?
    init(_ body: @escaping @Sendable () -> ChangeBatch?) { self.body = body }
    func next() throws -> ChangeBatch? { body() }
}
