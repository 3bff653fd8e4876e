import Synchronization

/// A TCP proxy on the loopback interface, to cut connections with, or to keep them open and let no answer through.
package final class Proxy: Sendable {
    private struct State {
        var sockets: [Int32] = []
        var isDown = false
        var isSilent = false
        /// Tells the request that silence begins with.
        var hushes: (@Sendable (ArraySlice<UInt8>) -> Bool)?
        /// By their server's ends: connections that an answer was kept from, which can make no sense of a later one.
        var muted: Set<Int32> = []
        var swallowed = 0
        /// By their clients' ends: connections that are open on that side.
        var clients: Set<Int32> = []
    }

    private let relay: Relay
    private let state: Shared

    /// What the relay's thread has as well.
    private final class Shared: Sendable {
        let state = Mutex(State())

        func look(at request: ArraySlice<UInt8>) {
            state.withLock { state in
                guard state.hushes?(request) == true else { return }
                (state.hushes, state.isSilent) = (nil, true)
            }
        }

        /// Whether these bytes go no further.
        func swallows(_ count: Int, from server: Int32) -> Bool {
            state.withLock { state in
                if state.isSilent { state.muted.insert(server) }
                guard state.muted.contains(server) else { return false }
                state.swallowed += count
                return true
            }
        }
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
                state.clients.insert(client)
                return true
            }
            guard isTaken else { return false }
            let ended: @Sendable () -> Void = { shared.state.withLock { _ = $0.clients.remove(client) } }
            Relay.pump(client, server, ended: ended) { bytes in
                shared.look(at: bytes)
                return Relay.send(bytes, to: server)
            }
            Relay.pump(server, client) { shared.swallows($0.count, from: server) || Relay.send($0, to: client) }
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

    /// Keeps connections open, hands requests on, and lets no answer through, until `speak`.
    package func hush() { state.state.withLock { $0.isSilent = true } }

    /// As `hush()`, from the first request on that `isIt` recognises.
    package func hush(when isIt: @escaping @Sendable (_ request: ArraySlice<UInt8>) -> Bool) {
        state.state.withLock { $0.hushes = isIt }
    }

    /// Lets answers through to connections that lost none.
    package func speak() { state.state.withLock { $0.isSilent = false } }

    /// Connections that clients have open.
    package var connections: Int { state.state.withLock { $0.clients.count } }

    /// Bytes of answers that were kept back.
    package var swallowed: Int { state.state.withLock { $0.swallowed } }
}
