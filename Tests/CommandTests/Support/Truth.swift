import GRDB
import TestSupport

/// What both databases hold, compared by plain SQL in SQLite: a path that shares nothing with the pipeline.
struct Truth {
    let place: Workplace

    private static let tables = [
        "customers": "customer_id, segment, is_active, updated_at",
        "orders": "order_id, customer_id, amount, status, created_at, updated_at",
        "payments": "payment_id, order_id, paid_amount, paid_at",
    ]

    /// One sentence for each thing that does not fit; none when staging holds every change once, and the projections
    /// are what the source's tables amount to.
    ///
    /// - Parameter staging: whether staging is looked at; where a table was read anew, it holds other changes.
    func complaints(staging: Bool = true) throws -> [String] {
        let connection = try place.connect("data/source.db")
        try connection.writeWithoutTransaction {
            try $0.execute(sql: "ATTACH DATABASE ? AS serving", arguments: [place.file("data/serving.db")])
        }
        return try connection.writeWithoutTransaction { db in
            var complaints: [String] = []
            func compare(_ what: String, _ expected: String, _ actual: String) throws {
                for (verb, sql) in [
                    ("lacks", "\(expected) EXCEPT \(actual)"), ("has too many", "\(actual) EXCEPT \(expected)"),
                ] {
                    guard let row = try Row.fetchOne(db, sql: sql) else { continue }
                    let count = try Int.fetchOne(db, sql: "SELECT count(*) FROM (\(sql))") ?? 0
                    complaints.append("\(what) \(verb) \(count) rows, such as \(row)")
                }
                // EXCEPT does not see a row that is there twice.
                let counts = try [expected, actual].map {
                    try Int.fetchOne(db, sql: "SELECT count(*) FROM (\($0))") ?? 0
                }
                if counts[0] != counts[1] { complaints.append("\(what) has \(counts[1]) rows instead of \(counts[0])") }
            }
            for (table, columns) in Self.tables.sorted(by: { $0.key < $1.key }) where staging {
                // LSNs are the clock's value in eight bytes, and two that are zero.
                try compare(
                    "stg_cdc_\(table)",
                    """
                    SELECT printf('%016X0000', "__$start_lsn"), "__$command_id", printf('%016X0000', "__$seqval"),
                        "__$operation", \(columns) FROM cdc_dbo_\(table)_CT
                    """,
                    "SELECT hex(lsn), command_id, hex(seqval), op, \(columns) FROM serving.stg_cdc_\(table)")
            }
            try compare("proj_orders_latest", Self.ordersLatest, Self.shownOrders)
            try compare("proj_orders_kpi_by_minute_segment", Self.kpi, Self.shownKPI)
            return complaints
        }
    }

    /// How many changes the source has recorded.
    func changeCount() throws -> Int {
        try Self.tables.keys.reduce(0) { sum, table in
            sum + (Int(try place.sourceValue("SELECT count(*) FROM cdc_dbo_\(table)_CT") ?? "") ?? 0)
        }
    }

    private static let ordersLatest = """
        SELECT o.order_id, o.customer_id, c.segment, o.amount, o.status, o.created_at, o.updated_at
        FROM orders AS o LEFT JOIN customers AS c ON c.customer_id = o.customer_id
        """
    private static let shownOrders = """
        SELECT order_id, customer_id, segment, amount, status, created_at, updated_at FROM serving.proj_orders_latest
        """

    /// Amounts have two digits after the point, so that without it they are whole numbers, which SQLite adds up exactly.
    private static let kpi = """
        SELECT minute, segment, sum(orders), sum(amount), sum(paid) FROM (
            SELECT strftime('%Y-%m-%d %H:%M', o.created_at) AS minute, coalesce(c.segment, 'UNKNOWN') AS segment,
                1 AS orders, CAST(replace(o.amount, '.', '') AS INTEGER) AS amount, 0 AS paid
            FROM orders AS o LEFT JOIN customers AS c ON c.customer_id = o.customer_id
            UNION ALL
            SELECT strftime('%Y-%m-%d %H:%M', p.paid_at), coalesce(c.segment, 'UNKNOWN'),
                0, 0, CAST(replace(p.paid_amount, '.', '') AS INTEGER)
            FROM payments AS p JOIN orders AS o ON o.order_id = p.order_id
            LEFT JOIN customers AS c ON c.customer_id = o.customer_id
        ) WHERE minute IS NOT NULL GROUP BY minute, segment
        """
    private static let shownKPI = """
        SELECT strftime('%Y-%m-%d %H:%M', minute_bucket), segment, orders_count,
            CAST(replace(orders_amount_sum, '.', '') AS INTEGER), CAST(replace(paid_amount_sum, '.', '') AS INTEGER)
        FROM serving.proj_orders_kpi_by_minute_segment
        """
}
