-- What the pipeline knows about itself: how far it has read, how far each projection is, and what went wrong.
--
-- Run in the serving database; safe to repeat. Names are compared by code point (BIN2), as the pipeline
-- compares them. LSNs are SQL Server's own binary(10); times are UTC.

IF OBJECT_ID(N'[dbo].[ctl_serving]', N'U') IS NULL
    CREATE TABLE [dbo].[ctl_serving] (
        id tinyint NOT NULL CHECK (id = 1),
        -- Given once and for all: a replica made from another serving database is recognised by it.
        serving_id nvarchar(36) NOT NULL,
        PRIMARY KEY CLUSTERED (id)
    );
GO

INSERT INTO [dbo].[ctl_serving] (id, serving_id)
SELECT 1, LOWER(CONVERT(nvarchar(36), NEWID()))
WHERE NOT EXISTS (SELECT 1 FROM [dbo].[ctl_serving]);
GO

-- What makes a source the same one, and whether it still has the history that was read from it. While mismatch says
-- why it has not, nothing is staged from it.
IF OBJECT_ID(N'[dbo].[ctl_sources]', N'U') IS NULL
    CREATE TABLE [dbo].[ctl_sources] (
        source_name nvarchar(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        [identity] nvarchar(1000) COLLATE Latin1_General_100_BIN2 NOT NULL,
        -- How often the history was begun anew.
        epoch int NOT NULL,
        mismatch nvarchar(max) NULL,
        resync_requested bit NOT NULL,
        last_seen_at datetime2(6) NOT NULL,
        PRIMARY KEY CLUSTERED (source_name)
    );
GO

-- Every change of a capture with an LSN up to last_ingested_lsn is in its staging table. Where a snapshot had to stand
-- for changes that could not be read, staging shows the table as it was at LSNs from complete_from_lsn on only.
-- Rows beyond last_ingested_lsn are of an attempt that is at work or was cut short; staging_token says whose, and is NULL
-- when there are none.
IF OBJECT_ID(N'[dbo].[ctl_ingestion_watermarks]', N'U') IS NULL
    CREATE TABLE [dbo].[ctl_ingestion_watermarks] (
        source_name nvarchar(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        capture_instance nvarchar(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        last_ingested_lsn binary(10) NOT NULL,
        complete_from_lsn binary(10) NULL,
        staging_token nvarchar(36) COLLATE Latin1_General_100_BIN2 NULL,
        last_commit_time datetime2(6) NULL,
        rows_ingested bigint NOT NULL,
        -- INIT, OK or ERROR
        status nvarchar(10) COLLATE Latin1_General_100_BIN2 NOT NULL,
        last_error nvarchar(max) NULL,
        -- Whether an operator asked for the table to be read anew.
        resync_requested bit NOT NULL DEFAULT 0,
        updated_at datetime2(6) NOT NULL,
        PRIMARY KEY CLUSTERED (source_name, capture_instance)
    );
GO

-- Tables made by an earlier version lack it.
IF COL_LENGTH(N'[dbo].[ctl_ingestion_watermarks]', N'resync_requested') IS NULL
    ALTER TABLE [dbo].[ctl_ingestion_watermarks] ADD resync_requested bit NOT NULL DEFAULT 0;
GO

-- A database of an earlier version. Whether something was staged beyond a watermark was not noted then, so the token says
-- that it may be.
IF COL_LENGTH(N'[dbo].[ctl_ingestion_watermarks]', N'staging_token') IS NULL
BEGIN
    ALTER TABLE [dbo].[ctl_ingestion_watermarks]
        ADD staging_token nvarchar(36) COLLATE Latin1_General_100_BIN2 NULL;
    -- Compiled on its own, when the column is there.
    EXEC (N'UPDATE [dbo].[ctl_ingestion_watermarks] SET staging_token = N''unknown''');
END;
GO

-- Up to which LSN a projection has consumed each capture it reads.
IF OBJECT_ID(N'[dbo].[ctl_projection_checkpoints]', N'U') IS NULL
    CREATE TABLE [dbo].[ctl_projection_checkpoints] (
        projection_name nvarchar(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        capture_instance nvarchar(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        last_consumed_lsn binary(10) NOT NULL,
        updated_at datetime2(6) NOT NULL,
        PRIMARY KEY CLUSTERED (projection_name, capture_instance)
    );
GO

-- What each projection's table is true at. as_of_lsn and the table move in one transaction.
IF OBJECT_ID(N'[dbo].[ctl_projection_metadata]', N'U') IS NULL
    CREATE TABLE [dbo].[ctl_projection_metadata] (
        projection_name nvarchar(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        -- INIT, OK or ERROR
        status nvarchar(10) COLLATE Latin1_General_100_BIN2 NOT NULL,
        as_of_lsn binary(10) NULL,
        as_of_time datetime2(6) NULL,
        built_at datetime2(6) NULL,
        definition_hash nvarchar(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        rows_written bigint NOT NULL,
        last_error nvarchar(max) NULL,
        PRIMARY KEY CLUSTERED (projection_name)
    );
GO
