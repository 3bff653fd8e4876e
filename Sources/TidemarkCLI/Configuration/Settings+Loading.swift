import Foundation
import Logging
import Tidemark

extension Settings {
    /// Reads the settings: the environment, over `tidemark.yml`, over the defaults.
    ///
    /// - Parameters:
    ///   - environment: environment variables; other programs' variables are ignored.
    ///   - file: the file `--config` names; `nil` takes `tidemark.yml` of the working directory if it is there.
    ///   - workingDirectory: where `tidemark.yml` is looked for. Paths in settings stay as they are written.
    /// - Throws: `TidemarkError.configuration`: one line that names the setting, where it stands and the remedy.
    static func load(
        environment: [String: String], file: String?,
        workingDirectory: String = FileManager.default.currentDirectoryPath
    ) throws -> Settings {
        let layers = try SettingLayers(environment: environment, file: file, workingDirectory: workingDirectory)
        func value(_ key: SettingKey) -> SettingLayers.Found {
            layers.find(key.rawValue) ?? SettingLayers.Found(text: key.defaultValue ?? "", place: key.variable)
        }

        let projectionInterval = try duration(value(.projectionInterval))
        let directory = layers.find(SettingKey.projectionsDirectory.rawValue)
        return Settings(
            source: try dsn(.sourceDSN, or: .sourceDSNFile, in: layers),
            serving: try dsn(.servingDSN, or: .servingDSNFile, in: layers),
            bootstrapSource: try optionalDSN(.bootstrapSourceDSN, or: .bootstrapSourceDSNFile, in: layers),
            bootstrapServing: try optionalDSN(.bootstrapServingDSN, or: .bootstrapServingDSNFile, in: layers),
            sourceName: try sourceName(value(.sourceName)),
            pollInterval: try duration(value(.pollInterval)),
            batchMaxRows: try count(value(.batchMaxRows)),
            onGap: try choice(value(.onGap), of: GapPolicy.allCases),
            captureFilter: CaptureFilter(
                include: try patterns(value(.includedTables)), exclude: try patterns(value(.excludedTables))),
            excludedColumns: try columns(value(.excludedColumns)),
            capturePolling: try wholeSeconds(value(.capturePolling)),
            projectionInterval: projectionInterval,
            projectionsDirectory: directory?.text,
            projections: try projections(in: directory, layers: layers, interval: projectionInterval),
            stateDirectory: value(.stateDirectory).text,
            logLevel: try logLevel(value(.logLevel)),
            logFormat: try choice(value(.logFormat), of: LogFormat.allCases),
            memory: try MemoryBudget(
                whole: layers.find(SettingKey.memoryLimit.rawValue),
                duckDB: layers.find(SettingKey.duckDBMemoryLimit.rawValue)))
    }

    private static func dsn(
        _ key: SettingKey, or fileKey: SettingKey, in layers: SettingLayers
    ) throws -> DSN {
        if let dsn = try optionalDSN(key, or: fileKey, in: layers) { return dsn }
        return try dsn(SettingLayers.Found(text: key.defaultValue ?? "", place: key.variable), isPath: false)
    }

    private static func optionalDSN(
        _ key: SettingKey, or fileKey: SettingKey, in layers: SettingLayers
    ) throws -> DSN? {
        guard let setting = try layers.find(key, or: fileKey) else { return nil }
        return try dsn(setting.found, isPath: setting.key == fileKey)
    }

    /// - Parameter isPath: whether the setting names a file that holds the DSN.
    private static func dsn(_ place: SettingLayers.Found, isPath: Bool) throws -> DSN {
        var text = place.text
        if isPath {
            guard let data = FileManager.default.contents(atPath: place.text),
                let contents = String(data: data, encoding: .utf8)
            else {
                throw place.error("\(place.text) cannot be read; check that it is a text file you may read")
            }
            // Editors and `echo` end a file with a line break, which no DSN has.
            text = contents.trimmingCharacters(in: .whitespacesAndNewlines)
            guard !text.isEmpty else { throw place.error("\(place.text) is empty; write the DSN into it") }
        }
        do {
            return try DSN(text)
        } catch {
            throw place.error("the DSN \(error)")
        }
    }

    private static func projections(
        in directory: SettingLayers.Found?, layers: SettingLayers, interval: Duration
    ) throws -> [ProjectionSettings] {
        let catalog = try directory.map { try ProjectionCatalog.load(from: $0.text) } ?? .builtIn()
        let names = catalog.projections.map(\.name)
        for (projection, place) in layers.switches where !names.contains(projection) {
            let hint =
                Suggestion.nearest(to: projection, in: names)
                .map { " (did you mean ENABLE_PROJ_\($0.uppercased())?)" } ?? ""
            throw TidemarkError.configuration(
                "\(place): there is no such projection\(hint); there are: \(names.joined(separator: ", "))")
        }
        return try catalog.projections.map { definition in
            let flag = layers.find(SettingLayers.switchPrefix + definition.name)
            return ProjectionSettings(
                definition: definition, isEnabled: try flag.map(boolean) ?? definition.enabled,
                interval: definition.interval ?? interval)
        }
    }

    private static func duration(_ found: SettingLayers.Found) throws -> Duration {
        guard let duration = Duration(text: found.text) else {
            throw found.error("'\(found.text)' is not a duration; \(Duration.textHint)")
        }
        return duration
    }

    private static func wholeSeconds(_ found: SettingLayers.Found) throws -> Duration {
        let duration = try duration(found)
        // What sys.sp_cdc_change_job takes.
        guard duration.components.attoseconds == 0, (1...86_400).contains(duration.components.seconds) else {
            throw found.error("'\(found.text)' is not whole seconds, 1s to 86400s, which SQL Server counts in")
        }
        return duration
    }

    private static func patterns(_ found: SettingLayers.Found) throws -> [String] {
        if found.text.isEmpty { return [] }
        guard let patterns = CaptureFilter.patterns(found.text) else {
            throw found.error("'\(found.text)' has an empty pattern; write tables' names, such as orders, shop_*")
        }
        return patterns
    }

    private static func columns(_ found: SettingLayers.Found) throws -> Set<String> {
        let names = found.text.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
        for name in names where name.split(separator: ".").count != 2 {
            throw found.error("'\(name)' is not capture_instance.column, such as dbo_shops.location")
        }
        return Set(names)
    }

    private static func count(_ found: SettingLayers.Found) throws -> Int {
        guard let count = Int(found.text), count > 0 else {
            throw found.error("'\(found.text)' is not a whole number above 0; write one such as 50000")
        }
        return count
    }

    private static func boolean(_ found: SettingLayers.Found) throws -> Bool {
        switch found.text.lowercased() {
        case "true", "1", "yes", "on": return true
        case "false", "0", "no", "off": return false
        default: throw found.error("'\(found.text)' is neither true nor false; write one of them")
        }
    }

    private static func choice<Choice: RawRepresentable<String>>(
        _ found: SettingLayers.Found, of choices: [Choice]
    ) throws -> Choice {
        guard let choice = Choice(rawValue: found.text.lowercased()) else {
            let names = choices.map(\.rawValue)
            throw found.error(
                """
                '\(found.text)' is unknown\(Suggestion.hint(for: found.text, in: names)); \
                write one of \(names.joined(separator: ", "))
                """)
        }
        return choice
    }

    private static func logLevel(_ found: SettingLayers.Found) throws -> Logger.Level {
        let usual = found.text.lowercased() == "warn" ? "warning" : found.text
        return try choice(SettingLayers.Found(text: usual, place: found.place), of: Logger.Level.allCases)
    }

    /// Longest `SOURCE_NAME`, in characters: what the control tables' key column holds.
    private static let maximumSourceNameLength = 100

    private static func sourceName(_ found: SettingLayers.Found) throws -> String {
        let allowed = found.text.utf8.allSatisfy { Character(UnicodeScalar($0)).isSourceNameCharacter }
        guard allowed, found.text.utf8.count <= maximumSourceNameLength else {
            throw found.error(
                """
                '\(found.text)' is not a source's name; use at most \(maximumSourceNameLength) letters, digits, \
                '_', '-' and '.'
                """)
        }
        return found.text
    }
}

extension Character {
    fileprivate var isSourceNameCharacter: Bool {
        isASCII && (isLetter || isNumber || self == "_" || self == "-" || self == ".")
    }
}
