import Tidemark

/// Shows a demo as it goes: a screen that is drawn over on a terminal, a line a second anywhere else.
struct DemoView: Sendable {
    let isTerminal: Bool
    private let start = ContinuousClock.now

    init() { isTerminal = Console.isTerminal }

    /// Pause between two pictures.
    var interval: Duration { isTerminal ? .milliseconds(250) : .seconds(1) }

    /// Draws `figures`; on a terminal over the picture before, of `previousLines` lines. Returns its number of lines.
    func draw(_ figures: DemoMonitor.Figures, over previousLines: Int) -> Int {
        guard isTerminal else {
            Console.line(line(figures))
            return 1
        }
        // A line that wraps would take two rows, and the next picture start one row too low.
        let width = Console.width
        let lines = picture(figures).split(separator: "\n", omittingEmptySubsequences: false)
            .map { line in width.map { line.prefix($0 - 1) } ?? line }
        // Up to the first line of the last picture, then clear to the end of the screen.
        let back = previousLines > 0 ? "\u{1B}[\(previousLines)A\u{1B}[0J" : ""
        Console.write(back + lines.joined(separator: "\n") + "\n")
        return lines.count
    }

    private var elapsed: Double { (ContinuousClock.now - start) / .seconds(1) }

    private func picture(_ figures: DemoMonitor.Figures) -> String {
        let seconds = max(elapsed, 0.001)
        var captures = TextTable(["CAPTURE", "ROWS", "ROWS/S", "LAG"])
        for (name, line) in figures.captures.sorted(by: { $0.key < $1.key }) {
            captures.add([
                name, line.rows.grouped, Int(Double(line.rows) / seconds).grouped,
                line.error ?? Self.milliseconds(lag(line.watermark, line.commitTime, figures)),
            ])
        }
        var projections = TextTable(["PROJECTION", "AS OF (UTC)", "FRESHNESS P50", "P95", "COMMITS", "ROWS WRITTEN"])
        for (name, line) in figures.projections.sorted(by: { $0.key < $1.key }) {
            projections.add([
                name, line.error ?? line.asOfTime.map { Self.clock($0) } ?? "-",
                Self.milliseconds(line.freshness.percentile(0.5)), Self.milliseconds(line.freshness.percentile(0.95)),
                line.commits.grouped, line.rows.grouped,
            ])
        }
        return """
            \(seconds.formatted(decimals: 1)) s   \(figures.transactions.grouped) transactions committed on the source

            \(captures.text)

            \(projections.text)
            """
    }

    private func line(_ figures: DemoMonitor.Figures) -> String {
        var parts = ["t=\(elapsed.formatted(decimals: 0))s", "transactions=\(figures.transactions)"]
        for (name, line) in figures.captures.sorted(by: { $0.key < $1.key }) {
            parts.append("\(name)=\(line.rows)" + (line.error == nil ? "" : " (failed)"))
        }
        for (name, line) in figures.projections.sorted(by: { $0.key < $1.key }) {
            let freshness = Self.milliseconds(line.freshness.percentile(0.95))
            parts.append("\(name): \(line.commits) commits, p95 \(freshness)" + (line.error == nil ? "" : " (failed)"))
        }
        return parts.joined(separator: "  ")
    }

    private func lag(_ watermark: LSN, _ commitTime: Timestamp?, _ figures: DemoMonitor.Figures) -> Double? {
        if watermark >= figures.sourceEnd.lsn { return 0 }
        guard let commitTime, let end = figures.sourceEnd.time else { return nil }
        return max(0, end.seconds(since: commitTime))
    }

    static func milliseconds(_ seconds: Double?) -> String {
        seconds.map { "\(($0 * 1000).formatted(decimals: 0)) ms" } ?? "-"
    }

    /// Hours, minutes and seconds of a UTC time, with tenths.
    private static func clock(_ time: Timestamp) -> String { String("\(time)".dropFirst(11).prefix(10)) }
}
