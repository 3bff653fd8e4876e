// DuckDB's C API. `scripts/install-duckdb` puts the header there, beside the library it belongs to.
#include "../../.deps/duckdb/duckdb.h"
