import Configuration
import Foundation
import Tidemark

/// The environment over `tidemark.yml`: finds a setting's text and remembers where it stood.
///
/// The file is read by `StrictYAML` and handed to swift-configuration as values: its own YAML provider passes over
/// unknown keys and cannot tell the line of a mistake.
struct SettingLayers {
    /// A setting's text, with the place it came from for messages.
    struct Found {
        let text: String
        /// E.g. `POLL_INTERVAL in the environment`, or `tidemark.yml:3: poll_interval`.
        let place: String

        func error(_ problem: String) -> TidemarkError { .configuration("\(place): \(problem)") }
    }

    private struct Layer {
        let reader: ConfigReader
        let place: @Sendable (_ key: String) -> String
    }

    /// Name of the file that is read from the working directory when no other is named.
    static let defaultFile = "tidemark.yml"
    /// What the switch of a projection begins with, in the file; the projection's name follows.
    static let switchPrefix = "enable_proj_"

    /// The strongest first.
    private let layers: [Layer]
    /// Names of the projections that a switch was found for, with its place.
    let switches: [(projection: String, place: String)]

    /// - Parameters:
    ///   - environment: environment variables; an empty one counts as not set, as Docker Compose passes on `${X:-}`.
    ///   - file: path of the file `--config` names, which must exist; `nil` takes `tidemark.yml` if it is there.
    ///   - workingDirectory: where `tidemark.yml` is looked for.
    /// - Throws: `TidemarkError.configuration` for a file that cannot be read, and for its unknown or repeated keys.
    init(environment: [String: String], file: String?, workingDirectory: String) throws {
        let variables = environment.filter { !$0.value.isEmpty }
        let entries = try Self.entries(of: file, workingDirectory: workingDirectory)

        let secrets = Set(
            [SettingKey.sourceDSN, .servingDSN, .bootstrapSourceDSN, .bootstrapServingDSN].map(\.variable))
        let environmentLayer = Layer(
            reader: ConfigReader(
                provider: EnvironmentVariablesProvider(
                    environmentVariables: variables, secretsSpecifier: .specific(secrets))),
            place: { "\($0.uppercased()) in the environment" })
        let values = entries.map { key, entry in
            let isSecret = secrets.contains(key.uppercased())
            return (AbsoluteConfigKey([key]), ConfigValue(.string(entry.text), isSecret: isSecret))
        }
        let places = entries.mapValues(\.place)
        let fileLayer = Layer(
            reader: ConfigReader(
                provider: InMemoryProvider(
                    name: file ?? Self.defaultFile, values: Dictionary(uniqueKeysWithValues: values))),
            place: { places[$0] ?? $0 })
        layers = [environmentLayer, fileLayer]

        let prefix = Self.switchPrefix
        let inEnvironment = try variables.keys.filter { $0.lowercased().hasPrefix(prefix) }.sorted().map { name in
            // A variable in small letters is another variable, which nothing would read.
            guard name == name.uppercased() else {
                throw TidemarkError.configuration(
                    "\(name) in the environment: write it in capitals, \(name.uppercased())")
            }
            return (name.dropFirst(prefix.count).lowercased(), "\(name) in the environment")
        }
        let inFile = entries.filter { $0.key.hasPrefix(prefix) }.sorted { $0.key < $1.key }
            .map { (String($0.key.dropFirst(prefix.count)), $0.value.place) }
        switches = inEnvironment + inFile
    }

    /// What the strongest layer that has `key` says.
    func find(_ key: String) -> Found? {
        for layer in layers {
            if let text = layer.reader.string(forKey: ConfigKey([key]), isSecret: key.contains("dsn")) {
                return Found(text: text, place: layer.place(key))
            }
        }
        return nil
    }

    /// What the strongest layer that has one of two keys says; one layer may not have both.
    func find(_ key: SettingKey, or other: SettingKey) throws -> (key: SettingKey, found: Found)? {
        for layer in layers {
            let found = [key, other].compactMap { key in
                layer.reader.string(forKey: ConfigKey([key.rawValue]), isSecret: true)
                    .map { (key: key, found: Found(text: $0, place: layer.place(key.rawValue))) }
            }
            guard found.count < 2 else {
                throw found[0].found.error("\(other.variable) is set as well; keep one of them")
            }
            if let only = found.first { return only }
        }
        return nil
    }

    /// The lines of the file by key in small letters; all are known keys or switches of projections.
    private static func entries(of file: String?, workingDirectory: String) throws -> [String: Found] {
        let path = file ?? workingDirectory + "/" + defaultFile
        let name = file ?? defaultFile
        guard let data = FileManager.default.contents(atPath: path) else {
            guard file != nil || FileManager.default.fileExists(atPath: path) else { return [:] }
            throw TidemarkError.configuration("\(name) cannot be read: check that it is there and that you may read it")
        }
        guard let text = String(data: data, encoding: .utf8) else {
            throw TidemarkError.configuration("\(name) is not UTF-8 text: save it as UTF-8")
        }
        let known = SettingKey.allCases.map(\.rawValue)
        var entries: [String: Found] = [:]
        for entry in try StrictYAML(text: text, file: name).entries {
            let key = entry.key.lowercased()
            guard known.contains(key) || key.hasPrefix(switchPrefix) else {
                let hint = Suggestion.hint(for: key, in: known)
                let list = "; known are \(known.joined(separator: ", ")) and \(switchPrefix)<name>"
                throw entry.error("is unknown" + (hint.isEmpty ? list : hint))
            }
            let found = Found(
                text: try entry.scalar("write a value, or remove the line"), place: "\(entry.place): \(entry.key)")
            guard !found.text.isEmpty else { throw found.error("is empty; write a value, or remove the line") }
            guard entries.updateValue(found, forKey: key) == nil else {
                throw entry.error("is written twice; keep one")
            }
        }
        return entries
    }
}
