/// What is wrong with a DSN, as the end of a sentence that begins with the setting's name.
public struct DSNError: Error, Hashable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }
}

/// What stands where a secret was.
let redacted = "***"
