import ODBC
import Tidemark

// Values of the control tables, as parameters and as results.

extension Value {
    static func lsn(_ lsn: LSN) -> Value { .binary(lsn.bytes) }

    /// NULL when there is no time.
    static func time(_ time: Timestamp?) -> Value {
        guard let time else { return .typedNull(.timestamp(scale: SQLServerType.carriedDigits)) }
        return .timestamp(SQLServerRowEncoder.parts(time.microseconds))
    }

    /// The LSN in a column of a control table.
    func controlLSN() throws -> LSN {
        guard case .binary(let bytes) = self, let lsn = LSN(bytes: bytes) else {
            throw TidemarkError.schema("a control table of the serving database holds an LSN that is not 10 bytes long")
        }
        return lsn
    }

    /// The time in a column of a control table; `nil` for NULL.
    func controlTime() throws -> Timestamp? {
        switch self {
        case .null: return nil
        case .timestamp(let parts): return Timestamp(parts)
        default: throw TidemarkError.schema("a control table of the serving database holds \(self) as a time")
        }
    }

    /// The status in a column of a control table.
    func controlStatus<Status: RawRepresentable<String>>() throws -> Status {
        guard let status = string.flatMap(Status.init(rawValue:)) else {
            throw TidemarkError.schema("a control table of the serving database holds the status \(self)")
        }
        return status
    }
}

extension Timestamp {
    /// A time as a driver gives it, to the microsecond.
    init(_ parts: TimestampParts) {
        self.init(microseconds: Int64(parts.date.daysSince1970) * 86_400_000_000 + parts.time.nanoseconds / 1_000)
    }
}

extension Connection {
    /// Runs a statement and returns the rows it wrote itself, without what triggers did.
    func affected(_ sql: String, _ parameters: [Value] = []) throws -> Int {
        Int(try scalar("\(sql); SELECT CAST(@@ROWCOUNT AS bigint)", parameters).int64 ?? 0)
    }
}

extension ODBCError {
    /// A key, unique index or NOT NULL that a row breaks; 1505 is a unique index that cannot be made.
    var isKeyViolation: Bool { has(2627) || has(2601) || has(1505) || has(515) }
}
