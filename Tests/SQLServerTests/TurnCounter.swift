import Foundation
import ODBC

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// A TCP relay in front of a server that counts how often clients, having been answered, speak again: round trips.
final class TurnCounter: @unchecked Sendable {
    let port: Int
    private let listener: Int32
    private let target: (host: String, port: Int)
    private let lock = NSLock()
    // Guarded by `lock`.
    private var count = 0

    init(host: String, port target: Int) throws {
        self.target = (host, target)
        listener = Self.socket()
        var address = Self.address(port: 0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let (listener, size) = (listener, length)
        port = try withUnsafeMutablePointer(to: &address) { pointer in
            try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                guard bind(listener, $0, size) == 0, listen(listener, 16) == 0, getsockname(listener, $0, &length) == 0
                else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
            }
            return Int(UInt16(bigEndian: pointer.pointee.sin_port))
        }
        Thread { [weak self] in
            while true {
                let client = accept(listener, nil, nil)
                guard client >= 0, let self else { return }
                guard let server = self.connected() else {
                    close(client)
                    continue
                }
                self.relay(client, server)
            }
        }.start()
    }

    deinit { shutdown(listener, Int32(SHUT_RDWR)) }

    /// Round trips begun so far, on all connections.
    var turns: Int { lock.withLock { count } }

    private func connected() -> Int32? {
        let socket = Self.socket()
        var hints = addrinfo()
        hints.ai_family = AF_INET
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(target.host, "\(target.port)", &hints, &found) == 0, let found else { return nil }
        defer { freeaddrinfo(found) }
        return connect(socket, found.pointee.ai_addr, found.pointee.ai_addrlen) == 0 ? socket : nil
    }

    private func relay(_ client: Int32, _ server: Int32) {
        let side = Side()
        Thread { [weak self] in
            Self.pump(client, server) {
                guard side.set(isClient: true) else { return }
                self?.lock.withLock { self?.count += 1 }
            }
        }.start()
        Thread { Self.pump(server, client) { _ = side.set(isClient: false) } }.start()
    }

    /// Who spoke last.
    private final class Side: @unchecked Sendable {
        private let lock = NSLock()
        private var isClient = false

        /// Returns whether that is a change.
        func set(isClient new: Bool) -> Bool {
            lock.withLock {
                defer { isClient = new }
                return isClient != new
            }
        }
    }

    private static func pump(_ from: Int32, _ to: Int32, _ heard: () -> Void) {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = recv(from, &buffer, buffer.count, 0)
            guard count > 0 else { break }
            heard()
            var sent = 0
            while sent < count {
                let written = buffer.withUnsafeBytes { send(to, $0.baseAddress! + sent, count - sent, noSignal) }
                guard written > 0 else { break }
                sent += written
            }
        }
        shutdown(from, Int32(SHUT_RDWR))
        shutdown(to, Int32(SHUT_RDWR))
    }

    private static func address(port: Int) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return address
    }

    #if canImport(Glibc)
    private static let noSignal = Int32(MSG_NOSIGNAL)
    private static func socket() -> Int32 { Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0) }
    #else
    private static let noSignal: Int32 = 0
    private static func socket() -> Int32 { Darwin.socket(AF_INET, SOCK_STREAM, 0) }
    #endif
}
