import Synchronization
import TestSupport

/// A TCP relay in front of a server that counts how often clients, having been answered, speak again: round trips.
final class TurnCounter: Sendable {
    private let relay: Relay
    private let count: Count

    private final class Count: Sendable {
        let turns = Mutex(0)
    }

    init(host: String, port target: Int) throws {
        let count = Count()
        self.count = count
        relay = try Relay(to: host, port: target) { client, server in
            let side = Side()
            Relay.pump(client, server) { bytes in
                if side.set(isClient: true) { count.turns.withLock { $0 += 1 } }
                return Relay.send(bytes, to: server)
            }
            Relay.pump(server, client) { bytes in
                _ = side.set(isClient: false)
                return Relay.send(bytes, to: client)
            }
            return true
        }
    }

    var port: Int { relay.port }

    /// Round trips begun so far, on all connections.
    var turns: Int { count.turns.withLock { $0 } }

    /// Who spoke last.
    private final class Side: Sendable {
        private let isClient = Mutex(false)

        /// Whether the speaker is another one than before.
        func set(isClient speaker: Bool) -> Bool {
            isClient.withLock { isClient in
                defer { isClient = speaker }
                return isClient != speaker
            }
        }
    }
}
