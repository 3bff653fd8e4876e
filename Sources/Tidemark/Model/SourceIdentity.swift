/// What makes a source the same one, by name: ids that a copy keeps and another database does not have.
///
/// A part that one side does not know says nothing, such as one that a login may not read.
public struct SourceIdentity: Sendable, Equatable {
    public var parts: [String: String]

    public init(_ parts: [String: String] = [:]) { self.parts = parts }

    /// The first part, by name, in which two identities differ; `nil` when none does.
    public func contradiction(with other: SourceIdentity) -> String? {
        parts.keys.sorted().first { name in
            guard let mine = parts[name], let theirs = other.parts[name] else { return false }
            return mine != theirs
        }
    }

    /// The parts as `name=value`, in the order of their names, with blanks between them. Neither may hold a blank.
    public var text: String {
        parts.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
    }

    /// Reads what `text` writes.
    public init(text: String) {
        parts = [:]
        for part in text.split(separator: " ") {
            let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if sides.count == 2 { parts[String(sides[0])] = String(sides[1]) }
        }
    }
}

/// A position in a source's log, told by the LSN and the time at which it was committed.
///
/// The LSN alone does not tell one: a source that was put back from a backup gives the same LSNs again.
public struct SourcePosition: Sendable, Hashable {
    public var lsn: LSN
    public var commitTime: Timestamp

    public init(lsn: LSN, commitTime: Timestamp) {
        self.lsn = lsn
        self.commitTime = commitTime
    }
}

/// What became of a position that was read from a source.
public enum PositionFinding: Sendable, Equatable {
    /// It is in the log, committed when it was: the history up to it is the same.
    case kept
    /// The log goes on past it and has it at another time, or does not have it.
    case replaced(by: Timestamp?)
    /// The log ends before it.
    case beyond
    /// The log no longer knows that far back.
    case forgotten
    /// None was asked about.
    case unasked

    /// - Parameters:
    ///   - position: as it was read.
    ///   - found: the commit time the log has at the position's LSN now.
    ///   - oldest: the first LSN whose commit time the log still knows; `nil` for none.
    ///   - maxLSN: where the log ends.
    ///   - isSameTime: whether two commit times are one; plain equality by default.
    public init(
        of position: SourcePosition, found: Timestamp?, oldest: LSN?, maxLSN: LSN,
        isSameTime: (Timestamp, Timestamp) -> Bool = { $0 == $1 }
    ) {
        // Of an empty log nothing can be told: all of it may have been purged.
        if maxLSN == .zero {
            self = .forgotten
        } else if position.lsn > maxLSN {
            self = .beyond
        } else if let found {
            self = isSameTime(found, position.commitTime) ? .kept : .replaced(by: found)
        } else if let oldest, oldest < position.lsn {
            self = .replaced(by: nil)
        } else {
            self = .forgotten
        }
    }
}
