import Foundation
import PackagePlugin

/// Turns the repository's `projections/` and `sql/` folders into a Swift file of the target that uses the plugin.
///
/// The binary then carries its shipped projections and bootstrap scripts, and works from any directory.
@main
struct EmbedResources: BuildToolPlugin {
    /// The folders of the repository that are embedded, with everything below them.
    private static let folders = ["projections", "sql"]

    func createBuildCommands(context: PluginContext, target: any Target) throws -> [Command] {
        let work = context.pluginWorkDirectoryURL
        let output = work.appending(path: "EmbeddedResources.swift")
        let roots = Self.folders.map { context.package.directoryURL.appending(path: $0) }

        // Files below the folders come and go, but SwiftPM keeps an old plan, inputs included, until a file of a
        // target comes or goes. So the one input is a file that the tool touches itself: the tool runs in every
        // build, takes some milliseconds, and leaves the output alone unless a file has changed.
        let trigger = work.appending(path: "last-run")
        if !FileManager.default.fileExists(atPath: trigger.path(percentEncoded: false)) {
            try Data().write(to: trigger)
        }
        return [
            .buildCommand(
                displayName: "Embed \(Self.folders.joined(separator: " and "))",
                executable: try context.tool(named: "embed-resources").url,
                arguments: [output, trigger].map { $0.path(percentEncoded: false) }
                    + roots.map { $0.path(percentEncoded: false) },
                inputFiles: [trigger],
                outputFiles: [output])
        ]
    }
}
