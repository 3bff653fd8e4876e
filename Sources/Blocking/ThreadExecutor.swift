import Foundation

/// Runs an actor's work on a thread of its own, so that blocking calls hold up no other task.
///
///     actor Replica {
///         let executor = ThreadExecutor(name: "replica")
///         nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }
///     }
///
/// Swift runs tasks on as many threads as there are cores, and a blocked one is lost to all of them.
/// The thread ends when the executor is released and its last job is done.
public final class ThreadExecutor: SerialExecutor {
    private let queue: JobQueue

    /// - Parameter name: the thread's name in debuggers; Linux shows its first 15 bytes.
    public init(name: String) {
        let queue = JobQueue()
        self.queue = queue
        let thread = Thread { queue.run() }
        // As on a main thread: planning deep SQL recurses further, and drivers expect more, than macOS's 512 KiB for
        // others.
        thread.stackSize = 8 << 20
        thread.start()
        // Set by the thread itself and once it has started: Foundation names no other on Linux.
        queue.add { Thread.current.name = name }
    }

    deinit {
        queue.stop()
    }

    /// Whether the caller is on this executor's thread.
    public var isCurrent: Bool { queue.isCurrent }

    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        // A job may release the actor, and with it the last reference to this executor.
        queue.add { [self] in job.runSynchronously(on: asUnownedSerialExecutor()) }
    }

    public func checkIsolated() {
        precondition(isCurrent, "this code must run on its executor's thread")
    }

    /// Runs a blocking function on the thread and waits for it without blocking the caller's.
    public func run<Success>(_ body: sending @escaping () throws -> sending Success) async throws -> sending Success {
        try await run(Once(body))
    }

    package func run<Success>(_ work: Once<Success, any Error>) async throws -> sending Success {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Success, any Error>) in
            queue.add { [self] in
                withExtendedLifetime(self) { continuation.resume(with: Swift.Result { try work.body() }) }
            }
        }
    }

    /// Runs a blocking function that does not throw on the thread and waits for it.
    public func run<Success>(_ body: sending @escaping () -> sending Success) async -> sending Success {
        let work = Once(body)
        return await withCheckedContinuation { continuation in
            queue.add { [self] in withExtendedLifetime(self) { continuation.resume(returning: work.body()) } }
        }
    }

    /// Runs a function on the thread, later, and does not wait for it.
    package func later(_ body: sending @escaping () -> Void) {
        let work = Once(body)
        queue.add { [self] in withExtendedLifetime(self) { work.body() } }
    }
}

/// Carries a closure that was sent, and nothing else refers to, over to the thread that calls it once.
package struct Once<Success, Failure: Error>: @unchecked Sendable {
    package let body: () throws(Failure) -> Success

    package init(_ body: sending @escaping () throws(Failure) -> Success) {
        self.body = body
    }
}

/// Jobs in the order they came, run by one thread.
private final class JobQueue: @unchecked Sendable {
    // All guarded by `condition`.
    private let condition = NSCondition()
    // Not a slice, whose popFirst() leaves the element in the buffer: a job holds the executor, and it this queue.
    private var jobs: [@Sendable () -> Void] = []
    private var isStopped = false
    private var thread: Thread?

    var isCurrent: Bool {
        condition.withLock { thread === Thread.current }
    }

    func add(_ job: @escaping @Sendable () -> Void) {
        condition.withLock {
            jobs.append(job)
            condition.signal()
        }
    }

    func stop() {
        condition.withLock {
            isStopped = true
            condition.signal()
        }
    }

    /// Runs jobs until stopped and empty.
    func run() {
        condition.withLock { thread = .current }
        while let job = next() { job() }
        condition.withLock { thread = nil }
    }

    private func next() -> (@Sendable () -> Void)? {
        condition.withLock {
            while jobs.isEmpty && !isStopped { condition.wait() }
            return jobs.isEmpty ? nil : jobs.removeFirst()
        }
    }
}
