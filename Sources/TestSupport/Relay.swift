import Foundation

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Listens on a port of the loopback interface, and opens a connection to a server for each that comes.
///
/// What happens between the two is the user's: `pump` copies one direction.
package final class Relay: Sendable {
    package var port: Int { listener.port }
    private let listener: Listener

    /// - Parameters:
    ///   - host: the server's name or IPv4 address.
    ///   - begin: takes both ends of a new connection, on the thread that accepts; `false` to have them closed.
    package init(
        to host: String = "127.0.0.1", port target: Int,
        begin: @escaping @Sendable (_ client: Int32, _ server: Int32) -> Bool
    ) throws {
        let listener = try Listener()
        self.listener = listener
        Thread {
            while true {
                let client = accept(listener.socket, nil, nil)
                guard client >= 0 else { return }
                guard let server = Self.connect(host, target) else {
                    close(client)
                    continue
                }
                guard !begin(client, server) else { continue }
                close(client)
                close(server)
            }
        }.start()
    }

    deinit { shutdown(listener.socket, Int32(SHUT_RDWR)) }

    private static func connect(_ host: String, _ port: Int) -> Int32? {
        var hints = addrinfo()
        hints.ai_family = AF_INET
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, "\(port)", &hints, &found) == 0, let found else { return nil }
        defer { freeaddrinfo(found) }
        let socket = Listener.makeSocket()
        #if canImport(Glibc)
        let result = Glibc.connect(socket, found.pointee.ai_addr, found.pointee.ai_addrlen)
        #else
        let result = Darwin.connect(socket, found.pointee.ai_addr, found.pointee.ai_addrlen)
        #endif
        guard result == 0 else {
            close(socket)
            return nil
        }
        return socket
    }

    /// Copies one direction, on a thread of its own, until it ends; then ends the other. The descriptors stay open for
    /// the process's life, so that their numbers are nobody else's.
    ///
    /// - Parameters:
    ///   - ended: told when it has ended.
    ///   - pass: hands on what came, piece by piece, with `send`; `false` ends both directions.
    package static func pump(
        _ from: Int32, _ to: Int32, ended: @escaping @Sendable () -> Void = {},
        pass: @escaping @Sendable (_ bytes: ArraySlice<UInt8>) -> Bool
    ) {
        Thread {
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            while true {
                let count = recv(from, &buffer, buffer.count, 0)
                guard count > 0, pass(buffer[..<count]) else { break }
            }
            end(from)
            end(to)
            ended()
        }.start()
    }

    /// Sends all of it; `false` when the other side is gone.
    package static func send(_ bytes: some Collection<UInt8>, to socket: Int32) -> Bool {
        let bytes = Array(bytes)
        var sent = 0
        while sent < bytes.count {
            let written = bytes.withUnsafeBytes {
                #if canImport(Glibc)
                Glibc.send(socket, $0.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
                #else
                Darwin.send(socket, $0.baseAddress! + sent, bytes.count - sent, 0)
                #endif
            }
            guard written > 0 else { return false }
            sent += written
        }
        return true
    }

    /// Ends a connection in both directions.
    package static func end(_ socket: Int32) { shutdown(socket, Int32(SHUT_RDWR)) }
}
