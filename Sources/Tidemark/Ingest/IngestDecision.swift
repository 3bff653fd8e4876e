/// What an ingestor does next, decided from values alone (design section 5, steps 1 to 3).
public enum IngestDecision: Sendable, Equatable {
    /// The watermark has reached the end of the source's log.
    case idle
    /// Changes after the watermark can be read, up to `upTo`.
    case read(upTo: LSN)
    /// Going on would skip changes, or is impossible; the capture stops with this error.
    case stop(TidemarkError)

    /// - Parameters:
    ///   - capture: the capture instance's name, for the error.
    ///   - watermark: the last LSN staged.
    ///   - bounds: how far the source's log goes and what it still holds.
    public static func next(capture: String, watermark: LSN, bounds: SourceBounds) -> IngestDecision {
        guard let own = bounds.captures[capture] else {
            return .stop(
                .unavailable(
                    "capture \(capture) is no longer offered by the source: enable CDC on its table again"))
        }
        if watermark > bounds.maxLSN {
            return .stop(.sourceBehind(capture: capture, watermark: watermark, maxLSN: bounds.maxLSN))
        }
        // A zero watermark starts at the beginning, which is whole only if nothing was purged.
        let missing = watermark == .zero ? !own.isComplete : watermark < own.minLSN
        if missing {
            return .stop(.gap(capture: capture, watermark: watermark, minLSN: own.minLSN))
        }
        return watermark == bounds.maxLSN ? .idle : .read(upTo: bounds.maxLSN)
    }
}
