# What a contributor and the CI do, one word each; `make` alone lists the words.
#
#   make demo DURATION=15s RATE=500    settings of the demo: DURATION, RATE, DIR, KEEP=1

.DEFAULT_GOAL := help
.PHONY: help deps odbc build release demo bench test test-sqlserver lint format clean

SWIFT ?= swift
# DuckDB, for SwiftPM.
export PKG_CONFIG_PATH := $(CURDIR)/.deps/duckdb$(if $(PKG_CONFIG_PATH),:$(PKG_CONFIG_PATH))
# What swift format looks at.
SOURCES := Package.swift Sources Tests Plugins Benchmarks
# The release build; a link that SwiftPM keeps.
TIDEMARK := .build/release/tidemark
# Variables given on the command line become options of `tidemark demo`.
OPTIONS = $(if $(DURATION),--duration $(DURATION)) $(if $(RATE),--rate $(RATE)) \
	$(if $(DIR),--dir "$(DIR)") $(if $(KEEP),--keep)

help: ## List what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-14s %s\n", $$1, $$2 }'

deps: ## Install what the build needs: system libraries and DuckDB (quick when they are there)
	@scripts/install-packages
	@scripts/install-duckdb

odbc: # unixODBC and FreeTDS, for SQL Server.
	@scripts/install-odbc

build: deps odbc ## Build everything for debugging
	$(SWIFT) build

release: deps odbc ## Build the optimised binary, .build/release/tidemark
	$(SWIFT) build -c release --product tidemark

demo: release ## Show the pipeline at work on throw-away databases (DURATION=15s RATE=500 DIR=folder KEEP=1)
	$(TIDEMARK) demo $(OPTIONS)

bench: release ## Measure against what the databases do by themselves (minutes; docs/benchmarks.md)
	$(SWIFT) build -c release --product tidemark-bench
	.build/release/tidemark-bench
	@if [ -n "$$TIDEMARK_TEST_SOURCE_DSN" ]; then \
	TIDEMARK_BENCH_CHANGES=100000 $(SWIFT) test --filter ReadBenchmarkTests; fi
	$(TIDEMARK) demo --rate 2000 --duration 20s

test: deps odbc ## Build and run all tests
	$(SWIFT) build --build-tests
	$(SWIFT) test --skip-build

test-sqlserver: deps odbc ## Run the tests that need SQL Server: TIDEMARK_TEST_SOURCE_DSN and _SERVING_DSN, or Docker
	@scripts/test-sqlserver

lint: ## Check Swift, shell and T-SQL files, and those of the Docker deployment
	$(SWIFT) format lint --strict --recursive $(SOURCES)
	@scripts/install-packages shellcheck
	@if command -v shellcheck >/dev/null; then find .ci scripts -maxdepth 1 -type f -exec shellcheck {} +; \
	else echo "lint: shellcheck is missing, shell scripts are not checked"; fi
	@scripts/check-deploy

format: ## Bring Swift files into form
	$(SWIFT) format --in-place --recursive $(SOURCES)

clean: ## Remove what was built; databases and .deps stay
	rm -rf .build
