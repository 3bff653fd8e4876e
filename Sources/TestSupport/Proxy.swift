import Foundation

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// A TCP proxy on the loopback interface, to cut connections with.
package final class Proxy: @unchecked Sendable {
    package let port: Int
    private let listener: Listener
    private let lock = NSLock()
    // Guarded by `lock`.
    private var sockets: [Int32] = []
    private var isDown = false

    package init(to target: Int) throws {
        listener = try Listener()
        port = listener.port
        let socket = listener.socket
        Thread { [weak self] in
            while true {
                let client = accept(socket, nil, nil)
                guard client >= 0, let self else { return }
                guard !self.lock.withLock({ self.isDown }), let server = Self.connect(target) else {
                    close(client)
                    continue
                }
                self.lock.withLock { self.sockets += [client, server] }
                Self.pump(client, server)
                Self.pump(server, client)
            }
        }.start()
    }

    deinit {
        cut()
        shutdown(listener.socket, Int32(SHUT_RDWR))
    }

    /// Ends all connections at once; new ones are possible.
    package func cut() {
        lock.withLock {
            for socket in sockets { shutdown(socket, Int32(SHUT_RDWR)) }
            sockets = []
        }
    }

    /// Ends all connections and refuses new ones, until `up`.
    package func down() {
        lock.withLock { isDown = true }
        cut()
    }

    package func up() { lock.withLock { isDown = false } }

    private static func connect(_ port: Int) -> Int32? {
        #if canImport(Glibc)
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        #else
        let socket = Darwin.socket(AF_INET, SOCK_STREAM, 0)
        #endif
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                #if canImport(Glibc)
                Glibc.connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                #else
                Darwin.connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                #endif
            }
        }
        guard result == 0 else {
            close(socket)
            return nil
        }
        return socket
    }

    /// Copies one direction until it ends, then ends the other. The descriptors stay open for the process's life,
    /// so that their numbers are nobody else's.
    private static func pump(_ from: Int32, _ to: Int32) {
        Thread {
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            while true {
                let count = recv(from, &buffer, buffer.count, 0)
                guard count > 0 else { break }
                var sent = 0
                while sent < count {
                    let written = buffer.withUnsafeBytes { send(to, $0.baseAddress! + sent, count - sent, noSignal) }
                    guard written > 0 else { break }
                    sent += written
                }
                guard sent == count else { break }
            }
            shutdown(from, Int32(SHUT_RDWR))
            shutdown(to, Int32(SHUT_RDWR))
        }.start()
    }

    #if canImport(Glibc)
    private static let noSignal = Int32(MSG_NOSIGNAL)
    #else
    private static let noSignal: Int32 = 0
    #endif
}
