-- A first few rows, so that the projections are not empty. Only into empty tables, and after 003_cdc.sql, so that
-- the change tables hold every row there ever was.

SET NOCOUNT ON;
SET XACT_ABORT ON;

IF NOT EXISTS (SELECT 1 FROM dbo.customers)
    AND NOT EXISTS (SELECT 1 FROM dbo.orders)
    AND NOT EXISTS (SELECT 1 FROM dbo.payments)
BEGIN
    DECLARE @now datetime2(3) = SYSUTCDATETIME();

    BEGIN TRANSACTION;

    INSERT INTO dbo.customers (customer_id, segment, is_active, updated_at)
    VALUES
        (1, N'RETAIL', 1, @now),
        (2, N'WHOLESALE', 1, @now),
        (3, N'ONLINE', 1, @now),
        (4, NULL, 0, @now);

    INSERT INTO dbo.orders (order_id, customer_id, amount, status, created_at, updated_at)
    VALUES
        (1, 1, 19.90, N'DELIVERED', DATEADD(MINUTE, -30, @now), @now),
        (2, 2, 1250.00, N'SHIPPED', DATEADD(MINUTE, -20, @now), @now),
        (3, 3, 64.25, N'NEW', DATEADD(MINUTE, -10, @now), @now),
        (4, 4, 8.50, N'NEW', DATEADD(MINUTE, -5, @now), @now),
        (5, NULL, 120.00, N'NEW', DATEADD(MINUTE, -5, @now), @now);

    INSERT INTO dbo.payments (payment_id, order_id, paid_amount, paid_at)
    VALUES
        (1, 1, 19.90, DATEADD(MINUTE, -25, @now)),
        (2, 2, 500.00, DATEADD(MINUTE, -15, @now)),
        (3, 2, 750.00, DATEADD(MINUTE, -2, @now));

    COMMIT TRANSACTION;
    PRINT N'wrote the first customers, orders and payments';
END;
GO
