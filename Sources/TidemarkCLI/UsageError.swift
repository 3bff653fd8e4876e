import ArgumentParser
import Tidemark

/// What is wrong with a command line, as one sentence that says where to read on.
struct UsageError: CustomStringConvertible {
    let description: String

    /// - Parameters:
    ///   - message: what the argument parser says.
    ///   - arguments: the command line, without the program's name.
    init(_ message: String, arguments: [String]) {
        let verbs = TidemarkCommand.configuration.subcommands.compactMap { $0.configuration.commandName }
        let first = arguments.first { $0 != "help" }
        if let first, !first.hasPrefix("-"), !verbs.contains(first) {
            let hint = Suggestion.hint(for: first, in: verbs)
            description =
                "there is no command '\(first)'\(hint); there are: \(verbs.joined(separator: ", ")) (see tidemark --help)"
            return
        }
        let verb = first.flatMap { verbs.contains($0) ? "\($0) " : nil } ?? ""
        // The argument parser knows that the value is no duration, not how one is written.
        let remedy = message.hasSuffix("<duration>'") ? "; \(Duration.textHint)" : ""
        description = "\(message.prefix(1).lowercased())\(message.dropFirst())\(remedy) (see tidemark \(verb)--help)"
    }
}
