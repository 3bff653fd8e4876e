import Foundation
import Tidemark

/// What the service may take of the machine's memory: DuckDB's part, and a fixed rest for everything else.
///
/// The rest is the same whatever the tables hold, as blocks are bounded in bytes (`BlockLimits`): the program itself, blocks
/// on their way, SQLite's caches, the ODBC driver, and what DuckDB takes without counting it.
struct MemoryBudget: Hashable, Sendable {
    /// Bytes of the service as a whole.
    let whole: Int
    /// Bytes of DuckDB's part.
    let duckDB: Int

    /// 300 MB: what is not DuckDB's.
    static let rest = 300_000_000
    /// 100 MB: with less, DuckDB has no room for a step of a projection.
    static let leastDuckDB = 100_000_000

    /// DuckDB's `memory_limit`: nine tenths of its part, as its allocator takes up to a tenth more than it counts.
    var duckDBLimit: String { "\(duckDB / 10 * 9 / 1_000)KB" }

    /// - Parameters:
    ///   - whole: `MEMORY_LIMIT`, where somebody set it.
    ///   - duckDB: `DUCKDB_MEMORY_LIMIT`, where somebody set it.
    /// - Throws: `TidemarkError.configuration` when they do not fit together.
    init(whole: SettingLayers.Found?, duckDB: SettingLayers.Found?) throws {
        let limit = try whole.map(Self.bytes)
        if let duckDB {
            self.duckDB = try Self.bytes(duckDB)
            self.whole = limit ?? self.duckDB + Self.rest
            guard self.whole >= self.duckDB + Self.rest else {
                throw duckDB.error(
                    """
                    DuckDB's \(duckDB.text) and 300 MB for the rest are more than MEMORY_LIMIT (\(whole?.text ?? "")); leave \
                    it out, and DuckDB gets what is left
                    """)
            }
            return
        }
        let usual = SettingLayers.Found(text: SettingKey.memoryLimit.defaultValue ?? "", place: "")
        self.whole = try limit ?? Self.bytes(usual)
        self.duckDB = self.whole - Self.rest
        guard let whole, self.duckDB < Self.leastDuckDB else { return }
        throw whole.error(
            """
            '\(whole.text)' is too little: the service takes 300 MB besides DuckDB, which needs 100 MB; write 400MB or \
            more
            """)
    }

    /// The units DuckDB takes (duckdb.org/docs/stable/configuration/pragmas#memory-limit), in bytes.
    private static let units: [(name: String, bytes: Double)] = [
        ("KB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12), ("KiB", 1_024), ("MiB", 1_048_576),
        ("GiB", 1_073_741_824), ("TiB", 1_099_511_627_776),
    ]

    private static func bytes(_ found: SettingLayers.Found) throws -> Int {
        let number = found.text.prefix { $0.isASCII && $0.isNumber || $0 == "." }
        let unit = found.text[number.endIndex...].drop { $0 == " " }
        guard let amount = Double(number), amount > 0,
            let known = units.first(where: { $0.name.lowercased() == unit.lowercased() }),
            let bytes = Int(exactly: (amount * known.bytes).rounded(.down)), bytes >= 1_000
        else {
            throw found.error(
                "'\(found.text)' is not an amount of memory; write a number and a unit, such as 512MB or 2GB")
        }
        return bytes
    }
}
