public import Tidemark

/// A source that is another one, but for what a test wants otherwise.
public protocol ForwardingSource: ChangeSource {
    var base: any ChangeSource { get }
}

extension ForwardingSource {
    public func catalog() async throws -> SourceCatalog { try await base.catalog() }
    public func bounds(verifying position: SourcePosition?) async throws -> SourceBounds {
        try await base.bounds(verifying: position)
    }
    public func commitTime(of lsn: LSN) async throws -> Timestamp? { try await base.commitTime(of: lsn) }
    public func isComplete(_ capture: Capture) async throws -> Bool { try await base.isComplete(capture) }
    public func mark() async throws -> SourceMark { try await base.mark() }
    public func acknowledge(_ reader: SourceReader) async throws { try await base.acknowledge(reader) }
    public func maintain() async throws -> String? { try await base.maintain() }
    public func trouble() async throws -> SourceTrouble? { try await base.trouble() }

    public func hasPassed(_ mark: SourceMark, bounds: SourceBounds) async throws -> Bool {
        try await base.hasPassed(mark, bounds: bounds)
    }

    public func windowEnd(of capture: Capture, after: LSN, upTo: LSN, maxRows: Int) async throws -> LSN {
        try await base.windowEnd(of: capture, after: after, upTo: upTo, maxRows: maxRows)
    }

    public func changes(
        of capture: Capture, in window: LSNWindow, expecting positions: [SourcePosition], limits: BlockLimits
    ) async throws -> any BlockReader<ChangeBatch> {
        try await base.changes(of: capture, in: window, expecting: positions, limits: limits)
    }

    public func rows(of capture: Capture, limits: BlockLimits) async throws -> any BlockReader<RowBatch> {
        try await base.rows(of: capture, limits: limits)
    }
}
