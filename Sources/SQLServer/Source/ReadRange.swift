import Tidemark

/// What may be asked of `cdc.fn_cdc_get_all_changes_…` for a window, decided from values alone.
///
/// The function refuses a range that is not within the capture's own with error 313 or 208, and a message about
/// missing arguments.
enum ReadRange: Hashable, Sendable {
    case read(from: LSN)
    /// There can be no change in the window.
    case empty
    /// Changes between the watermark and the min LSN may have been purged.
    case gap(minLSN: LSN)
    /// The login may not read the changes, or there is no such capture.
    case unreadable
    /// The capture job has not run yet.
    case notBegun

    /// - Parameters:
    ///   - next: the LSN after `window.after`.
    ///   - minLSN: the capture's, `nil` before its first run; zero when it cannot be read.
    ///   - complete: the min LSN at which the capture told of every row, when it is read from its beginning.
    init(_ window: LSNWindow, next: LSN, minLSN: LSN?, complete: LSN?) {
        guard let minLSN else {
            self = .notBegun
            return
        }
        guard minLSN != .zero else {
            self = .unreadable
            return
        }
        if window.isEmpty {
            self = .empty
        } else if window.after != .zero {
            self = next < minLSN ? .gap(minLSN: minLSN) : next > window.through ? .empty : .read(from: next)
        } else if let complete, complete < minLSN {
            self = .gap(minLSN: minLSN)
        } else {
            self = minLSN > window.through ? .empty : .read(from: minLSN)
        }
    }
}
