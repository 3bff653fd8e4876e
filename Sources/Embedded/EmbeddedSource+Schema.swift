import GRDB
import Tidemark

/// How a capture stands to the schema of its table.
enum CaptureCondition: Sendable {
    /// Every change is captured.
    case sound(sweep: String?)
    /// Every change is captured, but somebody else's triggers run before the capture's now.
    case overtaken(sweep: String?)
    /// Changes may have gone uncaptured. They can be captured again; `reason` says what was found, the capture being its
    /// subject.
    case broken(reason: String)
    /// Changes cannot be captured as things are. What is left of the triggers is to be dropped, if `hasTriggers`.
    case faulty(TidemarkError, hasTriggers: Bool)

    var needsMending: Bool {
        switch self {
        case .sound, .faulty(_, false): false
        case .overtaken, .broken, .faulty(_, true): true
        }
    }

    var sweep: String? {
        switch self {
        case .sound(let sweep), .overtaken(let sweep): sweep
        case .broken, .faulty: nil
        }
    }
}

/// What the schema says of all captures.
struct CaptureConditions: Sendable {
    /// SQLite's `schema_version`, which every change of the schema moves.
    let version: Int64
    /// The connection it was read on: another file that takes this one's place is opened by another one.
    let connection: Int
    let conditions: [String: CaptureCondition]
}

extension EmbeddedSource {
    /// How the captures stand to the schema that `db` sees; what is `known` of the same version is not looked up again.
    static func conditions(_ db: Database, known: CaptureConditions?) throws -> CaptureConditions {
        let version = try Int64.fetchOne(db.cachedStatement(sql: "PRAGMA schema_version"))!
        let connection = Int(bitPattern: db.sqliteConnection)
        if let known, known.version == version, known.connection == connection { return known }
        let captures = try Row.fetchAll(db, sql: "SELECT capture_instance, source_table FROM cdc_change_tables")
        return CaptureConditions(
            version: version, connection: connection,
            conditions: try Dictionary(
                uniqueKeysWithValues: captures.map { ($0[0], try condition(of: $0[0], table: $0[1], db)) }))
    }

    /// How one capture stands to it.
    static func condition(of instance: String, table: String, _ db: Database) throws -> CaptureCondition {
        let found = try CaptureSchema(instance, table: table, db)
        do {
            let needed = try found.needed(db)
            if let reason = found.difference(from: needed) { return .broken(reason: reason) }
            return found.isOvertaken ? .overtaken(sweep: needed.sweep) : .sound(sweep: needed.sweep)
        } catch let error as TidemarkError {
            return .faulty(error, hasTriggers: found.hasTriggers)
        }
    }

    /// Gives broken captures their triggers again, and takes those of faulty ones away, so that what is found later
    /// tells that there was a break.
    ///
    /// - Parameter clock: the position about to be closed.
    static func mendTriggers(_ db: Database, _ conditions: CaptureConditions, clock: Int64) throws {
        for (instance, condition) in conditions.conditions where condition.needsMending {
            try db.execute(sql: CaptureTriggers.removal(of: instance))
            if case .faulty = condition { continue }
            let table = try String.fetchOne(
                db, sql: "SELECT source_table FROM cdc_change_tables WHERE capture_instance = ?",
                arguments: [instance])!
            try db.execute(sql: CaptureSchema(instance, table: table, db).needed(db).install)
            guard case .broken(let reason) = condition else { continue }
            // What is closed so far lies below the clock, and so does every watermark.
            try db.execute(
                sql: """
                    UPDATE cdc_change_tables SET is_complete = 0, restart_lsn = ?, restart_reason = ?
                    WHERE capture_instance = ?
                    """,
                arguments: [clock, reason, instance])
        }
    }
}
