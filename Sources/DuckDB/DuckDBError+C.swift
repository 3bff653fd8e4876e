internal import CDuckDB

extension DuckDBError.Kind {
    init(_ type: duckdb_error_type, message: String) {
        switch type {
        case DUCKDB_ERROR_BINDER: self = .binder
        case DUCKDB_ERROR_CATALOG: self = .catalog
        case DUCKDB_ERROR_CONNECTION: self = .connection
        case DUCKDB_ERROR_CONSTRAINT: self = .constraint
        case DUCKDB_ERROR_CONVERSION: self = .conversion
        case DUCKDB_ERROR_DEPENDENCY: self = .dependency
        case DUCKDB_ERROR_FATAL: self = .fatal
        case DUCKDB_ERROR_INTERNAL: self = .internal
        case DUCKDB_ERROR_INTERRUPT: self = .interrupt
        case DUCKDB_ERROR_INVALID_INPUT: self = .invalidInput
        case DUCKDB_ERROR_IO: self = .io
        case DUCKDB_ERROR_NOT_IMPLEMENTED: self = .notImplemented
        case DUCKDB_ERROR_OUT_OF_MEMORY: self = .outOfMemory
        case DUCKDB_ERROR_OUT_OF_RANGE: self = .outOfRange
        case DUCKDB_ERROR_PARSER, DUCKDB_ERROR_SYNTAX: self = .parser
        case DUCKDB_ERROR_PERMISSION: self = .permission
        case DUCKDB_ERROR_SERIALIZATION: self = .serialization
        case DUCKDB_ERROR_TRANSACTION: self = .transaction
        default: self.init(message: message)
        }
    }

    /// Reads the class off the start of a message, e.g. `Parser Error: …`.
    ///
    /// Opening and preparing report a message only, without DuckDB's error type.
    init(message: String) {
        let lowered = message.lowercased()
        self = Self.allCases.first { lowered.hasPrefix($0.rawValue.lowercased() + " error:") } ?? .other
    }
}

/// Copies a C string that DuckDB owns; empty when there is none.
func text(_ pointer: UnsafePointer<CChar>?) -> String {
    pointer.map { String(cString: $0) } ?? ""
}

/// Copies a C string that DuckDB allocated for the caller, and frees it.
func consumeText(_ pointer: UnsafeMutablePointer<CChar>?) -> String {
    defer { duckdb_free(pointer) }
    return text(pointer)
}
