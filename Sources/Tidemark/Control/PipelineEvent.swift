/// Something the pipeline did, for whoever watches it.
public enum PipelineEvent: Sendable {
    /// A window was staged. `at` is when its transaction had been committed.
    case ingested(capture: String, Ingestor.Step, at: Timestamp)
    /// A projection was brought up to date. `at` is when its transaction had been committed.
    case projected(name: String, ProjectionWorker.Step, at: Timestamp)
    case captureFailed(capture: String, message: String)
    case projectionFailed(name: String, message: String)
}
