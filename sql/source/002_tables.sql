-- The sample shop: what the bundled projections are defined over.
--
-- Times are UTC, to the millisecond. There are no foreign keys, and columns that an order can do without may be
-- NULL: the projections are exact for such rows too, and the load of `tidemark loadgen` makes them.

SET NOCOUNT ON;

IF OBJECT_ID(N'dbo.customers', N'U') IS NULL
BEGIN
    CREATE TABLE dbo.customers (
        customer_id bigint       NOT NULL CONSTRAINT PK_customers PRIMARY KEY,
        segment     nvarchar(50) NULL,
        is_active   bit          NOT NULL CONSTRAINT DF_customers_is_active DEFAULT (1),
        updated_at  datetime2(3) NOT NULL
    );
    PRINT N'created table dbo.customers';
END;

IF OBJECT_ID(N'dbo.orders', N'U') IS NULL
BEGIN
    CREATE TABLE dbo.orders (
        order_id    bigint         NOT NULL CONSTRAINT PK_orders PRIMARY KEY,
        customer_id bigint         NULL,
        amount      decimal(18, 2) NULL,
        status      nvarchar(20)   NULL,
        created_at  datetime2(3)   NULL,
        updated_at  datetime2(3)   NOT NULL
    );
    PRINT N'created table dbo.orders';
END;

IF OBJECT_ID(N'dbo.payments', N'U') IS NULL
BEGIN
    CREATE TABLE dbo.payments (
        payment_id  bigint         NOT NULL CONSTRAINT PK_payments PRIMARY KEY,
        order_id    bigint         NULL,
        paid_amount decimal(18, 2) NULL,
        paid_at     datetime2(3)   NULL
    );
    -- A cancelled order takes its payments along.
    CREATE INDEX IX_payments_order_id ON dbo.payments (order_id);
    PRINT N'created table dbo.payments';
END;
GO
