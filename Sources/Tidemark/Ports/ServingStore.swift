/// The ports to the serving database in one: staging, control tables and projections.
///
/// Every implementation passes the suite `ServingStoreContract`. Whatever moves a watermark or a checkpoint
/// does so by compare-and-swap in the same transaction as the data, and throws `TidemarkError.conflict`,
/// with nothing written, when somebody else moved it first.
public typealias ServingStore = StagingLog & ControlStore & ProjectionStore
