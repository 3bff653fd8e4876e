/// How a log line is written.
enum LogFormat: String, CaseIterable, Sendable {
    /// For people: `2026-01-02 03:04:05.678 INFO  ingest: window committed capture=dbo_orders rows=12`
    case text
    /// For machines: one object a line, with `time`, `level`, `component`, `message` and the metadata.
    case json
}
