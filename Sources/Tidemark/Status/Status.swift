/// What is known of a pipeline at one moment: how far captures and projections are, how far behind, and what keeps them.
public struct Status: Sendable, Equatable {
    public struct Source: Sendable, Equatable {
        /// `SOURCE_NAME`.
        public var name: String
        /// The end of its log.
        public var maxLSN: LSN
        public var maxCommitTime: Timestamp?
    }

    public struct Capture: Sendable, Equatable {
        public var instance: String
        public var health: Health
        /// The watermark.
        public var lastIngestedLSN: LSN
        public var lastCommitTime: Timestamp?
        /// Seconds from the commit of the last transaction that is staged to that of the source's last one: 0 when nothing
        /// is missing, `nil` when it is not known.
        public var lagSeconds: Double?
        /// Changes ingested since the capture was first seen.
        public var rowsIngested: Int
        /// When the pipeline last wrote the capture's watermark or error.
        public var updatedAt: Timestamp
        /// What is wrong, with the remedy.
        public var lastError: String?
    }

    public struct Projection: Sendable, Equatable {
        public var name: String
        public var isEnabled: Bool
        public var health: Health
        /// The LSN the table is true at; `nil` before the first build.
        public var asOfLSN: LSN?
        public var asOfTime: Timestamp?
        /// Seconds from the commit of the last transaction that is shown to that of the source's last one: 0 when nothing
        /// is missing, `nil` when it is not known.
        public var lagSeconds: Double?
        public var builtAt: Timestamp?
        /// Rows the last commit or build wrote.
        public var rowsWritten: Int
        /// What is wrong, with the remedy.
        public var lastError: String?
        /// Why the table does not show all that is staged; `nil` when it does, or when the projection is off.
        public var waiting: ProjectionWait?
    }

    public var takenAt: Timestamp
    /// Whether a pipeline works on the serving database; `nil` when that cannot be told. Without one, nothing here changes.
    public var isPipelineRunning: Bool?
    public var source: Source
    /// By instance.
    public var captures: [Capture]
    /// In the order given.
    public var projections: [Projection]

    /// When the pipeline last wrote a watermark or a capture's error.
    public var lastWrittenAt: Timestamp? { captures.map(\.updatedAt).max() }

    /// Whether a capture, or a projection that is on, has the health ERROR.
    public var hasFailed: Bool {
        captures.contains { $0.health == .error } || projections.contains { $0.isEnabled && $0.health == .error }
    }
}
