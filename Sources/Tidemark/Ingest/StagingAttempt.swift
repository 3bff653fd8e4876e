import Foundation

/// Bringing one window, or one read of a table, into staging: in one transaction when it is small, otherwise in several.
///
/// What the earlier ones stage lies beyond the watermark, where nobody looks, and belongs to whoever holds the capture's
/// staging token. The last one moves the watermark, so the window appears at once. An attempt that was cut short leaves its
/// rows and its token; the next one takes over and deletes them.
public struct StagingAttempt: Sendable, Equatable {
    /// What is brought in.
    public enum Content: Sendable, Equatable {
        /// Changes, those made since the snapshot when there is one.
        case changes(after: StagedSnapshot?)
        /// What a read of the table tells.
        case snapshot
    }

    /// The capture instance's name.
    public let capture: String
    public let source: String
    /// Where the watermark has to be.
    public let watermark: LSN
    public let content: Content
    /// What marks the rows beyond the watermark as this attempt's.
    public let token: String
    private var hasBegun = false
    private var clearing: LSN?

    public init(_ content: Content, capture: String, source: String, watermark: LSN) {
        self.content = content
        self.capture = capture
        self.source = source
        self.watermark = watermark
        if case .changes(let snapshot?) = content {
            token = snapshot.token
        } else {
            token = UUID().uuidString.lowercased()
        }
    }

    /// The attempt once one of its transactions has been committed.
    ///
    /// - Parameter clearing: where rows of an earlier attempt are still to be deleted.
    public func begun(clearing: LSN?) -> StagingAttempt {
        var attempt = self
        attempt.hasBegun = true
        attempt.clearing = clearing
        return attempt
    }

    /// What the control table says of a capture.
    public struct Position: Sendable, Equatable {
        public var watermark: LSN
        public var token: String?

        public init(watermark: LSN, token: String?) {
            self.watermark = watermark
            self.token = token
        }
    }

    /// What a transaction may do.
    public enum Decision: Sendable, Equatable {
        /// Stage, after rows beyond `clearing` are gone: an earlier attempt may have left some there.
        case stage(clearing: LSN?)
        /// Somebody else has taken over; nothing may be written.
        case stop(TidemarkError)
    }

    /// Decides whether the next transaction may go ahead, which holds the lock of the capture's row.
    ///
    /// - Parameter present: what that row says; `nil` when there is none.
    public func decide(_ present: Position?) -> Decision {
        if let conflict = Self.conflict(capture, source, watermark, present) { return .stop(conflict) }
        switch content {
        case .changes(after: nil) where !hasBegun:
            return .stage(clearing: present?.token == nil ? nil : watermark)
        case .snapshot where !hasBegun:
            return .stage(clearing: watermark)
        case .changes(let snapshot):
            guard present?.token == token else { break }
            return .stage(clearing: hasBegun ? clearing : snapshot?.lsn)
        case .snapshot:
            guard present?.token == token else { break }
            return .stage(clearing: clearing)
        }
        return .stop(
            .conflict(
                """
                what was staged of \(capture) beyond its watermark has been replaced: another pipeline writes to this \
                serving database
                """))
    }

    /// Why a watermark may not move over a window in which its capture had no change; `nil` when it may.
    ///
    /// - Parameter present: what the capture's row says, whose lock is held.
    public static func conflict(_ move: WatermarkMove, source: String, _ present: Position?) -> TidemarkError? {
        if let conflict = conflict(move.capture, source, move.window.after, present) { return conflict }
        guard !move.window.isEmpty, present?.token != nil else { return nil }
        // It would be seen.
        return .conflict("something is staged of \(move.capture) beyond its watermark, which cannot move over it")
    }

    private static func conflict(
        _ capture: String, _ source: String, _ watermark: LSN, _ present: Position?
    ) -> TidemarkError? {
        guard let present else {
            return .conflict("capture \(capture) of \(source) has no watermark in the serving database")
        }
        guard present.watermark != watermark else { return nil }
        return .conflict(
            """
            the watermark of \(capture) is \(present.watermark), not \(watermark): another pipeline writes to this serving \
            database
            """)
    }
}
