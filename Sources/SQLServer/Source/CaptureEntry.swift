import Tidemark

/// What the catalog of change data capture says about one capture instance.
struct CaptureEntry: Hashable, Sendable {
    let instance: String
    /// `object_id` of the source table.
    let sourceID: Int64
    /// The source table; `nil` when the login may not see it.
    let source: ObjectName?
    /// The change table; `nil` when the login may not see it.
    let changeTable: ObjectName?
    /// `create_date`, as text that sorts by time.
    let created: String
    /// The first LSN that may be asked for; `nil` until the capture job has run.
    let startLSN: LSN?
    /// What `sys.fn_cdc_get_min_lsn` says: zero when the login may not read the changes, `nil` before the capture job
    /// has seen the capture.
    let minLSN: LSN?
    /// The role that gates the capture, if any.
    let role: String?
    let mayReadChangeTable: Bool
    /// Whether the change table has `__$command_id`: servers have had it since updates of 2016 SP1.
    let hasCommandID: Bool
    var columns: [Column]

    /// A captured column.
    struct Column: Hashable, Sendable {
        let name: String
        /// `nil` when the login may see neither the change table nor the source table.
        let type: SQLServerType?
        let isComputed: Bool
        /// Whether the login is shown a mask instead of the values in the source table.
        let isMasked: Bool
        /// The place in the key, from 1.
        let keyOrdinal: Int64?
    }

    /// The columns that tell rows apart.
    var key: [String] {
        columns.filter { $0.keyOrdinal != nil }.sorted { ($0.keyOrdinal ?? 0) < ($1.keyOrdinal ?? 0) }.map(\.name)
    }

    /// The change table, when the login may read it.
    var readableChangeTable: ObjectName? { mayReadChangeTable ? changeTable : nil }
    /// The function that returns the changes.
    var function: ObjectName { ObjectName(schema: "cdc", name: "fn_cdc_get_all_changes_\(instance)") }
}

/// A table or function; shown quoted, as T-SQL wants it.
struct ObjectName: Hashable, Sendable, CustomStringConvertible {
    let schema: String
    let name: String

    var description: String { "\(quoted(schema)).\(quoted(name))" }
}
