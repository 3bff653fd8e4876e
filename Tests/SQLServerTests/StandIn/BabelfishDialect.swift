import Foundation
import Synchronization
import TestSupport
import Testing

@testable import SQLServer

/// Stands between a program and Babelfish, and puts something that Babelfish understands in place of what it does not.
///
/// So the very statements that SQL Server gets are run, but for those named in `replacements`.
final class BabelfishDialect: Sendable {
    /// What Babelfish refuses, and what it gets instead.
    static let replacements: [(refused: String, instead: String)] = [
        // It knows no grants beyond those on rows; what a database's role then lacks, `grantTables` adds.
        ("GRANT ALTER ON SCHEMA::dbo TO tidemark_writer;", ""),
        ("GRANT CREATE TABLE TO tidemark_writer;", ""),
        ("GRANT VIEW DATABASE STATE TO tidemark_reader;", ""),
        ("N'GRANT VIEW DEFINITION ON OBJECT::'", "N'--'"),
        ("N'DENY SELECT ON OBJECT::dbo.'", "N'--'"),
        // The stand-in's jobs start and end at once.
        ("WAITFOR DELAY '00:00:01';", ""),
        // Change data capture is the stand-in's.
        ("is_cdc_enabled = 1", "SCHEMA_ID('cdc')>0"),
        ("msdb.dbo.sysjobactivity", "cdc.sysjobactivity"),
        ("msdb.dbo.cdc_jobs", "cdc.cdc_jobs"),
        // To Babelfish every role is a fixed one.
        ("p.is_fixed_role = 0", "p.name<>'db_owner'"),
    ]

    private let relay: Relay

    /// - Parameters:
    ///   - server: reached without encryption, as the relay has to read what is said.
    ///   - more: replacements of one test's own; they may not be longer than what they replace.
    init(before server: TestServer, _ more: [(refused: String, instead: String)] = []) throws {
        let address = try #require(server.address, "the DSN does not name Babelfish by an IPv4 address")
        let replacements = (more + Self.replacements).map { refused, instead in
            precondition(instead.count <= refused.count)
            return (
                Self.utf16(refused), Self.utf16(instead.padding(toLength: refused.count, withPad: " ", startingAt: 0))
            )
        }
        relay = try Relay(to: address.host, port: address.port) { client, server in
            let packets = TDSPackets()
            let message = Message()
            Relay.pump(client, server) { bytes in
                packets.take(bytes).allSatisfy { packet in
                    message.take(packet, replacements).allSatisfy { Relay.send($0, to: server) }
                }
            }
            Relay.pump(server, client) { Relay.send($0, to: client) }
            return true
        }
    }

    var port: Int { relay.port }

    private static func utf16(_ text: String) -> Data {
        Data(text.utf16.flatMap { [UInt8($0 & 0xff), UInt8($0 >> 8)] })
    }

    /// The packets of a request that has not come to its end.
    private final class Message: Sendable {
        private static let headerLength = 8
        /// A batch, and a call of a procedure, as which a statement with parameters is sent.
        private static let changed: [UInt8] = [1, 3]
        private static let endOfMessage: UInt8 = 1
        private let waiting = Mutex<[[UInt8]]>([])

        /// The packets to send now: those of a request, changed, with its last.
        func take(_ packet: [UInt8], _ replacements: [(Data, Data)]) -> [[UInt8]] {
            guard packet.count > Self.headerLength, Self.changed.contains(packet[0]) else { return [packet] }
            let packets = waiting.withLock { waiting -> [[UInt8]]? in
                waiting.append(packet)
                guard packet[1] & Self.endOfMessage != 0 else { return nil }
                defer { waiting = [] }
                return waiting
            }
            guard let packets else { return [] }
            var text = Data(packets.flatMap { $0.dropFirst(Self.headerLength) })
            for (refused, instead) in replacements {
                while let range = text.range(of: refused) { text.replaceSubrange(range, with: instead) }
            }
            var rest = text[...]
            return packets.map { packet in
                let length = packet.count - Self.headerLength
                defer { rest = rest.dropFirst(length) }
                return Array(packet.prefix(Self.headerLength) + rest.prefix(length))
            }
        }
    }
}
