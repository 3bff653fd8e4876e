import Testing

@testable import Tidemark

@Suite("When a projection may be looked at again")
struct ProjectionScheduleTests {
    private let start = ContinuousClock.now
    private var schedule = ProjectionSchedule(interval: .seconds(3_600), heartbeat: .seconds(1))

    private func at(_ seconds: Double) -> ContinuousClock.Instant { start + .seconds(seconds) }

    @Test("at once when it starts, after a look that found nothing, and after a failure")
    mutating func free() {
        #expect(schedule.next(at: at(0)) == .look)
        schedule.ended(.idle, at: at(0))
        #expect(schedule.next(at: at(0)) == .look)
        schedule.ended(.failed, at: at(1))
        #expect(schedule.next(at: at(1)) == .look)
    }

    @Test("an interval after a step that did something")
    mutating func held() {
        schedule.ended(.stepped, at: at(10))
        #expect(schedule.next(at: at(10)) == .wait(until: at(11)))
        #expect(schedule.next(at: at(3_610)) == .look)
        // Whatever was asked in between.
        schedule.ended(.notAsked, at: at(3_609.5))
        #expect(schedule.next(at: at(3_609.6)) == .wait(until: at(3_610)))
        #expect(schedule.next(at: at(3_610)) == .look)
    }

    @Test("meanwhile it is asked for rebuilds, once a heartbeat")
    mutating func asks() {
        schedule.ended(.stepped, at: at(0))
        #expect(schedule.next(at: at(1)) == .ask)
        schedule.ended(.notAsked, at: at(1.5))
        #expect(schedule.next(at: at(2)) == .wait(until: at(2.5)))
        #expect(schedule.next(at: at(2.5)) == .ask)
    }

    @Test("a failed step ends the hold, so that its own pause alone counts")
    mutating func failure() {
        schedule.ended(.stepped, at: at(0))
        schedule.ended(.failed, at: at(2))
        #expect(schedule.next(at: at(2)) == .look)
    }

    @Test("an interval shorter than a heartbeat is waited for, and nothing is asked")
    mutating func shortInterval() {
        schedule = ProjectionSchedule(interval: .milliseconds(200), heartbeat: .seconds(1))
        schedule.ended(.stepped, at: at(0))
        #expect(schedule.next(at: at(0.1)) == .wait(until: at(0.2)))
        #expect(schedule.next(at: at(0.2)) == .look)
    }
}
