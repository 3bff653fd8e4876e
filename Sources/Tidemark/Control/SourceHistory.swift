package import Logging
import Synchronization

/// Makes sure, at every look at a source, that it still has the history that was read from it (`HistoryDecision`), and
/// keeps what is known of it in the serving database.
package final class SourceHistory: Sendable {
    /// What a look at the source came to.
    package enum Look: Sendable {
        /// Changes may be staged up to these bounds.
        case trusted(SourceBounds)
        /// The source has another history, or had and has not proven otherwise. Nothing may be staged.
        case refused
        /// Another history has begun: captures are at zero, and what was made from the former one is void.
        case begunAnew
    }

    private let name: String
    private let source: any ChangeSource
    private let store: any ServingStore
    private let onMismatch: GapPolicy
    private let logger: Logger
    /// As last read or written.
    private let record = Mutex<SourceRecord?>(nil)

    /// - Parameters:
    ///   - name: `SOURCE_NAME`.
    ///   - onMismatch: whether another history is begun without being asked.
    package init(
        name: String, source: any ChangeSource, store: any ServingStore, onMismatch: GapPolicy, logger: Logger
    ) {
        self.name = name
        self.source = source
        self.store = store
        self.onMismatch = onMismatch
        self.logger = logger
    }

    /// Counts the histories of the source.
    package var epoch: Int { record.withLock { $0?.epoch ?? 0 } }

    /// Reads what the serving database knows, and what an operator asked for.
    package func refresh() async throws {
        let present = try await store.source(name)
        record.withLock { $0 = present }
    }

    /// Asks the source where its log stands, and what became of what was read.
    package func look(watermarks: [String: Watermark]) async throws -> Look {
        let position = HistoryDecision.position(of: watermarks.values)
        let bounds = try await source.bounds(verifying: position)
        let known = record.withLock { $0 }
        if known?.isResyncRequested == true {
            logger.warning("reading all tables of \(name) anew, as was asked for")
            return try await beginAnew(bounds.identity)
        }
        switch HistoryDecision.next(source: name, known: known, position: position, bounds: bounds) {
        case .same(let isProven):
            // A mismatch stays until the position is found again: that the log has grown proves nothing.
            if known?.mismatch != nil, !isProven { return .refused }
            if known?.mismatch != nil { logger.info("the source has the history again that was read from it") }
            if known?.mismatch != nil || known?.identity != bounds.identity {
                try await store.recordSource(name, identity: bounds.identity, mismatch: nil)
                try await refresh()
            }
            return .trusted(bounds)
        case .other(let sentence):
            if onMismatch == .snapshot {
                logger.warning("\(sentence)")
                logger.warning("reading all tables of \(name) anew, as CDC_ON_GAP=snapshot asks for")
                return try await beginAnew(bounds.identity)
            }
            // Told once; the end of the log, which the sentence names, may go on.
            if known?.mismatch == nil {
                logger.error("\(sentence)")
                try await store.recordSource(name, identity: bounds.identity, mismatch: sentence)
                try await refresh()
            }
            return .refused
        }
    }

    private func beginAnew(_ identity: SourceIdentity) async throws -> Look {
        try await store.startOver(source: name, identity: identity)
        try await refresh()
        return .begunAnew
    }
}
