import ODBC
import Tidemark

/// Inserts rows into a table, hundreds to a statement, inside the caller's transaction.
///
/// The rows travel as one JSON parameter, which OPENJSON makes a table of, and their binary values as another one that
/// SUBSTRING takes apart: the fastest way both drivers have (docs/benchmarks.md). Rows with a value that JSON might
/// change travel as arrays of parameters in their binary form, and so do all where the database has no OPENJSON (a
/// compatibility level below 130).
final class SQLServerBulkInsert {
    /// What one column of the table is filled with.
    enum Source {
        case values(ColumnVector, SQLServerRowEncoder)
        case lsns([LSN])
        case integers([Int32])
        case operations([UInt8])
        /// The same in every row.
        case time(Timestamp)
    }

    /// Bytes of JSON and binary values in a statement: some 250 rows. With more the server, which copies the binary
    /// values for each row, gets slower; with fewer the round trips count.
    private static let statementBytes = 32 << 10
    /// Rows of a statement with parameters; more take the server longer to read than they save.
    private static let groupRows = 8
    /// Parameters of a statement at most: SQL Server takes 2,100, and some are the protocol's own.
    /// https://learn.microsoft.com/sql/sql-server/maximum-capacity-specifications-for-sql-server
    private static let mostParameters = 2_000

    private let connection: Connection
    private let table: String
    private let columns: [String]
    private let json: JSONSupport
    /// Prepared once: the server plans it as long as it takes to run.
    private var prepared: (sql: String, statement: Statement)?

    /// - Parameter table: quoted.
    init(_ connection: Connection, into table: String, _ columns: [String], json: JSONSupport) {
        self.connection = connection
        self.table = table
        self.columns = columns
        self.json = json
    }

    /// What the database's OPENJSON is good for.
    enum JSONSupport: Sendable {
        /// There is none, below compatibility level 130.
        case none
        /// It hands out some escaped characters with their escapes, as Babelfish's does.
        case withoutEscapes
        case full
    }

    /// Asks the database for its OPENJSON; not to be asked within a transaction.
    static func jsonSupport(_ connection: Connection) throws -> JSONSupport {
        do {
            let text = "a\"b\\c\nd"
            let read = try connection.scalar(
                "SELECT c FROM OPENJSON(?) WITH (c nvarchar(20) '$[0]')", [.string(#"[["a\"b\\c\nd"]]"#)])
            return read.string == text ? .full : .withoutEscapes
        } catch let error as ODBCError where error.errorClass == .transient || error.errorClass == .cancelled {
            throw error
        } catch is ODBCError {
            return .none
        }
    }

    /// Inserts `count` rows.
    ///
    /// - Parameter sources: one for each column.
    /// - Throws: `SQLServerRowEncoder.Refusal` for a value the table cannot hold.
    func insert(_ sources: [Source], count: Int) throws {
        var row = 0
        while row < count {
            let end = min(row + Self.checkedRows, count)
            if json != .none, sources.allSatisfy({ $0.travelsAsJSON(row..<end, json) }) {
                try insertJSON(sources, row..<end)
            } else {
                try insertParameters(sources, row..<end)
            }
            row = end
        }
    }

    /// Rows that go the same way.
    private static let checkedRows = 5_000

    // MARK: JSON

    private func insertJSON(_ sources: [Source], _ rows: Range<Int>) throws {
        let sql = Self.jsonStatement(into: table, columns, sources)
        let statement = try prepared.flatMap { $0.sql == sql ? $0.statement : nil } ?? connection.prepare(sql)
        prepared = (sql, statement)
        var row = rows.lowerBound
        while row < rows.upperBound {
            var json = JSONRows()
            try Self.withBuffers(sources[...], []) { buffers in
                while row < rows.upperBound, json.byteCount < Self.statementBytes {
                    json.beginRow()
                    for index in sources.indices { try sources[index].append(row, buffers[index], to: &json) }
                    json.endRow()
                    row += 1
                }
            }
            json.end()
            guard let text = String(validating: json.json, as: UTF8.self) else {
                throw TidemarkError.schema("a text value for \(table) is not UTF-8")
            }
            var parameters: [Value] = [.string(text), .binary(json.binaries)]
            for case .time(let time) in sources { parameters.append(.time(time)) }
            try statement.execute(parameters)
        }
    }

    static func jsonStatement(into table: String, _ columns: [String], _ sources: [Source]) -> String {
        var declarations: [String] = []
        var selected: [String] = []
        var constants = ""
        for (index, source) in sources.enumerated() {
            func declare(_ name: String, _ type: String) {
                declarations.append("\(name) \(type) '$[\(declarations.count)]'")
            }
            switch source {
            case .values(_, let encoder) where encoder.column.type == .binary:
                declare("s\(index)", "int")
                declare("l\(index)", "int")
                selected.append("SUBSTRING(p.binaries, r.s\(index), r.l\(index))")
            case .lsns:
                declare("s\(index)", "int")
                selected.append("SUBSTRING(p.binaries, r.s\(index), \(LSN.byteCount))")
            case .time:
                constants = ", CAST(? AS datetime2(6)) AS at"
                selected.append("p.at")
            default:
                declare("c\(index)", source.declaration)
                selected.append("r.c\(index)")
            }
        }
        return """
            INSERT INTO \(table) (\(quotedList(columns)))
            SELECT \(selected.joined(separator: ", "))
            FROM (SELECT CAST(? AS nvarchar(max)) AS json, CAST(? AS varbinary(max)) AS binaries\(constants)) AS p
            CROSS APPLY OPENJSON(p.json) WITH (\(declarations.joined(separator: ", "))) AS r
            """
    }

    private static func withBuffers<R>(
        _ sources: ArraySlice<Source>, _ buffers: [ColumnBuffers?], _ body: ([ColumnBuffers?]) throws -> R
    ) rethrows -> R {
        guard let source = sources.first else { return try body(buffers) }
        guard case .values(let vector, _) = source else {
            return try withBuffers(sources.dropFirst(), buffers + [nil], body)
        }
        return try vector.withBuffers { try withBuffers(sources.dropFirst(), buffers + [$0], body) }
    }

    // MARK: Parameters

    private static let temporary = "#tidemark_bulk"

    /// By way of a temporary table of the same transaction.
    ///
    /// The statements of an array are sent together. When one fails, or is a deadlock's victim, the server ends the
    /// transaction and goes on with the next one, whose row would be stored on its own, for good. A temporary table
    /// goes with the transaction that made it, so what comes then fails too.
    private func insertParameters(_ sources: [Source], _ rows: Range<Int>) throws {
        let names = quotedList(columns)
        try connection.execute("SELECT TOP (0) \(names) INTO \(Self.temporary) FROM \(table)")
        let group = max(1, min(Self.groupRows, Self.mostParameters / columns.count))
        let grouped = rows.lowerBound + rows.count / group * group
        try insertParameters(sources, rows.lowerBound..<grouped, group: group)
        try insertParameters(sources, grouped..<rows.upperBound, group: 1)
        try connection.execute("INSERT INTO \(table) (\(names)) SELECT \(names) FROM \(Self.temporary)")
        try connection.execute("DROP TABLE \(Self.temporary)")
    }

    /// Runs a statement that has the parameters of `group` rows for an array of such groups.
    private func insertParameters(_ sources: [Source], _ rows: Range<Int>, group: Int) throws {
        guard !rows.isEmpty else { return }
        var parameters = ParameterArray([])
        for offset in 0..<group {
            for source in sources {
                var column = ParameterColumn(source.parameterType, reserving: rows.count / group)
                try source.append(
                    stride(from: rows.lowerBound + offset, to: rows.upperBound, by: group), to: &column)
                parameters.columns.append(column)
            }
        }
        let row = "(\(sources.map(\.placeholder).joined(separator: ", ")))"
        try connection.execute(
            """
            INSERT INTO \(Self.temporary) (\(quotedList(columns)))
            VALUES \(repeatElement(row, count: group).joined(separator: ", "))
            """, parameters)
    }
}

extension SQLServerBulkInsert.Source {
    func travelsAsJSON(_ rows: Range<Int>, _ json: SQLServerBulkInsert.JSONSupport) -> Bool {
        guard case .values(let vector, let encoder) = self else { return true }
        return encoder.travelsAsJSON(vector, rows: rows, json)
    }

    /// The type OPENJSON makes of a value.
    var declaration: String {
        switch self {
        case .values(_, let encoder): encoder.column.type.declaration(maxLength: nil)
        case .integers: "int"
        case .operations: "tinyint"
        case .lsns, .time: ""
        }
    }

    func append(_ row: Int, _ buffers: ColumnBuffers?, to json: inout JSONRows) throws {
        switch self {
        case .values(_, let encoder):
            if let buffers { try encoder.append(buffers, row, to: &json) }
        case .lsns(let values): values[row].withBytes { json.append(lsn: $0) }
        case .integers(let values): json.append(Int64(values[row]))
        case .operations(let values): json.append(Int64(values[row]))
        case .time: break
        }
    }

    /// The parameter of a value in a statement. FreeTDS sends some times and dates as text, and rows of VALUES must
    /// be of one type.
    var placeholder: String {
        guard case .values(_, let encoder) = self else { return "?" }
        return switch encoder.column.type {
        case .date, .time, .timestamp, .timestampTZ, .uuid, .decimal:
            "CAST(? AS \(encoder.column.type.declaration(maxLength: nil)))"
        default: "?"
        }
    }

    var parameterType: ParameterType {
        switch self {
        case .values(_, let encoder): encoder.parameterType
        case .lsns: .binary
        case .integers: .int32
        case .operations: .uint8
        case .time: .timestamp(scale: SQLServerType.carriedDigits)
        }
    }

    func append(_ rows: StrideTo<Int>, to parameters: inout ParameterColumn) throws {
        switch self {
        case .values(let vector, let encoder): try encoder.append(vector, rows: rows, to: &parameters)
        case .lsns(let values):
            for row in rows { values[row].withBytes { parameters.append(bytes: $0) } }
        case .integers(let values):
            for row in rows { parameters.append(values[row]) }
        case .operations(let values):
            for row in rows { parameters.append(values[row]) }
        case .time(let time):
            let parts = SQLServerRowEncoder.parts(time.microseconds)
            for _ in rows { parameters.append(parts) }
        }
    }
}
