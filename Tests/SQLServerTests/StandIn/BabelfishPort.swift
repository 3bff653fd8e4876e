import Foundation
import Testing

/// Babelfish's PostgreSQL port, for what its T-SQL one does not take.
enum BabelfishPort {
    private static let variable = "TIDEMARK_TEST_BABELFISH_PG"

    /// Runs psql, which stops at the first error.
    static func run(_ arguments: [String]) throws {
        let target = try #require(
            ProcessInfo.processInfo.environment[variable],
            "\(variable) has to say how psql reaches Babelfish's PostgreSQL port, e.g. host=… port=… user=… dbname=babelfish_db"
        )
        let psql = Process()
        psql.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        psql.arguments = ["psql", target, "-q", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1"] + arguments
        let output = Pipe()
        psql.standardError = output
        try psql.run()
        let messages = output.fileHandleForReading.readDataToEndOfFile()
        psql.waitUntilExit()
        try #require(psql.terminationStatus == 0, "psql: \(String(decoding: messages, as: UTF8.self))")
    }
}
