import GRDB
import Tidemark

/// Finds positions in a change table without an index on the LSN, which every change would have to pay for.
///
/// Rowids and LSNs rise together, so a row is found by bisecting the rowids with point look-ups.
struct ChangeLog {
    struct Position {
        let id: Int64
        let lsn: Int64
    }

    private let atOrAfter: Statement
    private let atOrBefore: Statement

    init(_ db: Database, _ capture: Capture) throws {
        let table = quoted(CDCTables.changeTable(capture.instance))
        let select = "SELECT \"__$seqval\", \"__$start_lsn\" FROM \(table) WHERE \"__$seqval\""
        atOrAfter = try db.cachedStatement(sql: "\(select) >= ? ORDER BY \"__$seqval\" LIMIT 1")
        atOrBefore = try db.cachedStatement(sql: "\(select) <= ? ORDER BY \"__$seqval\" DESC LIMIT 1")
    }

    /// The first row whose id is at least `id`.
    func row(from id: Int64) throws -> Position? { try fetch(atOrAfter, id) }

    /// The first row past `lsn`.
    func firstRow(after lsn: Int64) throws -> Position? {
        guard var low = try fetch(atOrAfter, .min), let last = try fetch(atOrBefore, .max), last.lsn > lsn else {
            return nil
        }
        if low.lsn > lsn { return low }
        // low.lsn <= lsn < high.lsn
        var high = last
        while high.id - low.id > 1 {
            let middle = low.id + (high.id - low.id) / 2
            // Ids have no holes, unless somebody made one; then the row after the hole stands for it.
            guard let probe = try fetch(atOrAfter, middle) else { break }
            if probe.lsn > lsn {
                if probe.id >= high.id {
                    guard let before = try fetch(atOrBefore, middle), before.id > low.id else { break }
                    if before.lsn > lsn { high = before } else { low = before }
                } else {
                    high = probe
                }
            } else {
                low = probe
            }
        }
        return high
    }

    /// The last row at or before `lsn`.
    func lastRow(through lsn: Int64) throws -> Position? {
        guard let next = try firstRow(after: lsn) else { return try fetch(atOrBefore, .max) }
        return try fetch(atOrBefore, next.id - 1)
    }

    private func fetch(_ statement: Statement, _ id: Int64) throws -> Position? {
        try Row.fetchOne(statement, arguments: [id]).map { Position(id: $0[0], lsn: $0[1]) }
    }
}
