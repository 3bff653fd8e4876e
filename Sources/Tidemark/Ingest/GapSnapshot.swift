/// How a capture goes on after changes were purged unread, or not captured: by what its table says and the staged changes do not.
struct GapSnapshot: Sendable {
    let capture: Capture
    /// Shows the staged state.
    let engine: any ComputeEngine

    /// Hands `stage` the changes at `lsn` that turn the state staged up to `watermark` into `rows`, in log order.
    func differences<Success: Sendable>(
        between watermark: LSN, and rows: any BlockReader<RowBatch>, at lsn: LSN,
        stage: (any BlockReader<ChangeBatch>) async throws -> Success
    ) async throws -> Success {
        // All rows first: they may take long to come, and the state that is loaded after them is the latest.
        let comparison = try await engine.comparison(of: capture, with: rows)
        try await engine.load([capture.instance], upTo: watermark)
        return try await BlockChannel.pipe {
            try await comparison.changes(from: watermark, at: lsn, to: $0)
        } to: { differences in
            try await stage(differences)
        }
    }
}
