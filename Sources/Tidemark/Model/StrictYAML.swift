import Yams

/// A YAML file that must be a map with known keys, read with line numbers so that errors can name the place.
package struct StrictYAML {
    /// A value with the place it was written at.
    package struct Entry {
        /// The key as written.
        package let key: String
        package let value: Value
        /// `file:line`, for the start of a message.
        package let place: String
    }

    /// A value, without guesses about the type of what is written plainly.
    package indirect enum Value: Equatable {
        case null
        case scalar(String)
        case list([Value])
        /// In the order written.
        case map([Pair])

        /// What it is, for the end of a message.
        package var kind: String {
            switch self {
            case .null: "empty"
            case .scalar(let text): "'\(text)'"
            case .list: "a list"
            case .map: "a map"
            }
        }
    }

    /// One key of a map with its value.
    package struct Pair: Equatable {
        package let key: String
        package let value: Value
    }

    package let entries: [Entry]

    /// Reads the map at the top of a file; an empty file is an empty map.
    ///
    /// - Throws: `TidemarkError.configuration` naming the file and line when this is not YAML, has several documents,
    ///   is no map, or names a key twice.
    package init(text: String, file: String) throws {
        let root: Node?
        do {
            root = try Parser(yaml: text).singleRoot()
        } catch let error as YamlError {
            throw TidemarkError.configuration(Self.message(for: error, file: file))
        }
        guard let root, try Self.value(of: root, file: file) != .null else {
            entries = []
            return
        }
        guard let mapping = root.mapping else {
            throw TidemarkError.configuration("\(file): expected lines of the form 'key: value' at the top level")
        }
        entries = try mapping.map { key, value in
            let place = "\(file):\(key.mark?.line ?? 1)"
            return Entry(
                key: try Self.keyText(key, file: file), value: try Self.value(of: value, file: file), place: place)
        }
    }

    private static func keyText(_ node: Node, file: String) throws -> String {
        guard case .scalar(let scalar) = node else {
            throw TidemarkError.configuration("\(file):\(node.mark?.line ?? 1): a key must be a plain word")
        }
        return scalar.string
    }

    private static func value(of node: Node, file: String) throws -> Value {
        switch node {
        case .scalar(let scalar):
            let isPlain = scalar.style == .plain || scalar.style == .any
            return isPlain && ["", "~", "null", "Null", "NULL"].contains(scalar.string)
                ? .null : .scalar(scalar.string)
        case .sequence(let sequence):
            return .list(try sequence.map { try value(of: $0, file: file) })
        case .mapping(let mapping):
            return .map(
                try mapping.map { key, inner in
                    Pair(key: try keyText(key, file: file), value: try value(of: inner, file: file))
                })
        case .alias:
            throw TidemarkError.configuration(
                "\(file):\(node.mark?.line ?? 1): aliases are not supported; write the value out")
        }
    }

    /// One line; never with a snippet of the file, which may hold a password.
    private static func message(for error: YamlError, file: String) -> String {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            return "\(file):\(mark.line): not valid YAML: \(problem)"
        case .duplicatedKeysInMapping(let duplicates, let context):
            let keys = duplicates.sorted().map { "'\($0)'" }.joined(separator: ", ")
            return "\(file):\(context.mark.line): key \(keys) is written twice; keep one"
        case .reader(let problem, _, _, _):
            return "\(file): not valid YAML: \(problem)"
        default:
            return "\(file): not valid YAML"
        }
    }
}
