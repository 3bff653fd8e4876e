/// Finds what somebody meant who wrote a name that does not exist.
package enum Suggestion {
    /// The candidate that is fewest edits away from `word`, when that is close enough to be a slip of the pen.
    package static func nearest(to word: String, in candidates: some Sequence<String>) -> String? {
        let word = word.lowercased()
        let nearest = candidates.map { (name: $0, distance: distance(word, $0.lowercased())) }
            .min { ($0.distance, $0.name) < ($1.distance, $1.name) }
        // A third of the letters may be wrong: enough for a slip, too few to offer an unrelated name.
        guard let nearest, nearest.distance <= max(1, word.count / 3) else { return nil }
        return nearest.name
    }

    /// ` (did you mean 'poll_interval'?)`, or nothing.
    package static func hint(for word: String, in candidates: some Sequence<String>) -> String {
        nearest(to: word, in: candidates).map { " (did you mean '\($0)'?)" } ?? ""
    }

    /// Letters to insert, delete, replace or swap with their neighbour (optimal string alignment distance).
    static func distance(_ a: String, _ b: String) -> Int {
        let a = Array(a)
        let b = Array(b)
        var rows = [Array(0...b.count)]
        for i in 1..<(a.count + 1) {
            var row = [i]
            for j in 1..<(b.count + 1) {
                let cost = a[i - 1] == b[j - 1] ? 0 : 1
                var best = min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + cost)
                if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] {
                    best = min(best, rows[i - 2][j - 2] + 1)
                }
                row.append(best)
            }
            rows.append(row)
        }
        return rows[a.count][b.count]
    }
}
