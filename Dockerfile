# syntax=docker/dockerfile:1

# Tidemark with FreeTDS, on Ubuntu. `docker compose up` builds it; by hand:
#
#   docker build --tag tidemark:local .
#
# DuckDB's library is what scripts/install-duckdb pins: the DuckDB project's own build from PyPI, refused unless its
# SHA-256 is the one in scripts/duckdb/requirements.txt. To take the release archive from GitHub in its place, name
# its SHA-256, as the release page shows it for libduckdb-linux-amd64.zip (or -arm64.zip):
#
#   docker build --build-arg LIBDUCKDB_SHA256=… --tag tidemark:local .

ARG SWIFT_IMAGE=swift:6.3-noble
ARG RUNTIME_IMAGE=ubuntu:24.04

FROM ${SWIFT_IMAGE} AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ENV DEBIAN_FRONTEND=noninteractive
# Versions are those of the base image's release, security fixes included: pinned ones go away from Ubuntu's mirrors.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates curl libpython3.12t64 libsqlite3-dev pkg-config python3 python3-pip unixodbc-dev unzip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src

# scripts/check-deploy keeps the version the same as that of scripts/install-duckdb.
ARG DUCKDB_VERSION=2.0.0
ARG LIBDUCKDB_SHA256=""
ARG TARGETARCH
COPY scripts/install-duckdb scripts/
COPY scripts/duckdb scripts/duckdb
RUN if [ -n "$LIBDUCKDB_SHA256" ]; then \
        curl -fsSL -o /tmp/libduckdb.zip \
            "https://github.com/duckdb/duckdb/releases/download/v${DUCKDB_VERSION}/libduckdb-linux-${TARGETARCH:-amd64}.zip"; \
        echo "$LIBDUCKDB_SHA256  /tmp/libduckdb.zip" | sha256sum --check --strict -; \
        unzip -q /tmp/libduckdb.zip -d /opt/libduckdb; \
        export DUCKDB_LIB_DIR=/opt/libduckdb; \
    fi; \
    scripts/install-duckdb; \
    install -D --mode=755 "$(readlink -f .deps/duckdb/libduckdb.so)" /out/lib/libduckdb.so

COPY . .
RUN --mount=type=cache,target=/src/.build,sharing=locked \
    PKG_CONFIG_PATH=/src/.deps/duckdb swift build -c release --product tidemark --static-swift-stdlib \
    && install -D --mode=755 .build/release/tidemark /out/bin/tidemark

FROM ${RUNTIME_IMAGE}
ARG VERSION=unreleased
LABEL org.opencontainers.image.title="Tidemark" \
    org.opencontainers.image.description="Keeps query-ready tables in step with a SQL Server database" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}"
# libpython is for DuckDB's build from PyPI, which names it; no Python runs.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates libpython3.12t64 libsqlite3-0 libstdc++6 tdsodbc tzdata unixodbc \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 tidemark \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/tidemark --shell /usr/sbin/nologin tidemark \
    && install -d -o 10001 -g 10001 -m 750 /var/lib/tidemark
COPY --from=build /out/ /usr/local/
# A library that is missing fails the build here rather than the first start.
RUN ldconfig && tidemark --help >/dev/null

# The replica is a cache that is rebuilt when it is lost, but that takes time. `verify` writes there too.
ENV STATE_DIR=/var/lib/tidemark/state \
    TMPDIR=/var/lib/tidemark
VOLUME /var/lib/tidemark
WORKDIR /var/lib/tidemark
USER 10001:10001

# Both databases answer, and hold what bootstrap makes. A table that cannot go on (exit code 1) is its owner's to mend; to
# start the container anew would not help.
HEALTHCHECK --interval=30s --timeout=15s --start-period=180s --retries=3 CMD ["sh", "-c", "tidemark status || test $? -eq 1"]
ENTRYPOINT ["tidemark"]
CMD ["run"]
