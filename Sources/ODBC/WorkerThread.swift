import Foundation

/// A thread that runs blocking work, one piece after the other, so that it holds up no other task.
///
/// Swift runs tasks on as many threads as there are cores, and a blocked one is lost to all of them.
/// The thread ends when this object is released and its last job is done.
final class WorkerThread: Sendable {
    private let queue = JobQueue()

    init(name: String) {
        let isStarted = DispatchSemaphore(value: 0)
        let thread = Thread { [queue] in
            // Set from within: on Linux a name given from outside does not reach the thread. And not before `start`
            // has noted which thread it is, or the name is lost.
            isStarted.wait()
            Thread.current.name = name
            queue.run()
        }
        thread.stackSize = 2 << 20  // drivers expect more than macOS's 512 KiB for secondary threads
        thread.start()
        isStarted.signal()
    }

    deinit {
        queue.stop()
    }

    /// Runs a blocking function on the thread and waits for it without blocking the caller's.
    func run<Success>(_ body: sending @escaping () throws -> sending Success) async throws -> sending Success {
        try await run(Once(body))
    }

    func run<Success>(_ work: Once<Success>) async throws -> sending Success {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Success, any Error>) in
            queue.add { [self] in
                withExtendedLifetime(self) { continuation.resume(with: Result { try work.body() }) }
            }
        }
    }

    /// Runs a function on the thread, later, and does not wait for it.
    func later(_ body: sending @escaping () -> Void) {
        let work = Once<Void>(body)
        queue.add { [self] in withExtendedLifetime(self) { try? work.body() } }
    }
}

/// Carries a closure that was sent, and nothing else refers to, over to the thread that calls it once.
struct Once<Success>: @unchecked Sendable {
    let body: () throws -> Success

    init(_ body: sending @escaping () throws -> Success) {
        self.body = body
    }
}

/// Jobs in the order they came, run by one thread.
private final class JobQueue: @unchecked Sendable {
    // Guarded by `condition`, but for the jobs taken out.
    private let condition = NSCondition()
    private var jobs: [@Sendable () -> Void] = []
    private var isStopped = false

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
        while let batch = next() {
            for job in batch { job() }
        }
    }

    private func next() -> [@Sendable () -> Void]? {
        condition.withLock {
            while jobs.isEmpty && !isStopped { condition.wait() }
            guard !jobs.isEmpty else { return nil }
            defer { jobs = [] }
            return jobs
        }
    }
}
