-- The sample shop: what the bundled projections are defined over.
--
-- Amounts are DECIMAL_TEXT: SQLite gives that type TEXT affinity and keeps every digit. DECIMAL has NUMERIC
-- affinity and would turn large amounts into floating-point numbers.

CREATE TABLE IF NOT EXISTS customers (
    customer_id INTEGER PRIMARY KEY,
    segment     NVARCHAR(50),
    is_active   BOOLEAN NOT NULL DEFAULT 1,
    updated_at  DATETIME NOT NULL
);

CREATE TABLE IF NOT EXISTS orders (
    order_id    INTEGER PRIMARY KEY,
    customer_id INTEGER,
    amount      DECIMAL_TEXT(18,2),
    status      NVARCHAR(20),
    created_at  DATETIME,
    updated_at  DATETIME NOT NULL
);

CREATE TABLE IF NOT EXISTS payments (
    payment_id  INTEGER PRIMARY KEY,
    order_id    INTEGER,
    paid_amount DECIMAL_TEXT(18,2),
    paid_at     DATETIME
);
