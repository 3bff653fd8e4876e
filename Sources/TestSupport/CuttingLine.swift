import Synchronization

/// TCP relays before servers, which end connections at requests chosen as they come.
///
///     let line = CuttingLine()
///     let port = try line.open(to: "127.0.0.1", port: 1433)
///     line.lose { .answer }
///     … // the next request is carried out, and its answer lost with the connection
package final class CuttingLine: Sendable {
    /// What is lost with the connection.
    package enum Loss: String, Sendable, CaseIterable {
        /// The server does not see the request.
        case request
        /// The server carries the request out, and the client does not see the answer.
        case answer
    }

    private let shared = Shared()
    private let relays = Mutex<[Relay]>([])

    private final class Shared: Sendable {
        let choose = Mutex<(@Sendable () -> Loss?)?>(nil)
    }

    package init() {}

    /// Opens a way to a server, and returns its port on this machine.
    package func open(to host: String, port: Int) throws -> Int {
        let relay = try Relay(to: host, port: port) { [shared] client, server in
            let side = Side()
            Relay.pump(client, server) { bytes in
                if side.begins() {
                    switch shared.choose.withLock({ $0 })?() {
                    case .request: return false
                    case .answer: side.losesAnswer()
                    case nil: break
                    }
                }
                return Relay.send(bytes, to: server)
            }
            Relay.pump(server, client) { bytes in
                side.answers() && Relay.send(bytes, to: client)
            }
            return true
        }
        relays.withLock { $0.append(relay) }
        return relay.port
    }

    /// - Parameter choose: asked at each request, which is each time that a client, having been answered, speaks again:
    ///   what to lose with it, or `nil`.
    package func lose(_ choose: @escaping @Sendable () -> Loss?) { shared.choose.withLock { $0 = choose } }

    /// One connection: who spoke last, and whether the answer that comes is lost.
    private final class Side: Sendable {
        private let state = Mutex((isClient: false, losesAnswer: false))

        /// Whether these are the first bytes of a request.
        func begins() -> Bool {
            state.withLock { state in
                defer { state.isClient = true }
                return !state.isClient
            }
        }

        func losesAnswer() { state.withLock { $0.losesAnswer = true } }

        /// Whether the answer may pass.
        func answers() -> Bool {
            state.withLock { state in
                state.isClient = false
                return !state.losesAnswer
            }
        }
    }
}
