import Logging
import Synchronization

// What went wrong, told to the log, the observer and the control tables.

extension Pipeline {
    func report(_ error: any Error, capture: String) async {
        logger.error("capture failed", metadata: ["capture": "\(capture)", "error": "\(error)"])
        await record(error, capture: capture)
    }

    /// Shows what ails the source as an error of its captures, but for those that have one of their own.
    func record(_ error: any Error, as ailment: CaptureStanding.Cause, of captures: [Capture]) async {
        let instances = standing.withLock { standing in
            standing.ailments.insert(ailment)
            return captures.map(\.instance).filter { standing.failures[$0].map { $0.cause == ailment } ?? true }
        }
        for instance in instances { await record(error, capture: instance, cause: ailment) }
    }

    func record(_ error: any Error, capture: String, cause: CaptureStanding.Cause = .capture) async {
        observe(.captureFailed(capture: capture, message: "\(error)"))
        do {
            try await store.recordError("\(error)", capture: capture, source: options.sourceName)
        } catch {
            logger.error("the failure could not be recorded", metadata: ["error": "\(error)"])
        }
        // Only now: whoever commits meanwhile may do so before or after, and has to look again.
        standing.withLock { $0.shown(as: cause, by: capture) }
    }

    func report(_ error: any Error, projection: String) async {
        logger.error("projection failed", metadata: ["projection": "\(projection)", "error": "\(error)"])
        observe(.projectionFailed(name: projection, message: "\(error)"))
        do {
            try await store.recordError("\(error)", projection: projection)
        } catch {
            logger.error("the failure could not be recorded", metadata: ["error": "\(error)"])
        }
    }
}

extension TidemarkError {
    /// Whether somebody else writes to the serving database.
    var isConflict: Bool {
        if case .conflict = self { true } else { false }
    }

    /// Whether the same call may succeed when it is made again.
    var isTransient: Bool {
        if case .transient = self { true } else { false }
    }
}
