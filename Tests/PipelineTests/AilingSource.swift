import ContractTests
import Embedded
import Synchronization
import Tidemark

/// A source that answers, and says that something ails it for as long as a test wants.
final class AilingSource: ForwardingSource {
    let base: any ChangeSource
    private let ailment: Mutex<SourceTrouble?>

    init(_ base: EmbeddedSource, ailment: SourceTrouble?) {
        self.base = base
        self.ailment = Mutex(ailment)
    }

    func recover() { ailment.withLock { $0 = nil } }

    func trouble() async throws -> SourceTrouble? { ailment.withLock { $0 } }
}
