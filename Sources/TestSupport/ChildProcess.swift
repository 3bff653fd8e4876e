package import Foundation
import Synchronization

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// A program as a process in a group of its own, its output in files or on a pseudo-terminal.
///
/// The whole group is killed with the value, so that no test leaves anything running.
package final class ChildProcess: Sendable {
    /// Where standard output and standard error go.
    package enum Output {
        case files(output: String, errors: String)
        /// Standard output to a file, standard error to a pipe that nobody reads any more.
        case brokenPipe(output: String)
        /// Both to a terminal of this many columns.
        case terminal(PseudoTerminal)
    }

    /// How a process ended.
    package enum End: Equatable, CustomStringConvertible {
        case exit(Int32)
        case signal(Int32)

        package var description: String {
            switch self {
            case .exit(let code): "exit code \(code)"
            case .signal(let number): "signal \(number)"
            }
        }
    }

    package let identifier: pid_t
    private let end = Mutex<End?>(nil)

    /// Starts `program`. Signals have their default effect in it, whatever this process does with them.
    package init(
        _ program: String, _ arguments: [String], environment: [String: String], directory: String, output: Output
    )
        throws
    {
        #if canImport(Darwin)
        var actions: posix_spawn_file_actions_t?
        var attributes: posix_spawnattr_t?
        #else
        var actions = posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        #endif
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        var broken: Pipe?
        defer { try? broken?.fileHandleForWriting.close() }
        switch output {
        case .files(let output, let errors):
            let flags = O_WRONLY | O_CREAT | O_TRUNC
            posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
            posix_spawn_file_actions_addopen(&actions, 1, output, flags, 0o644)
            posix_spawn_file_actions_addopen(&actions, 2, errors, flags, 0o644)
        case .brokenPipe(let output):
            let pipe = Pipe()
            try pipe.fileHandleForReading.close()
            posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
            posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
            posix_spawn_file_actions_adddup2(&actions, pipe.fileHandleForWriting.fileDescriptor, 2)
            broken = pipe
        case .terminal(let terminal):
            for descriptor in 0...2 as ClosedRange<Int32> {
                posix_spawn_file_actions_addopen(&actions, descriptor, terminal.name, O_RDWR | O_NOCTTY, 0)
            }
        }
        var defaults = sigset_t()
        var mask = sigset_t()
        sigemptyset(&defaults)
        sigemptyset(&mask)
        for signal in [SIGINT, SIGTERM, SIGPIPE, SIGHUP] { sigaddset(&defaults, signal) }
        posix_spawnattr_setsigdefault(&attributes, &defaults)
        posix_spawnattr_setsigmask(&attributes, &mask)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))

        // The shell changes the directory and becomes the program.
        let command = ["/bin/sh", "-c", "cd \"$0\" && exec \"$@\"", directory, program] + arguments
        let words = command.map { strdup($0) }
        let variables = environment.map { strdup("\($0.key)=\($0.value)") }
        defer { for pointer in words + variables { free(pointer) } }
        var identifier: pid_t = 0
        let code = posix_spawn(&identifier, command[0], &actions, &attributes, words + [nil], variables + [nil])
        guard code == 0 else { throw POSIXError(POSIXErrorCode(rawValue: code) ?? .EINVAL) }
        self.identifier = identifier
    }

    deinit {
        kill(-identifier, SIGKILL)
        if end.withLock({ $0 }) == nil { waitpid(identifier, nil, 0) }
    }

    /// Sends a signal to the process itself; nothing when it has ended.
    package func send(_ signal: Int32) {
        end.withLock { end in
            // Nobody waits for it while the lock is held, so the number is still this process's.
            if end == nil { kill(identifier, signal) }
        }
    }

    /// How the process has ended; `nil` while it runs.
    package var ended: End? {
        end.withLock { end in
            guard end == nil else { return end }
            var status: Int32 = 0
            guard waitpid(identifier, &status, WNOHANG) == identifier else { return nil }
            let signal = status & 0x7f
            end = signal == 0 ? .exit((status >> 8) & 0xff) : .signal(signal)
            return end
        }
    }

    /// Waits for the end; one that does not come in time is an error.
    package func wait(within limit: Duration = patience) async throws -> End {
        try await eventually("the process ends", within: limit) { self.ended != nil }
        return ended!
    }

    /// Kills the process with SIGKILL and waits until it is gone.
    package func killAndWait() async throws {
        send(SIGKILL)
        _ = try await wait()
    }
}

/// A pseudo-terminal, read to its end.
package final class PseudoTerminal: Sendable {
    /// The device a process opens.
    package let name: String
    private let controller: Int32
    private let bytes = Mutex<[UInt8]>([])

    package init(columns: UInt16, rows: UInt16 = 40) throws {
        var size = winsize(ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
        var (controller, device): (Int32, Int32) = (-1, -1)
        guard openpty(&controller, &device, nil, nil, &size) == 0 else { throw POSIXError(.ENOTTY) }
        defer { close(device) }
        self.controller = controller
        name = String(cString: ttyname(device))
        _ = fcntl(controller, F_SETFD, FD_CLOEXEC)
        Thread.detachNewThread { [weak self, controller] in
            var buffer = [UInt8](repeating: 0, count: 4096)
            while true {
                let count = read(controller, &buffer, buffer.count)
                if count < 0, errno == EINTR { continue }
                // EIO: the last process that had it open is gone, or none has opened it yet.
                if count < 0, errno == EIO {
                    guard self != nil else { break }
                    usleep(5000)
                    continue
                }
                guard count > 0 else { break }
                self?.bytes.withLock { $0 += buffer[..<count] }
            }
            close(controller)
        }
    }

    package var text: String { String(decoding: bytes.withLock { $0 }, as: UTF8.self) }
}
