/// Why a projection does not show what its captures hold, decided from the values of the control tables alone.
public enum ProjectionWait: Sendable, Equatable {
    /// Nothing of these captures has been ingested yet.
    case nothingIngested([Holder])
    /// These captures are behind, and the projection goes on when they have come to `until`.
    case heldBack(by: [Holder], at: LSN, until: LSN)
    /// Nothing holds it: the pipeline's next step takes it there.
    case due(LSN)

    /// A capture that holds a projection back.
    public struct Holder: Sendable, Equatable {
        public var instance: String
        public var hasFailed: Bool

        public init(_ instance: String, hasFailed: Bool) {
            self.instance = instance
            self.hasFailed = hasFailed
        }
    }

    /// `nil` when the table is true at the cutoff, and no failed capture keeps the cutoff behind the others.
    ///
    /// - Parameters:
    ///   - state: what the serving database knows of the projection.
    ///   - definitionHash: hash of the definition at hand; `nil` where it is not known, and the table's own is taken.
    ///   - captures: the capture instances it reads.
    ///   - replicaBase: the oldest LSN the replica can still show, where there is one.
    public static func reason(
        name: String, state: ProjectionState?, definitionHash: String? = nil, captures: Set<String>,
        watermarks: [String: Watermark], replicaBase: LSN = .zero
    ) -> ProjectionWait? {
        func holders(_ isHolder: (LSN) -> Bool) -> [Holder] {
            captures.sorted().filter { isHolder(watermarks[$0]?.lastIngestedLSN ?? .zero) }
                .map { Holder($0, hasFailed: watermarks[$0]?.status == .error) }
        }
        let missing = holders { $0 == .zero }
        guard missing.isEmpty, let cutoff = ProjectionDecision.cutoff(of: captures, watermarks: watermarks)?.lsn else {
            return .nothingIngested(missing)
        }
        let last = holders { $0 == cutoff }
        let furthest = ProjectionDecision.furthest(of: captures, watermarks: watermarks)
        let failed = cutoff < furthest ? last.filter(\.hasFailed) : []
        switch ProjectionDecision.next(
            name: name, state: state, definitionHash: definitionHash ?? state?.definitionHash ?? "", captures: captures,
            cutoff: cutoff, completeFrom: ProjectionDecision.completeFrom(of: captures, watermarks: watermarks),
            replicaBase: replicaBase, furthest: furthest)
        {
        case .wait(let until):
            return .heldBack(by: last, at: cutoff, until: until)
        case .build where replicaBase == .zero && cutoff < furthest:
            // What the others are at may be all the replica can still show; it is not known here.
            return .heldBack(by: failed.isEmpty ? last : failed, at: cutoff, until: furthest)
        case .build, .advance:
            // A step that failed is told of by its error.
            return state?.status == .error ? nil : .due(cutoff)
        case .idle, .confirm, .stop:
            return failed.isEmpty ? nil : .heldBack(by: failed, at: cutoff, until: furthest)
        }
    }
}

extension ProjectionWait: CustomStringConvertible {
    public var description: String {
        switch self {
        case .nothingIngested(let captures):
            "nothing of \(Self.list(captures)) has been ingested yet"
        case .heldBack(let captures, let lsn, let until):
            """
            \(Self.list(captures)) \(captures.count == 1 ? "holds" : "hold") it back at LSN \(lsn); it waits for LSN \(until)
            """
        case .due(let lsn):
            "the pipeline's next step takes it to LSN \(lsn)"
        }
    }

    private static func list(_ captures: [Holder]) -> String {
        captures.map { $0.hasFailed ? "\($0.instance) (ERROR)" : $0.instance }.joined(separator: ", ")
    }
}
