/// The shop's tables as the oracle knows them, and what each projection must show of them.
///
/// Nothing here comes from the code under test: rows are in dictionaries, money in whole cents of an `Int128`,
/// and the projections are computed from the sentences that define them, not by SQL.
package struct ShopModel: Sendable {
    package struct Customer: Sendable {
        package var segment: String?
        package var isActive: Bool
        /// Microseconds since 1970, as are all times.
        package var updatedAt: Int64
        /// The clock's value at the row's latest change.
        package var clock: Int64

        package init(segment: String?, isActive: Bool, updatedAt: Int64, clock: Int64) {
            self.segment = segment
            self.isActive = isActive
            self.updatedAt = updatedAt
            self.clock = clock
        }
    }

    package struct Order: Sendable {
        package var customer: Int64?
        /// Cents.
        package var amount: Int128?
        package var status: String?
        package var createdAt: Int64?
        package var updatedAt: Int64
        package var clock: Int64

        package init(
            customer: Int64?, amount: Int128?, status: String?, createdAt: Int64?, updatedAt: Int64, clock: Int64
        ) {
            self.customer = customer
            self.amount = amount
            self.status = status
            self.createdAt = createdAt
            self.updatedAt = updatedAt
            self.clock = clock
        }
    }

    package struct Payment: Sendable {
        package var order: Int64?
        /// Cents.
        package var amount: Int128?
        package var paidAt: Int64?
        package var clock: Int64

        package init(order: Int64?, amount: Int128?, paidAt: Int64?, clock: Int64) {
            self.order = order
            self.amount = amount
            self.paidAt = paidAt
            self.clock = clock
        }
    }

    package var customers: [Int64: Customer] = [:]
    package var orders: [Int64: Order] = [:]
    package var payments: [Int64: Payment] = [:]

    package init() {}
}

/// A projection's rows by key, every value as the text the serving database holds; `nil` for NULL.
package typealias ProjectionRows = [[String?]: [String?]]

extension ShopModel {
    /// `orders_kpi_by_minute_segment`.
    package var kpi: ProjectionRows {
        struct Sums {
            var orders = 0
            var amount: Int128 = 0
            var paid: Int128 = 0
        }
        var groups: [[String?]: Sums] = [:]
        func group(_ time: Int64, _ order: Order) -> [String?] {
            [
                Text.time(time - Text.modulo(time, 60_000_000)),
                order.customer.flatMap { customers[$0]?.segment }.map(Text.exact) ?? "UNKNOWN",
            ]
        }
        for order in orders.values {
            guard let time = order.createdAt else { continue }
            groups[group(time, order), default: Sums()].orders += 1
            groups[group(time, order), default: Sums()].amount += order.amount ?? 0
        }
        for payment in payments.values {
            guard let time = payment.paidAt, let order = payment.order.flatMap({ orders[$0] }) else { continue }
            groups[group(time, order), default: Sums()].paid += payment.amount ?? 0
        }
        return Dictionary(
            uniqueKeysWithValues: groups.map { key, sums in
                (key, key + ["\(sums.orders)", Text.cents(sums.amount), Text.cents(sums.paid)])
            })
    }

    /// `orders_latest`.
    package var latest: ProjectionRows {
        Dictionary(
            uniqueKeysWithValues: orders.map { id, order in
                let customer = order.customer.flatMap { customers[$0] }
                let row = [
                    "\(id)", order.customer.map { "\($0)" }, customer?.segment.map(Text.exact),
                    order.amount.map(Text.cents), order.status.map(Text.exact),
                    order.createdAt.map(Text.time), Text.time(order.updatedAt),
                    Text.lsn(max(order.clock, customer?.clock ?? 0)),
                ]
                return (["\(id)"], row)
            })
    }

    /// `customer_lifetime_value`, of the examples.
    package var lifetimeValue: ProjectionRows {
        var ordersOf: [Int64: [Order]] = [:]
        for order in orders.values {
            if let customer = order.customer { ordersOf[customer, default: []].append(order) }
        }
        var paidOf: [Int64: Int128] = [:]
        for payment in payments.values {
            guard let customer = payment.order.flatMap({ orders[$0]?.customer }) else { continue }
            paidOf[customer, default: 0] += payment.amount ?? 0
        }
        return Dictionary(
            uniqueKeysWithValues: customers.map { id, customer in
                let orders = ordersOf[id] ?? []
                let times = orders.compactMap(\.createdAt)
                let row = [
                    "\(id)", customer.segment.map(Text.exact), "\(orders.count)",
                    Text.cents(orders.compactMap(\.amount).reduce(0, +)),
                    Text.cents(paidOf[id] ?? 0), times.min().map(Text.time), times.max().map(Text.time),
                ]
                return (["\(id)"], row)
            })
    }

    /// `orders_by_status`, a projection of the tests that has no affected.sql; `wide` is its changed definition.
    package func byStatus(wide: Bool) -> ProjectionRows {
        Dictionary(grouping: orders.values, by: { $0.status.map(Text.exact) ?? "(none)" }).reduce(into: [:]) {
            rows, group in
            let row = [
                group.key, "\(group.value.count)", Text.cents(group.value.compactMap(\.amount).reduce(0, +)),
                Text.lsn(group.value.map(\.clock).max() ?? 0),
            ]
            let customers = Set(group.value.compactMap(\.customer)).count
            rows[[group.key]] = wide ? row + ["\(customers)"] : row
        }
    }
}

/// Values as the serving database writes them, formatted independently of the product.
package enum Text {
    /// `text` with everything but printable ASCII escaped: Swift takes some different texts for equal (a letter
    /// and its accent, apart or in one), databases do not.
    package static func exact(_ text: String) -> String {
        guard !text.utf8.allSatisfy({ (0x20..<0x7F).contains($0) && $0 != 0x5C }) else { return text }
        return text.unicodeScalars.map { $0.isASCII && $0.value >= 0x20 && $0 != "\\" ? "\($0)" : "\\u{\($0.value)}" }
            .joined()
    }

    package static func modulo(_ value: Int64, _ divisor: Int64) -> Int64 {
        let rest = value % divisor
        return rest < 0 ? rest + divisor : rest
    }

    package static func padded(_ value: some BinaryInteger, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }

    /// `YYYY-MM-DD HH:MM:SS[.ffffff]`.
    package static func time(_ microseconds: Int64) -> String {
        let inDay = modulo(microseconds, 86_400_000_000)
        var days = (microseconds - inDay) / 86_400_000_000
        // Counted up year by year and month by month: slow, and plainly right.
        var year = 1970
        func isLeap(_ year: Int) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }
        func length(_ year: Int) -> Int64 { isLeap(year) ? 366 : 365 }
        while days < 0 {
            year -= 1
            days += length(year)
        }
        while days >= length(year) {
            days -= length(year)
            year += 1
        }
        var month = 0
        let months: [Int64] = [31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        while days >= months[month] {
            days -= months[month]
            month += 1
        }
        let seconds = inDay / 1_000_000
        let clock = [seconds / 3600, seconds / 60 % 60, seconds % 60].map { padded($0, 2) }.joined(separator: ":")
        let fraction = inDay % 1_000_000
        return "\(padded(year, 4))-\(padded(month + 1, 2))-\(padded(days + 1, 2)) \(clock)"
            + (fraction == 0 ? "" : "." + padded(fraction, 6))
    }

    /// A number of cents with two digits after the point.
    package static func cents(_ value: Int128) -> String {
        let magnitude = value.magnitude
        return (value < 0 ? "-" : "") + "\(magnitude / 100)." + padded(magnitude % 100, 2)
    }

    /// The two digits of a byte.
    package static func hex(_ byte: UInt8) -> String {
        let digits = String(byte, radix: 16, uppercase: true)
        return byte < 16 ? "0" + digits : digits
    }

    /// The hexadecimal digits of the LSN of a value of the source's clock.
    package static func lsn(_ clock: Int64) -> String {
        let digits = String(clock, radix: 16, uppercase: true)
        return String(repeating: "0", count: 16 - digits.count) + digits + "0000"
    }
}
