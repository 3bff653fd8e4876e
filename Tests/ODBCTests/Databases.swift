import Foundation
import ODBC
import TestSupport
import Testing

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// What the tests need from the machine, and why they are skipped without it.
enum Installed {
    private static let drivers: Set<String> = {
        guard let environment = try? Environment() else { return [] }
        return Set(environment.drivers())
    }()

    static let sqlite = drivers.contains("SQLite3")
    static let freeTDS = drivers.contains("FreeTDS")
    static let postgreSQL = drivers.contains("PostgreSQL Unicode") && PostgreSQL.binaries != nil

    static let sqliteHint: Comment = "the ODBC driver SQLite3 is not installed: run scripts/install-odbc"
    static let freeTDSHint: Comment = "the ODBC driver FreeTDS is not installed: run scripts/install-odbc"
    static let postgreSQLHint: Comment =
        "PostgreSQL or its ODBC driver is not installed: run scripts/install-odbc --tests"
}

/// A folder for one test's files, deleted with it.
final class TemporaryDirectory: Sendable {
    let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory.appending(path: "odbc-tests-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit {
        try? FileManager.default.removeItem(at: url)
    }

    func path(_ name: String) -> String {
        url.appending(path: name).path
    }
}

/// A PostgreSQL server of this test run's own, on the loopback interface only.
///
/// It is the child of a shell that stops it and deletes its files when its standard input ends, so that it
/// outlives no test run, however that ends.
final class PostgreSQL: Sendable {
    static let shared = Result { try PostgreSQL() }

    static let password = "pa;ss}word=1"

    /// The folder with `initdb` and `pg_ctl`, which Debian keeps out of PATH.
    static let binaries: String? = {
        let debian = "/usr/lib/postgresql"
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: debian)) ?? []
        let folders =
            versions.sorted { $0.compare($1, options: .numeric) == .orderedDescending }.map { "\(debian)/\($0)/bin" }
            + ["/opt/homebrew/opt/postgresql@17/bin", "/usr/local/opt/postgresql@17/bin"]
        return folders.first { FileManager.default.isExecutableFile(atPath: "\($0)/initdb") }
    }()

    let port: Int
    private let input: FileHandle
    private let environment: Environment

    private struct StartError: Error, CustomStringConvertible {
        let description: String
    }

    private static let script = """
        set -eu
        umask 077
        dir=$(mktemp -d)
        trap 'rm -rf "$dir"' EXIT
        printf '%s' "$PASSWORD" >"$dir/password"
        "$BIN/initdb" -D "$dir/data" -U tester --pwfile="$dir/password" -A scram-sha-256 -E UTF8 --locale=C \\
            --no-sync >"$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
        "$BIN/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 30 -o "-p $PORT -c listen_addresses=127.0.0.1 \\
            -c unix_socket_directories=$dir -c fsync=off -c deadlock_timeout=100ms" start >"$dir/start" 2>&1 ||
            { cat "$dir/log"; exit 1; }
        echo ready
        cat >/dev/null
        "$BIN/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null 2>&1
        """

    private init() throws {
        environment = try Environment()
        port = try Self.freePort()
        let process = Process()
        // PostgreSQL refuses to run as root.
        if getuid() == 0 {
            process.executableURL = URL(filePath: "/usr/sbin/runuser")
            process.arguments = ["-u", "postgres", "--", "/bin/sh", "-c", Self.script]
        } else {
            process.executableURL = URL(filePath: "/bin/sh")
            process.arguments = ["-c", Self.script]
        }
        process.environment = [
            "PATH": "/usr/bin:/bin", "BIN": Self.binaries ?? "", "PORT": "\(port)", "PASSWORD": Self.password,
            "LC_ALL": "C",
            "TMPDIR": "/tmp",
        ]
        process.currentDirectoryURL = URL(filePath: "/")
        let stdin = Pipe()
        let stdout = Pipe()
        process.standardInput = stdin
        process.standardOutput = stdout
        try process.run()
        input = stdin.fileHandleForWriting
        var output = ""
        while !output.contains("ready\n") {
            let data = stdout.fileHandleForReading.availableData
            guard !data.isEmpty else { throw StartError(description: "PostgreSQL did not start: \(output)") }
            output += String(decoding: data, as: UTF8.self)
        }
    }

    private static func freePort() throws -> Int {
        let listener = try Listener()
        return listener.port
    }

    func target(port: Int? = nil, password: String = PostgreSQL.password) -> ConnectionString {
        ConnectionString([
            "Driver": "PostgreSQL Unicode", "Servername": "127.0.0.1", "Port": "\(port ?? self.port)",
            "Database": "postgres",
            "UID": "tester", "PWD": password, "BoolsAsChar": "0",
        ])
    }

    func connect(queryTimeout: Duration? = .seconds(30)) throws -> Connection {
        try environment.connect(target(), queryTimeout: queryTimeout)
    }

    func session(name: String = "odbc test") async throws -> Session {
        try await Session(environment, target(), queryTimeout: .seconds(30), name: name)
    }
}
