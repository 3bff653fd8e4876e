/// How people write durations in settings: a number and a unit.
extension Duration {
    /// Units a duration may have, in nanoseconds, with the suffix that names them.
    private static let units: [(suffix: String, nanoseconds: Int64)] = [
        // "ms" before "s" and "m": the first suffix that fits wins.
        ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000),
    ]

    /// What a text that is no duration should have been, for the end of a sentence.
    public static let textHint = "write a number and a unit, such as 250ms, 5s, 1.5s, 2m or 1h"

    /// Reads `250ms`, `5s`, `1.5s`, `2m`, `1h`; of the bare numbers only `0`.
    ///
    /// Returns `nil` for anything else, negative durations included. Digits below a nanosecond are dropped.
    public init?(text: some StringProtocol) {
        if text == "0" {
            self = .zero
            return
        }
        guard let unit = Self.units.first(where: { text.hasSuffix($0.suffix) }) else { return nil }
        let parts = text.dropLast(unit.suffix.count).split(
            separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy { (0x30...0x39).contains($0) } }),
            let whole = Int64(parts[0])
        else { return nil }
        let (product, overflow) = whole.multipliedReportingOverflow(by: unit.nanoseconds)
        guard !overflow else { return nil }
        var nanoseconds = product
        if parts.count == 2 {
            var place = unit.nanoseconds
            for digit in parts[1].utf8 {
                place /= 10
                let (sum, overflow) = nanoseconds.addingReportingOverflow(Int64(digit - 0x30) * place)
                guard !overflow else { return nil }
                nanoseconds = sum
            }
        }
        self = .nanoseconds(nanoseconds)
    }
}
