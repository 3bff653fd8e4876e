import ArgumentParser
import Tidemark

/// What the process tells whoever started it. The numbers above 63 are those of `sysexits.h`.
extension ExitCode {
    /// 1: `verify` found a difference, or `status` an ERROR.
    static let failureFound = ExitCode(1)
    /// 64 (`EX_USAGE`): the command line is wrong.
    static let usage = ExitCode(64)
    /// 69 (`EX_UNAVAILABLE`): a database cannot be reached or is not set up.
    static let databaseUnavailable = ExitCode(69)
    /// 70 (`EX_SOFTWARE`): anything else that went wrong.
    static let internalError = ExitCode(70)
    /// 75 (`EX_TEMPFAIL`): another pipeline works on this serving database, or its file was exchanged.
    static let leaseHeld = ExitCode(75)
    /// 78 (`EX_CONFIG`): a setting or a projection's definition is wrong.
    static let configuration = ExitCode(78)

    /// The code for an error that ends a command.
    init(for error: any Error) {
        switch error {
        case let code as ExitCode: self = code
        case TidemarkError.configuration, TidemarkError.projection: self = .configuration
        case TidemarkError.unavailable, TidemarkError.transient: self = .databaseUnavailable
        case TidemarkError.conflict: self = .leaseHeld
        default: self = .internalError
        }
    }
}
