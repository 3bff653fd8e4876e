import Testing
import Tidemark

@Suite("Durations as text")
struct DurationTextTests {
    @Test(
        "a number and a unit are read exactly",
        arguments: [
            ("0", Duration.zero), ("0s", .zero), ("250ms", .milliseconds(250)), ("5s", .seconds(5)),
            ("2m", .seconds(120)), ("1h", .seconds(3600)), ("1.5s", .milliseconds(1500)),
            ("0.25ms", .microseconds(250)), ("0.1s", .milliseconds(100)), ("1.000000001s", .nanoseconds(1_000_000_001)),
        ])
    func reads(text: String, duration: Duration) {
        #expect(Duration(text: text) == duration)
    }

    @Test(
        "everything else is refused",
        arguments: [
            "", "5", "00", "s", "ms", ".5s", "5.s", "-5s", "+5s", "5 s", " 5s", "5S", "5sec", "1h30m", "1e3s", "1,5s",
            "1.2.3s", "٣s", "99999999999999999999s", "9999999999h", "5d", "5us",
        ])
    func refuses(text: String) {
        #expect(Duration(text: text) == nil)
    }
}
