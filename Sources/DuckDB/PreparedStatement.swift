internal import CDuckDB

/// A statement that was parsed and planned once and can be run with different parameters.
///
///     let insert = try connection.prepare("INSERT INTO orders VALUES ($id, $amount)")
///     try insert.execute(named: ["id": 7, "amount": .decimal(1250, scale: 2)])
public final class PreparedStatement {
    public let sql: String

    private let connection: Connection
    private var handle: duckdb_prepared_statement?

    init(owning handle: duckdb_prepared_statement?, sql: String, connection: Connection) {
        self.handle = handle
        self.sql = sql
        self.connection = connection
    }

    deinit {
        duckdb_destroy_prepare(&handle)
    }

    var prepareMessage: String { text(duckdb_prepare_error(handle)) }

    /// How many parameters the statement takes. One used twice counts once.
    public var parameterCount: Int { Int(duckdb_nparams(handle)) }

    /// The parameters' names in order, without `$`; a positional one is named by its number.
    public var parameterNames: [String] {
        (1..<parameterCount + 1).map {
            consumeText(UnsafeMutablePointer(mutating: duckdb_parameter_name(handle, idx_t($0))))
        }
    }

    /// Sets the parameter at `index`, the first being 1. It stays set until it is set again.
    public func bind(_ value: Value, at index: Int) throws {
        try bind(value, at: index, label: "$\(index)")
    }

    /// Sets the parameter written `$name` in the SQL.
    public func bind(_ value: Value, to name: String) throws {
        var index: idx_t = 0
        guard duckdb_bind_parameter_index(handle, &index, name) == DuckDBSuccess else {
            throw DuckDBError.parameter(sql: sql, parameter: "$\(name)", message: "the statement has no such parameter")
        }
        try bind(value, at: Int(index), label: "$\(name)")
    }

    /// Makes all parameters unset.
    public func clearBindings() {
        duckdb_clear_bindings(handle)
    }

    /// Runs the statement with the parameters set before and returns its rows.
    ///
    /// - Parameter streaming: see ``Connection/query(_:_:streaming:)``.
    public func query(streaming: Bool = false) throws -> QueryResult {
        let result = try connection.run(handle, sql: sql, streaming: streaming)
        return try QueryResult(owning: result, sql: sql, connection: connection)
    }

    /// Runs the statement with these positional parameters and returns its rows.
    public func query(_ parameters: [Value], streaming: Bool = false) throws -> QueryResult {
        try bindAll(parameters)
        return try query(streaming: streaming)
    }

    /// Runs the statement with these named parameters and returns its rows.
    public func query(named parameters: [String: Value], streaming: Bool = false) throws -> QueryResult {
        try bindAll(named: parameters)
        return try query(streaming: streaming)
    }

    /// Runs the statement with the parameters set before.
    ///
    /// - Returns: the number of rows inserted, updated or deleted.
    @discardableResult
    public func execute() throws -> Int {
        var result = try connection.run(handle, sql: sql, streaming: false)
        defer { duckdb_destroy_result(&result) }
        return Int(duckdb_rows_changed(&result))
    }

    /// Runs the statement with these positional parameters.
    @discardableResult
    public func execute(_ parameters: [Value]) throws -> Int {
        try bindAll(parameters)
        return try execute()
    }

    /// Runs the statement with these named parameters.
    @discardableResult
    public func execute(named parameters: [String: Value]) throws -> Int {
        try bindAll(named: parameters)
        return try execute()
    }

    private func bindAll(_ parameters: [Value]) throws {
        guard parameters.count == parameterCount else {
            throw DuckDBError.parameter(
                sql: sql, parameter: "\(parameters.count) values",
                message: "the statement takes \(parameterCount) parameters")
        }
        for (offset, value) in parameters.enumerated() {
            try bind(value, at: offset + 1)
        }
    }

    private func bindAll(named parameters: [String: Value]) throws {
        clearBindings()
        for (name, value) in parameters {
            try bind(value, to: name)
        }
    }

    private func bind(_ value: Value, at index: Int, label: String) throws {
        guard (1..<parameterCount + 1).contains(index) else {
            throw DuckDBError.parameter(
                sql: sql, parameter: label, message: "the statement takes \(parameterCount) parameters")
        }
        let position = idx_t(index)
        let state =
            switch value {
            case .null: duckdb_bind_null(handle, position)
            case .bool(let value): duckdb_bind_boolean(handle, position, value)
            case .int(let value): duckdb_bind_int64(handle, position, value)
            case .uint64(let value): duckdb_bind_uint64(handle, position, value)
            case .hugeint(let value): duckdb_bind_hugeint(handle, position, duckdb_hugeint(value))
            case .uhugeint(let value): duckdb_bind_uhugeint(handle, position, duckdb_uhugeint(value))
            case .float(let value): duckdb_bind_float(handle, position, value)
            case .double(let value): duckdb_bind_double(handle, position, value)
            case .decimal(let value, let scale): try bindDecimal(value, scale: scale, at: position, label: label)
            case .string(var value):
                value.withUTF8 { utf8 in
                    utf8.withMemoryRebound(to: CChar.self) {
                        // DuckDB takes no null pointer, not even for no bytes.
                        duckdb_bind_varchar_length(handle, position, $0.baseAddress ?? emptyBytes, idx_t($0.count))
                    }
                }
            case .blob(let value):
                value.withUnsafeBytes {
                    duckdb_bind_blob(handle, position, $0.baseAddress ?? .init(emptyBytes), idx_t($0.count))
                }
            case .date(let days): duckdb_bind_date(handle, position, duckdb_date(days: days))
            case .time(let micros): duckdb_bind_time(handle, position, duckdb_time(micros: micros))
            case .timestamp(let micros): duckdb_bind_timestamp(handle, position, duckdb_timestamp(micros: micros))
            case .timestampTZ(let micros):
                duckdb_bind_timestamp_tz(handle, position, duckdb_timestamp(micros: micros))
            case .uuid(let value): try bindUUID(value, at: position, label: label)
            }
        guard state == DuckDBSuccess else {
            throw DuckDBError.parameter(sql: sql, parameter: label, message: prepareMessage)
        }
    }

    private func bindDecimal(_ value: Int128, scale: Int, at position: idx_t, label: String) throws -> duckdb_state {
        guard (0...38).contains(scale), Decimals.fits(value, width: 38) else {
            throw DuckDBError.parameter(sql: sql, parameter: label, message: "a DECIMAL has at most 38 digits")
        }
        return duckdb_bind_decimal(
            handle, position, duckdb_decimal(width: 38, scale: UInt8(scale), value: duckdb_hugeint(value)))
    }

    private func bindUUID(_ value: String, at position: idx_t, label: String) throws -> duckdb_state {
        guard let number = UUIDs.number(value) else {
            throw DuckDBError.parameter(sql: sql, parameter: label, message: "\"\(value)\" is not a UUID")
        }
        var value = duckdb_create_uuid(duckdb_uhugeint(number))
        defer { duckdb_destroy_value(&value) }
        return duckdb_bind_value(handle, position, value)
    }
}

extension duckdb_hugeint {
    fileprivate init(_ value: Int128) {
        self.init(lower: UInt64(truncatingIfNeeded: value), upper: Int64(truncatingIfNeeded: value >> 64))
    }
}

extension duckdb_uhugeint {
    fileprivate init(_ value: UInt128) {
        self.init(lower: UInt64(truncatingIfNeeded: value), upper: UInt64(truncatingIfNeeded: value >> 64))
    }
}
