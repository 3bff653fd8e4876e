/// `ctl_sources`: what the serving database knows of a source.
public struct SourceRecord: Sendable, Equatable {
    public var identity: SourceIdentity
    /// How often the source's history was begun anew; what was made from an earlier one is void.
    public var epoch: Int
    /// Why nothing may be staged from the source; stays until the cause is gone or an operator answers.
    public var mismatch: String?
    /// Whether an operator asked for all tables to be read anew.
    public var isResyncRequested: Bool
    public var lastSeen: Timestamp

    public init(
        identity: SourceIdentity, epoch: Int, mismatch: String?, isResyncRequested: Bool, lastSeen: Timestamp
    ) {
        self.identity = identity
        self.epoch = epoch
        self.mismatch = mismatch
        self.isResyncRequested = isResyncRequested
        self.lastSeen = lastSeen
    }
}
