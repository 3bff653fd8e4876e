import Foundation
import Synchronization

/// The configuration file this process gives to FreeTDS, with a section for each server.
///
/// FreeTDS 1.3 takes the authority a certificate is checked against from its configuration file only, and checks
/// none without it (https://www.freetds.org/userguide/freetdsconf.html, "ca file"). The file holds no secrets.
enum FreeTDSConfiguration {
    private struct State {
        var sections: [(name: String, text: String)] = []
        var path: String?
        /// What the operator's own file says, for ODBC strings that name its sections.
        var own = ""
    }

    private static let state = Mutex(State())

    /// The name of the section for a server, which is written when it is new.
    ///
    /// It is the server's own name, as FreeTDS names the section to the server at login, and the gateway of Azure SQL
    /// Database finds a server by that: another name is answered with error 40532. A server wanted in a second way, and
    /// one of numbers, gets a name of ours.
    static func section(for address: SQLServerAddress) throws -> String {
        let text = text(address)
        return try state.withLock { state in
            if let known = state.sections.first(where: { $0.text == text }) { return known.name }
            let host = address.host.lowercased()
            let isTaken = state.sections.contains { $0.name == host }
            let isName =
                host.contains(where: \.isLetter) && host.allSatisfy { $0.isLetter || $0.isNumber || ".-_".contains($0) }
            let name = isName && !isTaken ? host : "tidemark\(state.sections.count + 1)"
            state.sections.append((name, text))
            try write(&state)
            return name
        }
    }

    /// The lines of a section.
    static func text(_ address: SQLServerAddress) -> String {
        let parts = address.host.split(separator: "\\", maxSplits: 1)
        var lines = ["host = \(parts[0])"]
        if parts.count > 1 {
            lines.append("instance = \(parts[1])")
        } else {
            lines.append("port = \(address.port ?? 1433)")
        }
        lines += ["tds version = 7.4", "client charset = UTF-8"]
        switch address.encryption {
        case .off: lines.append("encryption = off")
        case .required, .strict:
            lines.append("encryption = require")
            if !address.trustsServerCertificate {
                lines.append("ca file = \(address.options[.serverCertificate] ?? "system")")
                lines.append("check certificate hostname = yes")
            }
        }
        return lines.map { "\t\($0)\n" }.joined()
    }

    /// Written anew for each server; few there are.
    private static func write(_ state: inout State) throws {
        if state.path == nil {
            if let own = ProcessInfo.processInfo.environment["FREETDSCONF"] {
                state.own = (try? String(contentsOfFile: own, encoding: .utf8)) ?? ""
            }
            let folder = URL.temporaryDirectory.appending(path: "tidemark-\(UUID().uuidString)")
            try FileManager.default.createDirectory(
                at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            state.path = folder.appending(path: "freetds.conf").path
            atexit { FreeTDSConfiguration.remove() }
        }
        guard let path = state.path else { return }
        let text = state.own + "\n" + state.sections.map { "[\($0.name)]\n\($0.text)" }.joined()
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        setenv("FREETDSCONF", path, 1)
    }
}

extension FreeTDSConfiguration {
    /// Takes the file away when the process ends in order.
    private static func remove() {
        let path = state.withLock { $0.path }
        if let path { try? FileManager.default.removeItem(at: URL(filePath: path).deletingLastPathComponent()) }
    }
}
