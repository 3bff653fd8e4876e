#if canImport(Glibc)
import CMalloc
#endif

/// How the C library's allocator is set up, so that memory follows what is in use.
///
/// By itself glibc gives each thread that allocates an arena of its own, up to eight for each core, and after the first
/// large block is freed keeps all up to 32 MiB for itself: blocks of megabytes, made on one thread and dropped on another,
/// then stay behind in every arena. DuckDB brings an allocator of its own.
enum Allocator {
    /// Arenas; threads wait for each other a little, at a few allocations for thousands of rows.
    private static let arenas: Int32 = 2
    /// 256 KiB: what is larger comes from the system and goes back to it. Setting it keeps it from growing.
    private static let mappedBytes: Int32 = 256 << 10
    /// 1 MiB: what may stay unused at an arena's end.
    private static let unusedBytes: Int32 = 1 << 20

    static func setUp() {
        #if canImport(Glibc)
        mallopt(M_ARENA_MAX, arenas)
        mallopt(M_MMAP_THRESHOLD, mappedBytes)
        mallopt(M_TRIM_THRESHOLD, unusedBytes)
        #endif
    }
}
