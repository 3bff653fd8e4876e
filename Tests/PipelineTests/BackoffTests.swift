import Testing

@testable import Tidemark

@Suite("Trying again")
struct BackoffTests {
    private let now = ContinuousClock.now
    private let lost = TidemarkError.transient("the connection was lost")
    private let full = TidemarkError.unavailable("the disk is full")

    private func expect(
        _ backoff: inout Backoff, _ report: Backoff.Report, _ error: TidemarkError,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let found = backoff.failed(with: error, at: now)
        #expect(found == report, sourceLocation: sourceLocation)
    }

    @Test("the pause doubles up to half a minute, less up to half of it at random")
    func pauses() {
        var backoff = Backoff()
        #expect(backoff.isOver(at: now))
        for milliseconds in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            _ = backoff.failed(with: full, at: now, jitter: 1)
            #expect(!backoff.isOver(at: now + .milliseconds(milliseconds - 1)))
            #expect(backoff.isOver(at: now + .milliseconds(milliseconds)))
        }
        _ = backoff.failed(with: full, at: now, jitter: 0.5)
        #expect(backoff.isOver(at: now + .seconds(15)))
        _ = backoff.failed(with: full, at: now)
        #expect(!backoff.isOver(at: now + .seconds(14)) && backoff.isOver(at: now + .seconds(31)))
    }

    @Test("a failure that lasts is recorded at once, and once")
    func lasting() {
        var backoff = Backoff()
        expect(&backoff, .record, full)
        expect(&backoff, .nothing, full)
        expect(&backoff, .record, TidemarkError.unavailable("no permission"))
        let (first, second) = (backoff.succeeded(), backoff.succeeded())
        #expect(first && !second)
        #expect(backoff.isOver(at: now))
        expect(&backoff, .record, full)
    }

    @Test("a failure that usually passes is a line in the log, and is recorded when it does not pass")
    func passing() {
        var backoff = Backoff()
        expect(&backoff, .warn, lost)
        expect(&backoff, .nothing, lost)
        expect(&backoff, .record, lost)
        expect(&backoff, .nothing, lost)
        let wasFailing = backoff.succeeded()
        #expect(wasFailing)
        expect(&backoff, .warn, lost)
    }
}
