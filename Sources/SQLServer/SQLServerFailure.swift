import ODBC
import Tidemark

/// Makes errors of SQL Server readable: one sentence with the remedy, and the server's own words.
///
/// Numbers: https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
enum SQLServerFailure {
    /// `error` as the package's own kind of error, when it came from the driver; otherwise unchanged.
    static func readable(_ error: any Error, in database: DatabaseLabel) -> any Error {
        guard let error = error as? ODBCError else { return error }
        let detail = detail(error)
        let sentence = "\(database) \(sentence(error)) (\(detail))"
        switch error.errorClass {
        case .cancelled: return CancellationError()
        case .transient: return TidemarkError.transient(sentence)
        case .permission, .constraint, .syntax, .permanent: return TidemarkError.unavailable(sentence)
        }
    }

    /// What happened and what to do about it, to follow the database's name.
    private static func sentence(_ error: ODBCError) -> String {
        if let known = numbered.first(where: { $0.numbers.contains(where: error.has) }) { return known.sentence }
        if error.isConnect, let reason = unconnected(error) { return reason }
        switch error.errorClass {
        case .transient:
            return error.hasState("HYT00")
                ? "did not answer in time; see whether another session blocks it"
                : "was lost; check the network, and whether the server restarted"
        case .permission: return "refuses this to the login; grant what docs/sql-server.md#permissions lists"
        case .constraint: return "refuses rows that break a constraint; drop one that was added to the table by hand"
        case .cancelled, .syntax, .permanent:
            return """
                reports an error without a known remedy; look for its number in docs/sql-server.md#troubleshooting, or in \
                SQL Server's own documentation
                """
        }
    }

    /// Sentences for the server's numbers. Of several the one that stands first tells most: "cannot open database" comes
    /// with "login failed".
    private static let numbered: [(numbers: Set<Int>, sentence: String)] = [
        ([1205], "chose this transaction as the victim of a deadlock; if often, see who else writes to it"),
        ([1222], "did not answer in time; see whether another session blocks it"),
        ([1204, 8628, 8645, 8651], "is short of memory or locks; if it stays so, give the server more memory"),
        (
            [3941, 3947, 3948, 3950, 3953, 3957, 3960, 3966],
            "gave this transaction up in favour of another; if often, see who else writes to it"
        ),
        (
            [617, 669, 1807, 2021, 2816, 9020],
            "could not do this at the moment; see who changes tables or databases there if it stays so"
        ),
        // Azure SQL reports 4060 while a database is moved, every server for a login without a user. 911 is what a
        // server says that looks for the database only after the login.
        (
            [911, 4060],
            """
            cannot be opened by this login; check the database's name, and create a user for the login there, if it does \
            not pass
            """
        ),
        ([926], "is marked suspect; if it does not pass, see the server's error log and restore it from a backup"),
        (
            [615, 913, 921, 922, 927, 941, 942, 952, 955, 956, 982, 983, 988, 4221],
            "is starting, recovering, changing its role or offline; bring it online if it stays so"
        ),
        (
            [6005, 17142, 17187, 17197, 17809, 17889, 18401, 18451, 18461],
            """
            is on a server that takes no logins just now: it starts, stops, is in maintenance or has too many \
            connections; see its error log if it stays so
            """
        ),
        (
            [40020, 40143, 40166, 40197, 40540, 40613, 40671, 49802],
            "is being moved by Azure SQL; this passes in minutes"
        ),
        (
            [10928, 10929, 10930, 10936, 40189, 40501, 40642, 40648, 40675, 40903, 49918, 49919, 49920],
            "is at a limit of Azure SQL; choose a larger service tier if it stays so"
        ),
        (
            [40549, 40550, 40551, 40552, 40553],
            "had its session ended by Azure SQL for what it took; lower CDC_BATCH_MAX_ROWS, or choose a larger service tier"
        ),
        ([18456], "refuses the login; check user and password, and that the login may open the database"),
        (
            [18452],
            """
            refuses the login, which is no SQL login; use one, and let the server take them (SQL Server and Windows \
            Authentication mode)
            """
        ),
        ([18470], "refuses the login, which is disabled; ALTER LOGIN … ENABLE"),
        ([18486], "refuses the login, which is locked out; ALTER LOGIN … WITH PASSWORD = … UNLOCK"),
        (
            [18487, 18488],
            "refuses the login, whose password has expired; ALTER LOGIN … WITH PASSWORD = …, and change the DSN"
        ),
        (
            [40531, 40532],
            "is on a server Azure SQL does not know; write the host as NAME.database.windows.net, and check the name"
        ),
        (
            [40615, 40914, 47073],
            "is behind a firewall of Azure SQL that refuses this machine; allow its address or network there"
        ),
        ([916], "may not be opened by this login; create a user for it there"),
        ([229, 230, 262, 297, 300], "refuses this to the login; grant what docs/sql-server.md#permissions lists"),
        (
            [207, 208, 2812],
            "lacks a table, column or function; check that the DSN names the right database, and run tidemark bootstrap"
        ),
        (
            [313],
            """
            does not have all the changes asked for: they were cleaned up, or the capture was made anew; look for a gap \
            in tidemark status
            """
        ),
        (
            [1101, 1105, 1132, 9002, 40544],
            "cannot grow: its data or log file is full; make room on the disk, or raise the file's limit"
        ),
        ([3906, 3908], "is read-only; point the DSN at the primary replica"),
        (
            [976, 978, 979],
            """
            is a secondary replica that does not take this connection; point the DSN at the listener of the availability \
            group, or allow reading there
            """
        ),
        (
            [2601, 2627],
            """
            has rows with these keys already; drop unique indexes that were added to the table by hand, and let no other \
            program write to it
            """
        ),
        ([547], "refuses rows that break a foreign key or a check; drop the one that was added to the table by hand"),
        ([515], "refuses NULL in a column; drop the NOT NULL that was added to the table by hand"),
    ]

    /// Why no connection came about, where no number of the server's tells.
    private static func unconnected(_ error: ODBCError) -> String? {
        switch true {
        case error.says("cannot open database"):
            return numbered.first { $0.numbers.contains(4060) }?.sentence
        case error.hasState("28000"): return "refuses the login; check user and password"
        case ["IM002", "IM003", "IM004"].contains(where: error.hasState), error.says("can't open lib"):
            return """
                has no ODBC driver: install FreeTDS (tdsodbc), or name one that odbcinst -q -d lists with driver=…, or \
                Driver=… in an ODBC string
                """
        case error.says("certificate"):
            return """
                shows a certificate that is not trusted; install its authority or name it with serverCertificate=PATH, or \
                say trustServerCertificate=true if the network is safe
                """
        case error.says("for connection string attribute"), error.has(20_214):
            return "has a value in its DSN or freetds.conf that the driver does not know; correct it"
        case error.has(20_013):
            return "has a host whose name is not known; check the host in the DSN, and the network's DNS"
        // All FreeTDS says of a certificate it does not trust is that it could not connect (and 20002, the same).
        case !error.records.isEmpty && error.records.allSatisfy(isFreeTDSSilence):
            return """
                ended the connection before the login: most likely its certificate is not of an authority this machine \
                trusts (serverCertificate=PATH names another, trustServerCertificate=true takes any), or it has no TLS \
                (encrypt=false)
                """
        case error.errorClass == .transient:
            return "cannot be reached; check that it runs, and that host and port are right"
        default: return nil
        }
    }

    private static func isFreeTDSSilence(_ record: Diagnostic) -> Bool {
        record.message.hasPrefix("[FreeTDS]")
            && (record.nativeCode == 20_002 || record.nativeCode == 0 && record.sqlState == "08001")
    }

    private static func detail(_ error: ODBCError) -> String {
        let records = error.records.filter { !$0.isWarning }
        guard !records.isEmpty else { return DatabaseLabel.oneLine(error.description) }
        let said = records.prefix(3).map {
            "\(DatabaseLabel.oneLine($0.message)), error \($0.nativeCode), SQLSTATE \($0.sqlState)"
        }
        let statement = error.sql.map { "; in: \(DatabaseLabel.oneLine($0))" } ?? ""
        return said.joined(separator: "; ") + statement
    }
}

extension ODBCError {
    /// Whether the server reported this number.
    func has(_ code: Int) -> Bool { records.contains { $0.nativeCode == code } }

    func hasState(_ state: String) -> Bool { records.contains { $0.sqlState == state } }

    func says(_ words: String) -> Bool {
        records.contains { $0.message.lowercased().contains(words) }
    }

    var isConnect: Bool { if case .connect = self { true } else { false } }
}
