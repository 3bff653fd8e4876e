-- Staging of the sample shop: the durable, replayable log of its changes.
--
-- The pipeline makes such a table for any capture by itself; these are for reading, and for giving a DBA the place
-- to add filegroups or compression. Run in the serving database; safe to repeat.
--
-- The clustered key is the order of the log, in which replicas read it and ingestors append to it, so it is all the
-- index the pipeline needs. Captured columns allow NULL whatever the source says: an old image may lack them.

IF OBJECT_ID(N'[dbo].[stg_cdc_customers]', N'U') IS NULL
    CREATE TABLE [dbo].[stg_cdc_customers] (
        lsn binary(10) NOT NULL,
        command_id int NOT NULL,
        seqval binary(10) NOT NULL,
        -- 1 delete, 2 insert, 3 update (before), 4 update (after)
        op tinyint NOT NULL,
        customer_id bigint NULL,
        segment nvarchar(50) NULL,
        is_active bit NULL,
        updated_at datetime2(6) NULL,
        ingested_at datetime2(6) NOT NULL,
        PRIMARY KEY CLUSTERED (lsn, command_id, seqval, op)
    );
GO

IF OBJECT_ID(N'[dbo].[stg_cdc_orders]', N'U') IS NULL
    CREATE TABLE [dbo].[stg_cdc_orders] (
        lsn binary(10) NOT NULL,
        command_id int NOT NULL,
        seqval binary(10) NOT NULL,
        op tinyint NOT NULL,
        order_id bigint NULL,
        customer_id bigint NULL,
        amount decimal(18,2) NULL,
        status nvarchar(20) NULL,
        created_at datetime2(6) NULL,
        updated_at datetime2(6) NULL,
        ingested_at datetime2(6) NOT NULL,
        PRIMARY KEY CLUSTERED (lsn, command_id, seqval, op)
    );
GO

IF OBJECT_ID(N'[dbo].[stg_cdc_payments]', N'U') IS NULL
    CREATE TABLE [dbo].[stg_cdc_payments] (
        lsn binary(10) NOT NULL,
        command_id int NOT NULL,
        seqval binary(10) NOT NULL,
        op tinyint NOT NULL,
        payment_id bigint NULL,
        order_id bigint NULL,
        paid_amount decimal(18,2) NULL,
        paid_at datetime2(6) NULL,
        ingested_at datetime2(6) NOT NULL,
        PRIMARY KEY CLUSTERED (lsn, command_id, seqval, op)
    );
GO
