/// Whether a source still has the history that was read from it, decided from values alone (design section 5).
///
/// A watermark is a position in one history of one source. The watermarks of a source lie in the same history, so the
/// greatest of them answers for all: what comes before a position that is kept has not changed either.
public enum HistoryDecision: Sendable, Equatable {
    /// Nothing speaks against it.
    ///
    /// - isProven: the position was found as it was read. Otherwise the log no longer knows that far back, or nothing
    ///   has been read yet.
    case same(isProven: Bool)
    /// The source is another one, or has another history; the sentence says how that is known, and the remedy.
    case other(String)

    /// The position the watermarks answer for: the greatest one whose commit time is known.
    public static func position(of watermarks: some Sequence<Watermark>) -> SourcePosition? {
        watermarks.compactMap { watermark in
            guard watermark.lastIngestedLSN > .zero else { return nil }
            return watermark.lastCommitTime.map { SourcePosition(lsn: watermark.lastIngestedLSN, commitTime: $0) }
        }.max { $0.lsn < $1.lsn }
    }

    /// - Parameters:
    ///   - source: `SOURCE_NAME`, for the sentence.
    ///   - known: what the serving database knows of the source; `nil` before its first start.
    ///   - position: what `position(of:)` says of its watermarks.
    ///   - bounds: what the source says now, asked about that position.
    public static func next(
        source: String, known: SourceRecord?, position: SourcePosition?, bounds: SourceBounds
    ) -> HistoryDecision {
        if let known, let part = known.identity.contradiction(with: bounds.identity) {
            return .other(
                """
                source \(source) is another database than the one its changes were read from: its \(part) is \
                \(bounds.identity.parts[part] ?? ""), not \(known.identity.parts[part] ?? ""). \(remedy)
                """)
        }
        guard let position else { return .same(isProven: false) }
        let read = "its changes were read up to LSN \(position.lsn), committed at \(position.commitTime)"
        switch bounds.finding {
        case .kept:
            return .same(isProven: true)
        case .forgotten, .unasked:
            return .same(isProven: false)
        case .beyond:
            return .other(
                """
                source \(source) was put back from a backup or is another database: \(read), and its log ends at \
                \(bounds.maxLSN). \(remedy)
                """)
        case .replaced(let time):
            let there = time.map { "has that LSN committed at \($0)" } ?? "does not have that LSN"
            return .other(
                """
                source \(source) was put back from a backup or is another database: \(read), and its log now \(there). \
                \(remedy)
                """)
        }
    }

    private static let remedy = TidemarkError.historyRemedy
}
