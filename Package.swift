// swift-tools-version: 6.2
import Foundation
import PackageDescription

// `make deps` puts libduckdb into .deps/duckdb. A package that depends on this one has no such folder: pkg-config tells
// it where DuckDB is. SwiftPM forbids these flags in whatever others may depend on, so only what is linked here has them.
let duckdb = "\(Context.packageDirectory)/.deps/duckdb"
let linkerOfDuckDB: [LinkerSetting] = [
    .unsafeFlags(["-L\(duckdb)", "-Xlinker", "-rpath", "-Xlinker", duckdb])
]
// Not in a dependent's build: SwiftPM keeps dependencies in a folder of that name, and reads manifests from git in none.
let isClone =
    FileManager.default.fileExists(atPath: "\(Context.packageDirectory)/scripts/install-duckdb")
    && !Context.packageDirectory.contains("/checkouts/")
if isClone, !FileManager.default.fileExists(atPath: duckdb) {
    // SwiftPM shows it as a warning.
    print("DuckDB's library is missing: run `make deps`, unless pkg-config finds duckdb")
}

let swift: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

let package = Package(
    name: "tidemark",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "tidemark", targets: ["TidemarkCLI"]),
        .library(name: "Tidemark", targets: ["Tidemark"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: []),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        // Threads for calls that block; what both C libraries' rooms need.
        .target(name: "Blocking", swiftSettings: swift),
        .systemLibrary(name: "CDuckDB", pkgConfig: "duckdb", providers: [.brew(["duckdb"])]),
        .systemLibrary(name: "CMalloc"),
        .target(name: "DuckDB", dependencies: ["CDuckDB", "Blocking"], swiftSettings: swift),
        .systemLibrary(
            name: "CODBC", pkgConfig: "odbc",
            providers: [.apt(["unixodbc-dev"]), .brew(["unixodbc"])]),
        .target(name: "ODBC", dependencies: ["CODBC", "Blocking"], swiftSettings: swift),
        .target(
            name: "Tidemark",
            dependencies: [
                "Yams",
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swift),
        .target(
            name: "DuckDBEngine",
            dependencies: ["Tidemark", "DuckDB", "Blocking", .product(name: "Logging", package: "swift-log")],
            swiftSettings: swift),
        .target(
            name: "Embedded",
            dependencies: ["Tidemark", .product(name: "GRDB", package: "GRDB.swift")],
            swiftSettings: swift),
        .target(
            name: "SQLServer",
            dependencies: ["Tidemark", "ODBC", .product(name: "Logging", package: "swift-log")],
            swiftSettings: swift),
        .executableTarget(
            name: "TidemarkCLI",
            dependencies: [
                "Tidemark", "DuckDBEngine", "Embedded", "SQLServer", "CMalloc",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            swiftSettings: swift,
            linkerSettings: linkerOfDuckDB,
            plugins: ["EmbedResources"]),
        // Writes projections/ and sql/ into the binary, so that it works from any directory.
        .plugin(name: "EmbedResources", capability: .buildTool(), dependencies: ["embed-resources"]),
        .executableTarget(name: "embed-resources", path: "Plugins/embed-resources", swiftSettings: swift),

        .executableTarget(
            name: "tidemark-bench",
            dependencies: [
                "Tidemark", "DuckDBEngine", "Embedded", "SQLServer", "ODBC",
                .product(name: "GRDB", package: "GRDB.swift"), .product(name: "Logging", package: "swift-log"),
            ],
            path: "Benchmarks",
            swiftSettings: swift,
            linkerSettings: linkerOfDuckDB),

        // One suite a port, run by the tests of every implementation.
        .target(
            name: "ContractTests", dependencies: ["Tidemark", .product(name: "Logging", package: "swift-log")],
            swiftSettings: swift),
        // Processes, a network that fails, waiting: what several test targets need.
        .target(name: "TestSupport", swiftSettings: swift),
        .testTarget(
            name: "EmbeddedTests",
            dependencies: [
                "Tidemark", "DuckDBEngine", "Embedded", "ContractTests", .product(name: "GRDB", package: "GRDB.swift"),
            ],
            swiftSettings: swift),
        // Reads the sources: who imports whom.
        .testTarget(name: "ArchitectureTests", swiftSettings: swift),
        // Against a T-SQL server when TIDEMARK_TEST_SOURCE_DSN and TIDEMARK_TEST_SERVING_DSN name one.
        .testTarget(
            name: "SQLServerTests",
            dependencies: [
                "Tidemark", "DuckDBEngine", "SQLServer", "ODBC", "ContractTests", "TestSupport", "TidemarkCLI",
                .product(name: "Logging", package: "swift-log"),
            ],
            exclude: ["StandIn/SourceStandInServer.sql", "StandIn/SourceStandInProcedures.sql"],
            swiftSettings: swift),
        // The tests of all targets are linked into one program, so one of them brings the flags.
        .testTarget(
            name: "DuckDBTests", dependencies: ["DuckDB", "Blocking"], swiftSettings: swift,
            linkerSettings: linkerOfDuckDB),
        .testTarget(name: "ODBCTests", dependencies: ["ODBC", "CODBC", "TestSupport"], swiftSettings: swift),
        .testTarget(name: "TidemarkModelTests", dependencies: ["Tidemark"], swiftSettings: swift),
        .testTarget(name: "ProjectionDefinitionTests", dependencies: ["Tidemark"], swiftSettings: swift),
        .testTarget(
            name: "DuckDBEngineTests",
            dependencies: [
                "Tidemark", "DuckDBEngine", "Embedded", "ContractTests", .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swift),
        .testTarget(
            name: "PipelineTests",
            dependencies: [
                "Tidemark", "DuckDB", "DuckDBEngine", "Embedded", "ContractTests",
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swift),
        .testTarget(name: "ShippedProjectionTests", dependencies: ["Tidemark", "DuckDB"], swiftSettings: swift),
        .testTarget(
            name: "TidemarkCLITests",
            dependencies: [
                "TidemarkCLI", "Tidemark", "SQLServer",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swift),
        // Runs the built binary as a process; depends on it so that it is there.
        .testTarget(
            name: "CommandTests",
            dependencies: ["TidemarkCLI", "TestSupport", .product(name: "GRDB", package: "GRDB.swift")],
            swiftSettings: swift),
    ]
)
