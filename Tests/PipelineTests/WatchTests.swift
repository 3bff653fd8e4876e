import Foundation
import Synchronization
import Testing
import Tidemark

@Suite("A value that is watched")
struct WatchTests {
    @Test("an observer gets the present value, and in the end the last one")
    func last() async throws {
        let watch = Watch(0)
        let observer = Task {
            var seen: [Int] = []
            for await value in watch.values() {
                seen.append(value)
                if value == 1_000 { break }
            }
            return seen
        }
        for _ in 1...1_000 {
            watch.update { $0 += 1 }
            await Task.yield()
        }
        let seen = try #require(try await ends("the observer") { await observer.value })
        #expect(seen.last == 1_000)
        #expect(seen == seen.sorted())
    }

    @Test("observers that are cancelled while they are told hold nobody up")
    func cancelled() async throws {
        let watch = Watch(0)
        let isDone = Mutex(false)
        let rounds = Mutex(0)
        // On threads of their own: those that tasks run on are left for what has to be seen.
        Thread.detachNewThread {
            while !isDone.withLock({ $0 }) { watch.update { $0 += 1 } }
        }
        Thread.detachNewThread {
            while !isDone.withLock({ $0 }) {
                let observer = Task { for await _ in watch.values() {} }
                Thread.sleep(forTimeInterval: .random(in: 0...0.0002))
                observer.cancel()
                rounds.withLock { $0 += 1 }
            }
        }
        defer { isDone.withLock { $0 = true } }
        try await eventually("20,000 observers are cancelled") { rounds.withLock { $0 >= 20_000 } }
    }
}
