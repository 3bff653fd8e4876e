import Foundation
import ODBC
import Tidemark

/// The ODBC drivers for SQL Server that are installed.
public struct SQLServerDrivers: Sendable {
    enum Family: Sendable { case freeTDS, microsoft }

    struct Driver: Sendable {
        let name: String
        let family: Family
    }

    private let installed: [Driver]
    /// Shared libraries by the drivers' names in lower case, as the driver manager compares them.
    private let libraries: [String: String]
    /// Drivers by the names of data sources in lower case.
    private let dataSources: [String: String]

    /// - Parameters:
    ///   - names: as the driver manager lists them.
    ///   - libraries: as `Environment.driverLibraries()`.
    ///   - dataSources: as `Environment.dataSourceDrivers()`.
    public init(names: [String], libraries: [String: String] = [:], dataSources: [String: String] = [:]) {
        func lowercased(_ dictionary: [String: String]) -> [String: String] {
            Dictionary(dictionary.map { ($0.key.lowercased(), $0.value) }) { first, _ in first }
        }
        self.libraries = lowercased(libraries)
        self.dataSources = lowercased(dataSources)
        installed = names.compactMap { name in Self.family(name).map { Driver(name: name, family: $0) } }
    }

    /// What the driver manager of this machine lists, and FreeTDS where Debian puts it.
    public static func ofThisMachine() throws -> SQLServerDrivers {
        let environment = try Environment()
        return SQLServerDrivers(
            names: environment.drivers() + freeTDSPaths.filter { FileManager.default.fileExists(atPath: $0) },
            libraries: environment.driverLibraries(), dataSources: environment.dataSourceDrivers())
    }

    private static let freeTDSPaths = ["x86_64-linux-gnu", "aarch64-linux-gnu"].map {
        "/usr/lib/\($0)/odbc/libtdsodbc.so"
    }

    static let microsoftHint =
        "install Microsoft's ODBC Driver 18 and add driver=ODBC%20Driver%2018%20for%20SQL%20Server"

    /// Whose driver a connection string goes to; `nil` when neither its driver's name nor the library behind it tells.
    ///
    /// Of a `FILEDSN` the driver manager reads the driver itself, so that says nothing here.
    func family(of string: ODBCString) -> Family? {
        let drivers = string.pairs.compactMap { pair in
            switch pair.keyword.lowercased() {
            case "driver": pair.value
            case "dsn": dataSources[pair.value.lowercased()]
            default: nil
            }
        }
        let families = drivers.compactMap { libraries[$0.lowercased()].flatMap(Self.family) ?? Self.family($0) }
        return families.contains(.freeTDS) ? .freeTDS : families.first
    }

    /// The family of a driver by its name or path.
    private static func family(_ name: String) -> Family? {
        let name = name.lowercased()
        if name.contains("freetds") || name.contains("tdsodbc") { return .freeTDS }
        if name.contains("odbc driver") && name.contains("sql server") || name.contains("msodbcsql") {
            return .microsoft
        }
        return nil
    }

    /// The driver the DSN names, or the one to take: FreeTDS unless only Microsoft's can do what is asked for.
    func driver(for address: SQLServerAddress) throws(DSNError) -> Driver {
        if let name = address.options[.driver] {
            guard let family = Self.family(name) else {
                throw DSNError(
                    """
                    names a driver that is neither FreeTDS nor one of Microsoft's; for another one write an ODBC \
                    connection string, Driver=…;Server=…
                    """)
            }
            return Driver(name: name, family: family)
        }
        let needsMicrosoft =
            address.encryption == .strict || address.authentication != .sqlPassword || address.isMultiSubnet
        let microsoft = installed.last { $0.family == .microsoft }
        guard let found = needsMicrosoft ? microsoft : installed.first(where: { $0.family == .freeTDS }) ?? microsoft
        else {
            guard !needsMicrosoft else {
                let what =
                    address.encryption == .strict
                    ? "encrypt=strict"
                    : address.isMultiSubnet ? "multiSubnetFailover=true" : "Entra authentication"
                throw DSNError("asks for \(what), which only Microsoft's driver has; \(Self.microsoftHint)")
            }
            throw DSNError(
                """
                is on SQL Server, and no ODBC driver for it is installed; install FreeTDS (tdsodbc), or Microsoft's ODBC \
                Driver 18
                """)
        }
        return found
    }
}
