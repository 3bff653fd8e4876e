import Testing

/// The built `tidemark`, run as its users run it: each test starts real processes on real databases in a folder of
/// its own. One after the other, because some of them tell how long things take.
@Suite("Commands", .serialized)
enum Commands {}
