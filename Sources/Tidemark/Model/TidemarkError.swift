/// What can go wrong between the two databases, each case with what an operator needs to act on it.
public enum TidemarkError: Error, Sendable, Equatable {
    /// A value cannot be carried over unchanged (invariant 5). The capture stops at this change.
    case value(table: String, column: String, lsn: LSN, reason: String)
    /// A table, column or type does not fit what the pipeline needs.
    case schema(String)
    /// Somebody else moved a watermark or checkpoint: another pipeline works on this serving database. Or its file was
    /// exchanged. Either ends the pipeline.
    case conflict(String)
    /// Changes between the watermark and the capture's min LSN may have been purged.
    case gap(capture: String, watermark: LSN, minLSN: LSN)
    /// The capture was made anew after the watermark, and changes before that may not have been captured. `reason` says
    /// what was found, the capture being its subject.
    case restarted(capture: String, watermark: LSN, restartedAt: LSN, reason: String)
    /// The source is another one than was read before, or has another history; the sentence has the remedy.
    case otherHistory(String)
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

extension TidemarkError {
    /// What an operator does about a source with another history.
    static let historyRemedy = """
        Nothing is read from it until you answer: point SOURCE_DSN at the right source, or run `tidemark resync`, which \
        has all tables read anew and every projection built from them (CDC_ON_GAP=snapshot does so by itself)
        """

    /// A position that was read is not in the log any more as it was.
    package static func lost(_ position: SourcePosition, in database: DatabaseLabel) -> TidemarkError {
        .otherHistory(
            """
            the log of \(database) no longer has LSN \(position.lsn), committed at \(position.commitTime), as it was read: \
            it was put back from a backup or is another database. \(historyRemedy)
            """)
    }

    /// Changes of `capture` are staged under another source's name.
    public static func stagedUnder(_ other: String, instead source: String, capture: String) -> TidemarkError {
        .configuration(
            """
            SOURCE_NAME is \(source), and the changes of \(capture) in this serving database were staged under the name \
            \(other): set SOURCE_NAME=\(other), or point SERVING_DSN at another serving database
            """)
    }
}

extension TidemarkError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .value(let table, let column, let lsn, let reason):
            // A row of the source table itself has no LSN.
            "\(table).\(column)\(lsn == .zero ? "" : " at LSN \(lsn)"): \(reason)"
        case .schema(let message), .conflict(let message), .transient(let message), .unavailable(let message),
            .configuration(let message), .otherHistory(let message):
            message
        case .gap(let capture, let watermark, let minLSN):
            """
            capture \(capture) has a gap: its watermark \(watermark) is below the source's min LSN \(minLSN), so \
            changes between them may have been purged by CDC retention. Run `tidemark resync \(capture)`, which has the \
            table read anew and goes on from there (CDC_ON_GAP=snapshot does so by itself), and raise the CDC retention
            """
        case .restarted(let capture, let watermark, let restartedAt, let reason):
            """
            capture \(capture) \(reason). It is complete again from LSN \(restartedAt) on; changes after its watermark \
            \(watermark) may not have been captured, so the table is being read anew. Nothing needs to be done: this error \
            clears once that is published
            """
        case .projection(let name, let reason):
            "projection \(name): \(reason)"
        }
    }
}
