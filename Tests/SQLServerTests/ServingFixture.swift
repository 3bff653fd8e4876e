import ContractTests
import Foundation
import ODBC
import Synchronization
import Testing
import Tidemark

@testable import SQLServer

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// The server the serving tests run on.
enum ServingServer {
    static func target(_ database: String, through port: Int? = nil) throws -> ConnectionString {
        try #require(TestServer.serving).target(database: database, through: port)
    }

    static func connect(_ name: String) throws -> Connection {
        let connection = try Environment().connect(target(name), queryTimeout: .seconds(60))
        try connection.execute(SQLServerDatabase.sessionSettings)
        return connection
    }

    /// The scripts the package ships that make tables.
    static func scripts() throws -> [(name: String, text: String)] {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "sql/serving")
        let tables = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
            .filter { !$0.hasSuffix("_database.sql") && !$0.hasSuffix("_roles.sql") }
        return try tables.map { name in
            (name, try String(contentsOf: folder.appending(path: name), encoding: .utf8))
        }
    }
}

/// A serving database of one test's own.
final class SQLServerServingFixture: ServingFixture {
    let name: String
    let serving: SQLServerServing
    /// Babelfish, whose PostgreSQL has no U+0000 in text, and no MERGE, lock hints and named constraints besides.
    let isBabelfish: Bool
    let warnings = Warnings()

    var store: any ServingStore { serving }
    var keepsNUL: Bool { !isBabelfish }

    /// Runs `body` with a database that is bootstrapped, and drops it afterwards.
    static func run(
        isBootstrapped: Bool = true, _ body: (SQLServerServingFixture) async throws -> Void
    ) async throws {
        let name = "tm_srv_\(UUID().uuidString.prefix(8).lowercased())"
        let master = try ServingServer.connect("master")
        // A server may refuse to make two databases at once.
        for attempt in 1... {
            do {
                try master.execute("CREATE DATABASE \(name)")
                break
            } catch {
                guard attempt < 50 else { throw error }
                try await Task.sleep(for: .milliseconds(100))
            }
        }
        let result: Result<Void, any Error>
        do {
            let fixture = try SQLServerServingFixture(name)
            if isBootstrapped { try await fixture.serving.bootstrap() }
            result = .success(try await body(fixture))
        } catch {
            result = .failure(error)
        }
        // Connections close on threads of their own.
        for attempt in 1...50 {
            do {
                _ = try? master.execute("ALTER DATABASE \(name) SET SINGLE_USER WITH ROLLBACK IMMEDIATE")
                try master.execute("DROP DATABASE \(name)")
                break
            } catch {
                if attempt == 50 { Issue.record("\(name) could not be dropped: \(error)") }
                try await Task.sleep(for: .milliseconds(100))
            }
        }
        try result.get()
    }

    private init(_ name: String) throws {
        self.name = name
        let connection = try ServingServer.connect(name)
        isBabelfish = try connection.scalar("SELECT @@VERSION").string?.contains("Babelfish") ?? false
        let warnings = warnings
        serving = try Self.make(name, warnings: warnings)
    }

    private static func make(_ name: String, through port: Int? = nil, warnings: Warnings) throws -> SQLServerServing {
        let target = try ServingServer.target(name, through: port)
        return SQLServerServing(
            try SQLServerDatabase(target, role: "serving", place: name), scripts: try ServingServer.scripts(),
            warn: { warnings.add($0) })
    }

    func another() async throws -> any ServingStore { try store() }

    /// Another store on the database, by way of a relay's port.
    func store(through port: Int? = nil) throws -> SQLServerServing {
        try Self.make(name, through: port, warnings: warnings)
    }

    var dsn: SQLServerDSN {
        get throws { try #require(TestServer.serving).dsn(database: name) }
    }

    /// A plain connection, as another program has one.
    func connect() throws -> Connection { try ServingServer.connect(name) }

    func execute(_ sql: String) throws { try connect().execute(sql) }

    func rows(_ sql: String) throws -> [[Value]] { try connect().query(sql).rows() }

    func count(_ table: String) throws -> Int {
        Int(try connect().scalar("SELECT CAST(COUNT(*) AS bigint) FROM \(table)").int64 ?? -1)
    }
}

/// Sentences a store told its operator.
final class Warnings: Sendable {
    private let list = Mutex<[String]>([])
    var all: [String] { list.withLock { $0 } }
    func add(_ sentence: String) { list.withLock { $0.append(sentence) } }
}

/// Passes a TDS connection on, and cuts it at a COMMIT.
///
/// The request is a packet of type 14 (transaction manager) with request type 7:
/// https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/14 (MS-TDS 2.2.6.9)
final class CommitCuttingProxy: @unchecked Sendable {
    enum Cut: Sendable {
        /// The server never sees the COMMIT.
        case before
        /// The server commits, and its answer is lost.
        case after
    }

    let port: Int
    private let listener: Int32
    private let target: (host: String, port: Int)
    private let lock = NSLock()
    // Guarded by `lock`.
    private var cut: Cut?
    private var cuts = 0

    init(to target: (host: String, port: Int)) throws {
        self.target = target
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listener = listener
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                bind(listener, pointer, length) == 0 && listen(listener, 8) == 0
                    ? getsockname(listener, pointer, &length) : -1
            }
        }
        guard result == 0 else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
        port = Int(UInt16(bigEndian: address.sin_port))
        Thread { [weak self] in
            while true {
                let client = accept(listener, nil, nil)
                guard client >= 0, let self, let server = self.connectToTarget() else { return }
                self.pump(client, server, isRequest: true)
                self.pump(server, client, isRequest: false)
            }
        }.start()
    }

    deinit {
        shutdown(listener, Int32(SHUT_RDWR))
        close(listener)
    }

    /// Cuts the connection of the next COMMIT, once.
    func arm(_ cut: Cut) { lock.withLock { self.cut = cut } }

    var cutCount: Int { lock.withLock { cuts } }

    private func connectToTarget() -> Int32? {
        let server = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(target.port).bigEndian
        inet_pton(AF_INET, target.host, &address.sin_addr)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(server, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        return result == 0 ? server : nil
    }

    private func pump(_ from: Int32, _ to: Int32, isRequest: Bool) {
        Thread { [self] in
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            var waiting: [UInt8] = []
            stream: while true {
                let count = recv(from, &buffer, buffer.count, 0)
                guard count > 0 else { break }
                waiting += buffer[..<count]
                while let length = Self.packetLength(waiting), waiting.count >= length {
                    let packet = Array(waiting[..<length])
                    waiting.removeFirst(length)
                    let cut = isRequest && Self.isCommit(packet) ? takeCut() : nil
                    guard cut != .before, Self.sendAll(packet, to) else { break stream }
                    if cut == .after {
                        // The client hears nothing more; the server commits before it sees the end.
                        shutdown(from, Int32(SHUT_RDWR))
                        Thread.sleep(forTimeInterval: 0.2)
                        break stream
                    }
                }
            }
            shutdown(from, Int32(SHUT_RDWR))
            shutdown(to, Int32(SHUT_RDWR))
        }.start()
    }

    /// Bytes of the packet or, while the login is encrypted, of the TLS record that `bytes` begins with.
    private static func packetLength(_ bytes: [UInt8]) -> Int? {
        guard bytes.count >= 8 else { return nil }
        return (20...23).contains(bytes[0])
            ? 5 + (Int(bytes[3]) << 8 | Int(bytes[4])) : max(8, Int(bytes[2]) << 8 | Int(bytes[3]))
    }

    private static func sendAll(_ bytes: [UInt8], _ socket: Int32) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let written = bytes.withUnsafeBytes {
                send(socket, $0.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
            }
            guard written > 0 else { return false }
            sent += written
        }
        return true
    }

    private func takeCut() -> Cut? {
        lock.withLock {
            defer { cut = nil }
            if cut != nil { cuts += 1 }
            return cut
        }
    }

    private static func isCommit(_ bytes: [UInt8]) -> Bool {
        // 8 bytes of packet header; then headers, whose length comes first; then the request type.
        guard bytes.count > 12, bytes[0] == 14 else { return false }
        let headers = Int(bytes[8]) | Int(bytes[9]) << 8
        return bytes.count > 9 + headers && bytes[8 + headers] == 7
    }
}
