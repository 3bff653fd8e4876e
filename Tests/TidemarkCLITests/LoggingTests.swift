import Foundation
import Logging
import Synchronization
import Testing
import Tidemark

@testable import TidemarkCLI

@Suite("Log lines")
struct LoggingTests {
    private final class Lines: Sendable {
        let all = Mutex<[String]>([])
    }

    /// 2026-01-02 03:04:05.678 UTC
    static let time = Timestamp(microseconds: 1_767_323_045_678_901)

    private static func lines(
        _ format: LogFormat, level: Logger.Level = .info, time: Timestamp = time, _ body: (Logger) -> Void
    ) -> [String] {
        let lines = Lines()
        let loggers = LoggerFactory(
            level: level, format: format, clock: { time }, write: { line in lines.all.withLock { $0.append(line) } })
        body(loggers.logger("ingest"))
        return lines.all.withLock { $0 }
    }

    @Test("text: time, level, component, message, metadata by name")
    func text() {
        let lines = Self.lines(.text) {
            $0.info("window committed", metadata: ["rows": "12", "capture": "dbo_orders"])
            $0.warning("slow")
            $0.error("two\nlines", metadata: ["sql": "SELECT \"a\" = 1", "empty": ""])
        }
        #expect(
            lines == [
                "2026-01-02 03:04:05.678 INFO  ingest: window committed capture=dbo_orders rows=12\n",
                "2026-01-02 03:04:05.678 WARNING ingest: slow\n",
                "2026-01-02 03:04:05.678 ERROR ingest: two | lines empty=\"\" sql=\"SELECT \\\"a\\\" = 1\"\n",
            ])
    }

    @Test("json: one object a line, numbers as numbers, reserved names kept apart")
    func json() throws {
        let line = try #require(
            Self.lines(.json) {
                $0.error(
                    "a \"b\"\n\u{1}ü",
                    metadata: [
                        "rows": .stringConvertible(12), "ok": .stringConvertible(true), "time": "mine",
                        "list": ["x", .dictionary(["y": "z"])],
                    ])
            }.first)
        #expect(line.split(separator: "\n").count == 1)
        #expect(line.hasPrefix(#"{"time":"2026-01-02T03:04:05.678Z","level":"error","component":"ingest","message":"#))
        let object = try #require(
            try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        #expect(object["message"] as? String == "a \"b\"\n\u{1}ü")
        #expect(object["rows"] as? Int == 12)
        #expect(object["ok"] as? Bool == true)
        #expect(object["time_"] as? String == "mine")
        #expect((object["list"] as? [Any])?.count == 2)
    }

    @Test("what is below the level is not written, and a logger keeps its own metadata")
    func levelAndMetadata() {
        let lines = Self.lines(.text, level: .warning) { logger in
            var logger = logger
            logger[metadataKey: "capture"] = "dbo_orders"
            logger.info("quiet")
            logger.critical("loud", metadata: ["capture": "dbo_payments"])
        }
        #expect(lines == ["2026-01-02 03:04:05.678 CRITICAL ingest: loud capture=dbo_payments\n"])
    }

    @Test(
        "times are right at the calendar's corners",
        arguments: [
            (0, "1970-01-01 00:00:00.000"), (-1, "1969-12-31 23:59:59.999"), (-1000, "1969-12-31 23:59:59.999"),
            (-86_400_000_000, "1969-12-31 00:00:00.000"), (951_782_400_000_000, "2000-02-29 00:00:00.000"),
            (951_868_799_999_999, "2000-02-29 23:59:59.999"), (4_102_444_800_000_000, "2100-01-01 00:00:00.000"),
            (4_107_542_400_000_000, "2100-03-01 00:00:00.000"),
        ])
    func calendar(microseconds: Int64, expected: String) {
        let lines = Self.lines(.text, time: Timestamp(microseconds: microseconds)) { $0.info("x") }
        #expect(lines == ["\(expected) INFO  ingest: x\n"])
    }
}
