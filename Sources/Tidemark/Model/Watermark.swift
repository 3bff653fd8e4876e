/// `ctl_ingestion_watermarks`: how far a capture has been staged.
public struct Watermark: Sendable, Equatable {
    public typealias Status = Health

    public var lastIngestedLSN: LSN
    /// From here on staging shows the table as it was at every LSN. Before, where a snapshot stands for changes that
    /// could not be read, it shows none.
    public var completeFrom: LSN
    public var lastCommitTime: Timestamp?
    /// Changes ingested since the capture was first seen.
    public var rowsIngested: Int
    public var status: Status
    public var lastError: String?
    /// Whether an operator asked for the table to be read anew.
    public var isResyncRequested: Bool
    public var updatedAt: Timestamp

    public init(
        lastIngestedLSN: LSN, completeFrom: LSN = .zero, lastCommitTime: Timestamp?, rowsIngested: Int,
        status: Status, lastError: String?, isResyncRequested: Bool = false, updatedAt: Timestamp
    ) {
        self.isResyncRequested = isResyncRequested
        self.lastIngestedLSN = lastIngestedLSN
        self.completeFrom = completeFrom
        self.lastCommitTime = lastCommitTime
        self.rowsIngested = rowsIngested
        self.status = status
        self.lastError = lastError
        self.updatedAt = updatedAt
    }
}

/// A watermark's step over a window without changes.
public struct WatermarkMove: Sendable, Equatable {
    public var capture: String
    public var window: LSNWindow

    public init(capture: String, window: LSNWindow) {
        self.capture = capture
        self.window = window
    }
}
