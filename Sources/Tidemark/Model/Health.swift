/// How a capture or a projection is, as the control tables say it.
public enum Health: String, Sendable {
    /// Nothing ingested or built yet, or a rebuild was asked for.
    case initial = "INIT"
    case ok = "OK"
    case error = "ERROR"
}
