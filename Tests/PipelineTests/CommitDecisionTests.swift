import Testing
import Tidemark

@Suite("Whether a commit may go ahead")
struct CommitDecisionTests {
    private static let table = ProjectionTable(projection: "latest", columns: [], key: [])
    private static let (first, second) = (LSN(high: 1, low: 0), LSN(high: 2, low: 0))

    private static func state(_ status: ProjectionState.Status = .ok, at lsn: LSN = first, hash: String = "h")
        -> ProjectionState
    {
        ProjectionState(
            checkpoints: ["a": lsn, "b": lsn], status: status, asOfLSN: lsn, asOfTime: nil, builtAt: nil,
            definitionHash: hash, rowsWritten: 0, lastError: nil)
    }

    private let commit = ProjectionCommit(
        table: table, from: first, to: second, asOfTime: nil, captures: ["b", "a"], definitionHash: "h")

    private static func build(replacing state: ProjectionState?) -> ProjectionBuild {
        ProjectionBuild(
            table: table, replacing: state, asOf: second, asOfTime: nil, captures: ["a", "b"], definitionHash: "h")
    }

    @Test("a commit goes ahead from its own checkpoints and definition alone")
    func conflicts() {
        #expect(commit.conflict(with: Self.state()) == nil)
        #expect(commit.conflict(with: Self.state(.error)) == nil)
        #expect(commit.conflict(with: nil) != nil)
        #expect(commit.conflict(with: Self.state(at: Self.second)) != nil)
        #expect(commit.conflict(with: Self.state(hash: "other")) != nil)
        var fewer = Self.state()
        fewer.checkpoints["b"] = nil
        #expect(commit.conflict(with: fewer) != nil)
        fewer.checkpoints = [:]
        #expect(commit.conflict(with: fewer) != nil)
    }

    @Test("a commit whose answer was lost is known by where it leads")
    func done() {
        #expect(commit.isDone(in: Self.state(at: Self.second)))
        #expect(!commit.isDone(in: Self.state()))
        #expect(!commit.isDone(in: Self.state(at: Self.second, hash: "other")))
        #expect(!commit.isDone(in: nil))
    }

    @Test("a rebuild that was asked for outlives a commit, and a build that began before it")
    func requests() {
        #expect(commit.status(after: Self.state(.initial)) == .initial)
        #expect(commit.status(after: Self.state(.error)) == .ok)
        #expect(Self.build(replacing: Self.state()).status(after: Self.state(.initial)) == .initial)
        #expect(Self.build(replacing: Self.state(.initial)).status(after: Self.state(.initial)) == .ok)
        #expect(Self.build(replacing: nil).status(after: nil) == .ok)
    }

    @Test("a build replaces what it began from, whatever its status is by then")
    func builds() {
        let build = Self.build(replacing: Self.state())
        #expect(build.conflict(with: Self.state()) == nil && build.conflict(with: Self.state(.initial)) == nil)
        #expect(build.conflict(with: Self.state(at: Self.second)) != nil)
        #expect(build.conflict(with: nil) != nil)
        #expect(Self.build(replacing: nil).conflict(with: Self.state()) != nil)
        var rebuilt = Self.state()
        rebuilt.builtAt = Timestamp(microseconds: 1)
        #expect(build.conflict(with: rebuilt) != nil)
    }
}
