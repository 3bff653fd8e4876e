import Synchronization

/// Puts a client's packets together from the pieces that arrive.
final class TDSPackets: Sendable {
    private let waiting = Mutex<[UInt8]>([])

    /// The packets that are whole with these bytes.
    func take(_ bytes: ArraySlice<UInt8>) -> [[UInt8]] {
        waiting.withLock { waiting in
            waiting += bytes
            var packets: [[UInt8]] = []
            while let length = Self.length(waiting), waiting.count >= length {
                packets.append(Array(waiting[..<length]))
                waiting.removeFirst(length)
            }
            return packets
        }
    }

    /// Bytes of the packet or, while the login is encrypted, of the TLS record that `bytes` begins with.
    private static func length(_ bytes: [UInt8]) -> Int? {
        guard bytes.count >= 8 else { return nil }
        return (20...23).contains(bytes[0])
            ? 5 + (Int(bytes[3]) << 8 | Int(bytes[4])) : max(8, Int(bytes[2]) << 8 | Int(bytes[3]))
    }

    static func isCommit(_ bytes: [UInt8]) -> Bool {
        // 8 bytes of packet header; then headers, whose length comes first; then the request type.
        guard bytes.count > 12, bytes[0] == 14 else { return false }
        let headers = Int(bytes[8]) | Int(bytes[9]) << 8
        return bytes.count > 9 + headers && bytes[8 + headers] == 7
    }
}
