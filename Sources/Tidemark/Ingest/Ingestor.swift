/// Brings the changes of one capture into staging, window by window (design section 5).
///
/// A value without state of its own: the watermark lives in the serving database, and `step` takes it in
/// and gives the next one back.
public struct Ingestor: Sendable {
    /// One window that was staged.
    public struct Step: Sendable, Equatable {
        /// The new watermark.
        public var watermark: LSN
        /// Commit time of the last transaction at or below the watermark.
        public var commitTime: Timestamp?
        /// Changes staged.
        public var rows: Int
    }

    /// Rows in a block: large enough that the cost of handing it over vanishes, small enough that three
    /// blocks in flight take a few megabytes whatever the window.
    public static let blockRows = 16_384

    public let capture: Capture
    let sourceName: String
    let source: any ChangeSource
    let store: any ServingStore
    let maxRows: Int

    /// - Parameters:
    ///   - capture: the capture to ingest.
    ///   - sourceName: `SOURCE_NAME`, the first part of the watermark's key.
    ///   - maxRows: changes in a window at most, but for one transaction larger than that.
    public init(
        capture: Capture, sourceName: String, source: any ChangeSource, store: any ServingStore, maxRows: Int
    ) {
        self.capture = capture
        self.sourceName = sourceName
        self.source = source
        self.store = store
        self.maxRows = maxRows
    }

    /// Stages one window after `watermark`; `nil` when there is nothing new.
    ///
    /// - Throws: `TidemarkError.gap`, `.sourceBehind`, `.value`, `.conflict`, or what the databases threw.
    ///   The watermark has not moved then.
    public func step(after watermark: LSN, bounds: SourceBounds) async throws -> Step? {
        switch IngestDecision.next(capture: capture.instance, watermark: watermark, bounds: bounds) {
        case .idle:
            return nil
        case .stop(let error):
            throw error
        case .read(let upTo):
            let end = try await source.windowEnd(of: capture, after: watermark, upTo: upTo, maxRows: maxRows)
            let window = LSNWindow(after: watermark, through: end)
            let commitTime =
                end == bounds.maxLSN ? bounds.maxCommitTime : try await source.commitTime(of: end)
            let reader = try await source.changes(of: capture, in: window, blockRows: Self.blockRows)
            let rows = try await store.ingest(
                capture, source: sourceName, window: window, commitTime: commitTime,
                from: BlockChannel.prefetch(reader))
            return Step(watermark: end, commitTime: commitTime, rows: rows)
        }
    }
}
