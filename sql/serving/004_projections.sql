-- The tables of the shipped projections, empty until the pipeline has built them.
--
-- A build keeps a table whose columns fit the projection's, with its lengths, indexes and permissions, and changes its
-- rows in place; so declare here what your readers need. The pipeline's own queries go by the primary key. Text in a
-- key is compared by code point (BIN2): two segments that differ in case are two. Safe to repeat.

IF OBJECT_ID(N'[dbo].[proj_orders_kpi_by_minute_segment]', N'U') IS NULL
    CREATE TABLE [dbo].[proj_orders_kpi_by_minute_segment] (
        minute_bucket datetime2(6) NOT NULL,
        segment nvarchar(50) COLLATE Latin1_General_100_BIN2 NOT NULL,
        orders_count bigint NULL,
        orders_amount_sum decimal(38,2) NULL,
        paid_amount_sum decimal(38,2) NULL,
        PRIMARY KEY CLUSTERED (minute_bucket, segment)
    );
GO

IF OBJECT_ID(N'[dbo].[proj_orders_latest]', N'U') IS NULL
    CREATE TABLE [dbo].[proj_orders_latest] (
        order_id bigint NOT NULL,
        customer_id bigint NULL,
        segment nvarchar(50) NULL,
        amount decimal(18,2) NULL,
        status nvarchar(20) NULL,
        created_at datetime2(6) NULL,
        updated_at datetime2(6) NULL,
        -- The greatest LSN among the order's and its customer's latest changes.
        __source_lsn binary(10) NULL,
        PRIMARY KEY CLUSTERED (order_id)
    );
GO
