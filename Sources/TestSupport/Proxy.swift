import Synchronization

/// A TCP proxy on the loopback interface, to cut connections with.
package final class Proxy: Sendable {
    private struct State {
        var sockets: [Int32] = []
        var isDown = false
    }

    private let relay: Relay
    private let state: Shared

    /// What the relay's thread has as well.
    private final class Shared: Sendable {
        let state = Mutex(State())
    }

    package var port: Int { relay.port }

    /// - Parameter host: the server's name or IPv4 address.
    package init(to host: String = "127.0.0.1", port target: Int) throws {
        let shared = Shared()
        state = shared
        relay = try Relay(to: host, port: target) { client, server in
            let isTaken = shared.state.withLock { state in
                guard !state.isDown else { return false }
                state.sockets += [client, server]
                return true
            }
            guard isTaken else { return false }
            Relay.pump(client, server) { Relay.send($0, to: server) }
            Relay.pump(server, client) { Relay.send($0, to: client) }
            return true
        }
    }

    deinit { cut() }

    /// Ends all connections at once; new ones are possible.
    package func cut() {
        state.state.withLock { state in
            for socket in state.sockets { Relay.end(socket) }
            state.sockets = []
        }
    }

    /// Ends all connections and refuses new ones, until `up`.
    package func down() {
        state.state.withLock { $0.isDown = true }
        cut()
    }

    package func up() { state.state.withLock { $0.isDown = false } }
}
