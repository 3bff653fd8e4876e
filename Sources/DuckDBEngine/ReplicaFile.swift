import DuckDB
import Foundation
import Logging
import Tidemark

/// The DuckDB file of a replica: how it is opened, and what it must hold.
enum ReplicaFile {
    /// Where the tables of one capture stand.
    struct Position {
        var base: LSN
        var loaded: LSN
        var logRows: Int
        /// Bytes in the log, of what was loaded since the file was opened.
        var logBytes = 0
        /// The last place in the log.
        var lastOrdinal: Int64

        static let empty = Position(base: .zero, loaded: .zero, logRows: 0, lastOrdinal: 0)
    }

    /// What the file holds once it fits the captures.
    struct Contents {
        var positions: [String: Position] = [:]
        var refused: [RefusedCapture] = []
    }

    /// Opens the file, or makes it anew when it, or what `reconcile` finds in it, is damaged.
    static func open<Contents>(
        _ engine: DuckDBComputeEngine.Options, logger: Logger, _ reconcile: (Database) throws -> Contents
    ) throws -> (Database, Contents) {
        func open(_ path: String?, _ options: [String: String]) throws -> (Database, Contents) {
            let database = try Database(path: path, options: options)
            return (database, try reconcile(database))
        }
        // One core is left to ingest, the serving database and the other projections: steps are short and many, and
        // on few cores they wait for each other's threads longer than they gain from them.
        let threads = max(1, ProcessInfo.processInfo.activeProcessorCount - 1)
        var options = ["memory_limit": engine.memoryLimit, "threads": "\(threads)"]
        guard let directory = engine.directory else {
            // Made only when DuckDB has to spill, and removed by it.
            options["temp_directory"] =
                FileManager.default.temporaryDirectory
                .appending(path: "tidemark-spill-\(ProcessInfo.processInfo.processIdentifier)").path
            return try open(nil, options)
        }
        do {
            try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        } catch {
            throw TidemarkError.unavailable(
                "the state directory \(directory.path) cannot be made: \(FileFailure.reason(error))")
        }
        options["temp_directory"] = directory.appending(path: "spill").path
        let file = directory.appending(path: "state.duckdb")
        do {
            return try open(file.path, options)
        } catch let error as DuckDBError {
            // The words of DuckDB's LocalFileSystem; a damaged file is about its "blocks".
            if "\(error)".contains("Could not set lock on file") {
                throw TidemarkError.unavailable(
                    """
                    the state directory \(directory.path) is in use by another process; stop it, or set STATE_DIR to \
                    another folder
                    """)
            }
            if error.kind == .invalidInput { throw error }
            // Whatever else is wrong, the file may be sound, and what it holds may have taken hours to load.
            guard error.meansDamage else {
                throw TidemarkError.unavailable(
                    """
                    the replica \(file.path) cannot be used: \(error). It is a copy of what is staged: if nothing else \
                    helps, remove the folder, and start again
                    """)
            }
            logger.warning(
                "the replica cannot be read and is rebuilt from staging",
                metadata: ["file": "\(file.path)", "error": "\(error)"])
            for path in [file.path, file.path + ".wal"] where FileManager.default.fileExists(atPath: path) {
                try FileManager.default.removeItem(atPath: path)
            }
            return try open(file.path, options)
        }
    }

    /// Makes the tables fit `captures` and returns where each stands. A capture whose columns changed, and
    /// all of them under another serving database, start empty.
    ///
    /// - Throws: `DuckDBError` about the file as a whole. What DuckDB says against one capture's tables concerns that
    ///   capture alone.
    static func reconcile(_ database: Database, captures: [Capture], origin: String) throws -> Contents {
        let connection = try database.connect()
        defer { connection.close() }
        try connection.transaction {
            try connection.execute(
                """
                CREATE SCHEMA IF NOT EXISTS replica;
                CREATE TABLE IF NOT EXISTS replica.origin (serving_id VARCHAR NOT NULL);
                CREATE TABLE IF NOT EXISTS replica.positions (
                    capture_instance VARCHAR NOT NULL, layout VARCHAR NOT NULL,
                    base_lsn BLOB NOT NULL, loaded_lsn BLOB NOT NULL
                );
                """)
            let origins = try connection.query("SELECT serving_id FROM replica.origin").rows()
            if origins != [[.string(origin)]] {
                try connection.execute(
                    """
                    DELETE FROM replica.positions;
                    DELETE FROM replica.origin;
                    INSERT INTO replica.origin VALUES (\(SQLText.literal(origin)));
                    """)
            }
        }
        var contents = Contents()
        for capture in captures {
            do {
                contents.positions[capture.instance] = try connection.transaction {
                    try position(of: capture, connection)
                }
            } catch let error as DuckDBError where error.concernsStatement {
                contents.refused.append(
                    RefusedCapture(
                        instance: capture.instance, table: capture.table,
                        reason: .schema("DuckDB cannot hold table \(capture.table): \(error)")))
            }
        }
        return contents
    }

    /// Where a capture's tables stand, which are made when they are missing or have another layout.
    private static func position(of capture: Capture, _ connection: Connection) throws -> Position {
        let tables = ReplicaTables(capture)
        let known = try connection.query(
            "SELECT base_lsn, loaded_lsn FROM replica.positions WHERE capture_instance = ? AND layout = ?",
            [.string(capture.instance), .string(tables.layout)]
        ).rows().first
        guard let known, case .blob(let base) = known[0], case .blob(let loaded) = known[1],
            let base = LSN(bytes: base), let loaded = LSN(bytes: loaded)
        else {
            try connection.execute(tables.create)
            return .empty
        }
        let log = try connection.query(
            "SELECT count(*), coalesce(max(\(ReservedName.order)), 0) FROM \(tables.log.qualified)"
        ).rows()[0]
        return Position(
            base: base, loaded: loaded, logRows: Int(log[0].int64 ?? 0), lastOrdinal: log[1].int64 ?? 0)
    }
}
