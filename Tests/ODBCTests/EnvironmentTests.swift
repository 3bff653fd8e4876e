import ODBC
import Testing

@Suite("What the driver manager knows", .enabled(if: Installed.freeTDS, Installed.freeTDSHint))
struct EnvironmentTests {
    @Test("a driver is listed by its name, and with its library")
    func libraries() throws {
        let environment = try Environment()
        #expect(environment.drivers().contains("FreeTDS"))
        #expect(environment.driverLibraries()["FreeTDS"]?.contains("tdsodbc") == true)
    }
}
