/// What can go wrong between the two databases, each case with what an operator needs to act on it.
public enum TidemarkError: Error, Sendable, Equatable {
    /// A value cannot be carried over unchanged (invariant 5). The capture stops at this change.
    case value(table: String, column: String, lsn: LSN, reason: String)
    /// A table, column or type does not fit what the pipeline needs.
    case schema(String)
    /// Somebody else moved a watermark or checkpoint: another pipeline works on this serving database.
    case conflict(String)
    /// Changes between the watermark and the capture's min LSN may have been purged.
    case gap(capture: String, watermark: LSN, minLSN: LSN)
    /// The watermark lies beyond the source's log: the source was restored or is another database.
    case sourceBehind(capture: String, watermark: LSN, maxLSN: LSN)
    /// A projection's definition or result is wrong.
    case projection(name: String, reason: String)
    /// The database failed in a way that passes: a lost connection, a deadlock, a time-out, throttling. The
    /// same call may succeed when it is made again.
    case transient(String)
    /// The database cannot be used or is not set up; the sentence says what to do.
    case unavailable(String)
    /// A setting is missing or malformed.
    case configuration(String)
}

extension TidemarkError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .value(let table, let column, let lsn, let reason):
            // A row of the source table itself has no LSN.
            "\(table).\(column)\(lsn == .zero ? "" : " at LSN \(lsn)"): \(reason)"
        case .schema(let message), .conflict(let message), .transient(let message), .unavailable(let message),
            .configuration(let message):
            message
        case .gap(let capture, let watermark, let minLSN):
            """
            capture \(capture) has a gap: its watermark \(watermark) is below the source's min LSN \(minLSN), so \
            changes between them may have been purged by CDC retention. Set CDC_ON_GAP=snapshot, which reads the table \
            anew and goes on from there, and raise the CDC retention
            """
        case .sourceBehind(let capture, let watermark, let maxLSN):
            """
            capture \(capture) has a watermark of \(watermark), beyond the source's max LSN \(maxLSN): the source was \
            restored from a backup or is another database. Point SOURCE_DSN at the right source, or start over with an \
            empty serving database
            """
        case .projection(let name, let reason):
            "projection \(name): \(reason)"
        }
    }
}
