import ArgumentParser
import Foundation
import Testing
import Tidemark

@testable import TidemarkCLI

@Suite("The command line")
struct CommandTests {
    /// Runs the built `tidemark` in an empty directory, with no settings in its environment.
    static func run(_ arguments: String...) throws -> (code: Int32, output: String, errors: String) {
        let process = Process()
        process.executableURL = try binary()
        process.arguments = arguments
        process.environment = [:]
        process.currentDirectoryURL = FileManager.default.temporaryDirectory
        let (output, errors) = (Pipe(), Pipe())
        process.standardOutput = output
        process.standardError = errors
        try process.run()
        // Help and errors fit into a pipe's buffer, so reading one after the other cannot block.
        let texts = [output, errors].map {
            String(decoding: $0.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        }
        process.waitUntilExit()
        return (process.terminationStatus, texts[0], texts[1])
    }

    /// The product beside the test bundle: swift build puts both into one folder.
    static func binary() throws -> URL {
        let bundles = Bundle.allBundles.map(\.bundleURL) + [URL(filePath: CommandLine.arguments[0])]
        let folders = bundles.flatMap { [$0, $0.deletingLastPathComponent()] }
        return try #require(
            folders.map { $0.appending(path: "tidemark") }.first {
                var isDirectory: ObjCBool = false
                let path = $0.path(percentEncoded: false)
                return FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) && !isDirectory.boolValue
            })
    }

    @Test("help and version go to standard output and succeed")
    func help() throws {
        let help = try Self.run("--help")
        #expect(help.code == 0)
        #expect(help.output.contains("Exit codes:"))
        #expect(help.errors.isEmpty)
        #expect(try Self.run("--version").output == TidemarkCommand.configuration.version + "\n")
    }

    @Test("a mistake on the command line is one line on standard error and exit 64")
    func usage() throws {
        let result = try Self.run("--frobnicate")
        #expect(result.code == 64)
        #expect(result.output.isEmpty)
        #expect(result.errors == "tidemark: Unknown option '--frobnicate' (see tidemark --help)\n")
    }

    @Test("each kind of error has its exit code")
    func exitCodes() {
        #expect(ExitCode(for: TidemarkError.configuration("x")).rawValue == 78)
        #expect(ExitCode(for: TidemarkError.unavailable("x")).rawValue == 69)
        #expect(ExitCode(for: TidemarkError.conflict("x")).rawValue == 75)
        #expect(ExitCode(for: TidemarkError.schema("x")).rawValue == 70)
        #expect(ExitCode(for: CocoaError(.fileNoSuchFile)).rawValue == 70)
        #expect(ExitCode(for: ExitCode.verificationFailed).rawValue == 1)
    }

    @Test("--config is read by the shared options")
    func config() throws {
        let options = try CommonOptions.parse(["--config", "/does/not/exist.yml"])
        #expect(options.config == "/does/not/exist.yml")
        #expect(throws: TidemarkError.self) { try options.settings() }
    }
}
