import Logging
import Tidemark

/// Everything a run of the pipeline needs to know, checked and complete.
///
/// ```swift
/// let settings = try Settings.load(environment: ProcessInfo.processInfo.environment, file: nil)
/// ```
struct Settings: Sendable {
    /// `SOURCE_DSN`
    var source: DSN
    /// `SERVING_DSN`
    var serving: DSN
    /// `BOOTSTRAP_SOURCE_DSN`: a login that may do more, for `bootstrap` alone.
    var bootstrapSource: DSN?
    /// `BOOTSTRAP_SERVING_DSN`
    var bootstrapServing: DSN?
    /// `SOURCE_NAME`: the name the control tables keep watermarks under.
    var sourceName: String
    /// `POLL_INTERVAL`: pause between two looks at the source's log.
    var pollInterval: Duration
    /// `CDC_BATCH_MAX_ROWS`: changes in one window at most, unless a single transaction is larger.
    var batchMaxRows: Int
    /// `CDC_ON_GAP`: what happens when changes may have been purged before they were read.
    var onGap: GapPolicy
    /// `CDC_INCLUDE` and `CDC_EXCLUDE`: which tables are captured and ingested.
    var captureFilter: CaptureFilter
    /// `CDC_EXCLUDE_COLUMNS`: captured columns to leave out, as `capture_instance.column`.
    var excludedColumns: Set<String>
    /// `CDC_CAPTURE_POLLING`: how often SQL Server's capture job looks into the log; `bootstrap` sets it.
    var capturePolling: Duration
    /// `PROJECTION_INTERVAL`: pause between two runs of a projection that names none.
    var projectionInterval: Duration
    /// `PROJECTIONS_DIR`; `nil` stands for the projections built into the binary.
    var projectionsDirectory: String?
    /// Every projection of the directory or the built-in set, those that are switched off included; by name.
    var projections: [ProjectionSettings]
    /// `STATE_DIR`: where the replica is kept.
    var stateDirectory: String
    /// `LOG_LEVEL`
    var logLevel: Logger.Level
    /// `LOG_FORMAT`
    var logFormat: LogFormat
    /// `MEMORY_LIMIT` and `DUCKDB_MEMORY_LIMIT`.
    var memory: MemoryBudget

    /// The projections that are to run.
    var enabledProjections: [ProjectionSettings] { projections.filter(\.isEnabled) }
}

/// A projection with what the settings make of it.
struct ProjectionSettings: Hashable, Sendable {
    var definition: ProjectionDefinition
    /// `ENABLE_PROJ_<NAME>`, or what `projection.yml` says.
    var isEnabled: Bool
    /// What `projection.yml` says, or `PROJECTION_INTERVAL`.
    var interval: Duration
}

/// The settings that have a fixed name. The raw value is the key in `tidemark.yml`; in the environment it is in
/// capitals.
enum SettingKey: String, CaseIterable, Sendable {
    case sourceDSN = "source_dsn"
    case sourceDSNFile = "source_dsn_file"
    case servingDSN = "serving_dsn"
    case servingDSNFile = "serving_dsn_file"
    case bootstrapSourceDSN = "bootstrap_source_dsn"
    case bootstrapSourceDSNFile = "bootstrap_source_dsn_file"
    case bootstrapServingDSN = "bootstrap_serving_dsn"
    case bootstrapServingDSNFile = "bootstrap_serving_dsn_file"
    case sourceName = "source_name"
    case pollInterval = "poll_interval"
    case batchMaxRows = "cdc_batch_max_rows"
    case onGap = "cdc_on_gap"
    case includedTables = "cdc_include"
    case excludedTables = "cdc_exclude"
    case excludedColumns = "cdc_exclude_columns"
    case capturePolling = "cdc_capture_polling"
    case projectionInterval = "projection_interval"
    case projectionsDirectory = "projections_dir"
    case stateDirectory = "state_dir"
    case logLevel = "log_level"
    case logFormat = "log_format"
    case memoryLimit = "memory_limit"
    case duckDBMemoryLimit = "duckdb_memory_limit"

    /// The name in the environment, e.g. `SOURCE_DSN`.
    var variable: String { rawValue.uppercased() }

    /// What holds when nobody says otherwise; `nil` when the setting may be absent.
    var defaultValue: String? {
        switch self {
        case .sourceDSN: "sqlite:data/source.db"
        case .servingDSN: "sqlite:data/serving.db"
        case .sourceName: "source1"
        // A fifth of a second: below what people notice, and an idle look costs one cheap query.
        case .pollInterval, .projectionInterval: "200ms"
        // Large enough that the cost of a transaction does not count, small enough to commit within a second.
        case .batchMaxRows: "50000"
        case .stateDirectory: "data/state"
        case .logLevel: "info"
        case .logFormat: "text"
        // 1 GB for DuckDB, which does for some million rows without going to the disk.
        case .memoryLimit: "1.3GB"
        // SQL Server's own five seconds are most of the latency a user sees.
        case .capturePolling: "1s"
        // What a gap means for the figures is for their owner to say.
        case .onGap: "stop"
        case .includedTables: "*"
        case .excludedTables, .excludedColumns: ""
        case .sourceDSNFile, .servingDSNFile, .projectionsDirectory, .bootstrapSourceDSN, .bootstrapSourceDSNFile,
            .bootstrapServingDSN, .bootstrapServingDSNFile, .duckDBMemoryLimit:
            nil
        }
    }
}
