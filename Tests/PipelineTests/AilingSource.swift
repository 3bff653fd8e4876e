import Embedded
import Synchronization
import Tidemark

/// A source that answers, and says that something ails it for as long as a test wants.
final class AilingSource: ChangeSource {
    private let base: EmbeddedSource
    private let ailment: Mutex<SourceTrouble?>

    init(_ base: EmbeddedSource, ailment: SourceTrouble?) {
        self.base = base
        self.ailment = Mutex(ailment)
    }

    func recover() { ailment.withLock { $0 = nil } }

    func trouble() async throws -> SourceTrouble? { ailment.withLock { $0 } }

    func catalog() async throws -> SourceCatalog { try await base.catalog() }
    func bounds() async throws -> SourceBounds { try await base.bounds() }
    func commitTime(of lsn: LSN) async throws -> Timestamp? { try await base.commitTime(of: lsn) }
    func isComplete(_ capture: Capture) async throws -> Bool { try await base.isComplete(capture) }
    func mark() async throws -> SourceMark { try await base.mark() }

    func hasPassed(_ mark: SourceMark, bounds: SourceBounds) async throws -> Bool {
        try await base.hasPassed(mark, bounds: bounds)
    }

    func windowEnd(of capture: Capture, after: LSN, upTo: LSN, maxRows: Int) async throws -> LSN {
        try await base.windowEnd(of: capture, after: after, upTo: upTo, maxRows: maxRows)
    }

    func changes(of capture: Capture, in window: LSNWindow, blockRows: Int) async throws
        -> any BlockReader<ChangeBatch>
    {
        try await base.changes(of: capture, in: window, blockRows: blockRows)
    }

    func rows(of capture: Capture, blockRows: Int) async throws -> any BlockReader<RowBatch> {
        try await base.rows(of: capture, blockRows: blockRows)
    }
}
