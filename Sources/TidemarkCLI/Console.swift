import Foundation

#if canImport(Darwin)
import Darwin
#else
import Glibc
#endif

/// Standard output and standard error, unbuffered: whoever reads through a pipe has each line when it is written,
/// and lines come in the order they were written, whichever part of the program wrote them.
enum Console {
    /// Writes a line to standard output.
    static func line(_ text: String = "") { write(text + "\n", to: STDOUT_FILENO) }

    /// Writes `text` to standard output as it is.
    static func write(_ text: String) { write(text, to: STDOUT_FILENO) }

    /// Writes a line to standard error that begins with the program's name. Line breaks in `message` become spaces.
    static func complaint(_ message: String) {
        let line = message.split(whereSeparator: \.isNewline).joined(separator: " ")
        write("tidemark: \(line)\n", to: STDERR_FILENO)
    }

    /// Writes all of `text`. What cannot be written, such as to a closed pipe, is dropped.
    static func write(_ text: String, to descriptor: Int32) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let written = bytes.withUnsafeBytes { Self.write(descriptor, $0) }
            if written < 0, errno == EAGAIN {
                // A terminal that another program made non-blocking.
                usleep(1000)
                continue
            }
            guard written > 0 || errno == EINTR else { return }
            bytes = bytes.dropFirst(max(0, written))
        }
    }

    private static func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
        #if canImport(Darwin)
        Darwin.write(descriptor, bytes.baseAddress, bytes.count)
        #else
        Glibc.write(descriptor, bytes.baseAddress, bytes.count)
        #endif
    }

    /// Whether standard output is a terminal.
    static var isTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

    /// Columns of the terminal that standard output is; `nil` when it is none, or does not say.
    static var width: Int? {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
        return Int(size.ws_col)
    }
}
