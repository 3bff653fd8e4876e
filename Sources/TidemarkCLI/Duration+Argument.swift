public import ArgumentParser
import Tidemark

/// Lets options take durations as settings do: `250ms`, `5s`, `2m`.
extension Duration: @retroactive ExpressibleByArgument {
    public init?(argument: String) { self.init(text: argument) }

    public var defaultValueDescription: String {
        let milliseconds = Int((self / .milliseconds(1)).rounded())
        return milliseconds % 1000 == 0 ? "\(milliseconds / 1000)s" : "\(milliseconds)ms"
    }
}
