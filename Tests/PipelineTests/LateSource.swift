import ContractTests
import Embedded
import Synchronization
import Tidemark

/// A source whose change data capture was enabled after `since`: it shows no change up to there, and a moment in its
/// log is passed when a test says so.
final class LateSource: ForwardingSource {
    let base: any ChangeSource
    private let since: LSN
    private let isCaughtUp = Mutex(false)
    private let hasOpenedRows = Mutex(false)
    /// Runs when the rows have been read: before the moment is marked at which their reading ended.
    private let afterRows: @Sendable () async throws -> Void

    init(_ base: EmbeddedSource, since: LSN, afterRows: @escaping @Sendable () async throws -> Void = {}) {
        self.base = base
        self.since = since
        self.afterRows = afterRows
    }

    func catchUp() { isCaughtUp.withLock { $0 = true } }

    func isComplete(_ capture: Capture) async throws -> Bool { false }

    func rows(of capture: Capture, limits: BlockLimits) async throws -> any BlockReader<RowBatch> {
        hasOpenedRows.withLock { $0 = true }
        return try await base.rows(of: capture, limits: limits)
    }

    func mark() async throws -> SourceMark {
        if hasOpenedRows.withLock({ $0 }) { try await afterRows() }
        return try await base.mark()
    }

    func hasPassed(_ mark: SourceMark, bounds: SourceBounds) async throws -> Bool {
        guard isCaughtUp.withLock({ $0 }) else { return false }
        return try await base.hasPassed(mark, bounds: bounds)
    }

    func windowEnd(of capture: Capture, after: LSN, upTo: LSN, maxRows: Int) async throws -> LSN {
        try await base.windowEnd(of: capture, after: max(after, since), upTo: upTo, maxRows: maxRows)
    }

    func changes(
        of capture: Capture, in window: LSNWindow, expecting positions: [SourcePosition], limits: BlockLimits
    ) async throws -> any BlockReader<ChangeBatch> {
        let shown = LSNWindow(after: max(window.after, since), through: window.through)
        return try await base.changes(of: capture, in: shown, expecting: positions, limits: limits)
    }
}
