import Foundation

/// Seconds `body` takes.
func seconds(_ body: () async throws -> Void) async rethrows -> Double {
    let start = ContinuousClock.now
    try await body()
    return (ContinuousClock.now - start) / .seconds(1)
}

func report(_ name: String, _ value: String, target: String? = nil) {
    let padded = name.padding(toLength: max(name.count, 66), withPad: " ", startingAt: 0)
    say("  \(padded)  \(value)\(target.map { "   (target: \($0))" } ?? "")")
}

func format(_ value: Double, _ digits: Int = 2) -> String { String(format: "%.\(digits)f", value) }

/// The middle one of several measurements.
func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

enum Machine {
    static var description: String {
        let info = ProcessInfo.processInfo
        let memory = info.physicalMemory / (1 << 30)
        return "\(info.processorCount) cores, \(memory) GiB, \(info.operatingSystemVersionString), \(processor)"
    }

    private static var processor: String {
        guard let text = try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8) else {
            return "unknown processor"
        }
        let line = text.split(separator: "\n").first { $0.hasPrefix("model name") }
        return line.map { String($0.split(separator: ":")[1]).trimmingCharacters(in: .whitespaces) }
            ?? "unknown processor"
    }

    /// The most memory this process has held at once, in MiB; `nil` where the system does not say.
    ///
    /// Not `getrusage`: what it tells survives `exec`, so a child would report its parent's peak.
    static var peakMemory: Int? { peakMemory(of: "self") }

    /// The same of another process.
    static func peakMemory(of process: String) -> Int? {
        guard let text = try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") }),
            let kibibytes = line.split(separator: " ").dropFirst().first.flatMap({ Int($0) })
        else { return nil }
        return kibibytes / 1024
    }
}

/// Prints a line at once, also into a pipe.
func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }
