import ArgumentParser
import Foundation
import Testing
import Tidemark

@testable import TidemarkCLI

@Suite("Exit codes")
struct ExitCodeTests {
    @Test("each kind of error has its exit code")
    func exitCodes() {
        #expect(ExitCode(for: TidemarkError.configuration("x")).rawValue == 78)
        #expect(ExitCode(for: TidemarkError.projection(name: "x", reason: "y")).rawValue == 78)
        #expect(ExitCode(for: TidemarkError.unavailable("x")).rawValue == 69)
        #expect(ExitCode(for: TidemarkError.conflict("x")).rawValue == 75)
        #expect(ExitCode(for: TidemarkError.schema("x")).rawValue == 70)
        #expect(ExitCode(for: CocoaError(.fileNoSuchFile)).rawValue == 70)
        #expect(ExitCode(for: ExitCode.failureFound).rawValue == 1)
    }

    @Test("--config is read by the shared options")
    func config() throws {
        let options = try CommonOptions.parse(["--config", "/does/not/exist.yml"])
        #expect(options.config == "/does/not/exist.yml")
        #expect(throws: TidemarkError.self) { try options.settings() }
    }
}
