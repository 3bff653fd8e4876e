import Foundation

/// Counts durations in buckets that grow by 2 %, so that any number of them takes the same memory and a percentile
/// is off by 2 % at most.
struct LatencyHistogram: Sendable {
    private static let growth = 1.02
    /// The first bucket's upper bound, in seconds.
    private static let smallest = 0.000_1

    private var counts: [Int: Int] = [:]
    private(set) var count = 0
    /// The longest, in seconds.
    private(set) var maximum = 0.0

    mutating func record(_ seconds: Double) {
        let value = max(seconds, Self.smallest)
        counts[Int((log(value / Self.smallest) / log(Self.growth)).rounded(.up)), default: 0] += 1
        count += 1
        maximum = max(maximum, seconds)
    }

    /// The duration in seconds that a fraction of all stays at or below; `nil` without any.
    func percentile(_ fraction: Double) -> Double? {
        guard count > 0 else { return nil }
        var left = Int((Double(count) * fraction).rounded(.up))
        for (bucket, count) in counts.sorted(by: { $0.key < $1.key }) {
            left -= count
            if left <= 0 { return min(Self.smallest * pow(Self.growth, Double(bucket)), maximum) }
        }
        return maximum
    }
}
