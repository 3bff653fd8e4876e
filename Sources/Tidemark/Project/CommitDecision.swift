/// Whether a projection's commit or build may go ahead, and what it leaves in the control tables: decided from values alone.
///
/// A store asks inside its transaction, once it holds the lock of the projection's row in `ctl_projection_metadata`.
extension ProjectionCommit {
    /// Why the commit must not go ahead; `nil` when it may.
    ///
    /// - Parameter present: what the control tables say of the projection.
    public func conflict(with present: ProjectionState?) -> TidemarkError? {
        let name = table.projection
        guard let present, !present.checkpoints.isEmpty else {
            return .conflict("projection \(name) has no checkpoints: it was never built")
        }
        guard present.checkpoints == checkpoints(at: from), present.definitionHash == definitionHash else {
            return .conflict(
                """
                projection \(name) is not where this pipeline left it (\(from)): another pipeline writes to this \
                serving database
                """)
        }
        return nil
    }

    /// Whether the commit took place although its answer was lost.
    public func isDone(in present: ProjectionState?) -> Bool {
        present?.definitionHash == definitionHash && present?.checkpoints == checkpoints(at: to)
    }

    /// The status after the commit: a rebuild that was asked for in the meantime stays asked for.
    ///
    /// - Parameter present: what the control tables say of the projection.
    public func status(after present: ProjectionState?) -> ProjectionState.Status {
        present?.status == .initial ? .initial : .ok
    }

    private func checkpoints(at lsn: LSN) -> [String: LSN] {
        Dictionary(captures.map { ($0, lsn) }, uniquingKeysWith: { first, _ in first })
    }
}

extension ProjectionBuild {
    /// Why the build must not go ahead; `nil` when it may. Status and error may have changed: neither says that somebody
    /// else has written the table.
    ///
    /// - Parameter present: what the control tables say of the projection.
    public func conflict(with present: ProjectionState?) -> TidemarkError? {
        guard present?.checkpoints ?? [:] == replacing?.checkpoints ?? [:], present?.builtAt == replacing?.builtAt,
            present?.asOfLSN == replacing?.asOfLSN
        else { return conflict }
        return nil
    }

    /// The error of a build that finds the projection written by somebody else.
    public var conflict: TidemarkError {
        .conflict(
            """
            projection \(table.projection) was built or moved by somebody else in the meantime: another pipeline writes to \
            this serving database
            """)
    }

    /// The status after the build: a rebuild that was asked for while it ran stays asked for, and the one that it answers
    /// does not.
    public func status(after present: ProjectionState?) -> ProjectionState.Status {
        let isAsked = present?.status == .initial && replacing.map { $0.status != .initial } ?? false
        return isAsked ? .initial : .ok
    }
}
