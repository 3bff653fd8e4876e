-- What the pipeline knows about itself: how far it has read, how far each projection is, and what went wrong.
--
-- Run in the serving database; safe to repeat. Names are compared by code point (BIN2), as the pipeline
-- compares them. LSNs are SQL Server's own binary(10); times are UTC.

-- The version of these tables. Each further one has a script of its own, 002_control_v2.sql and so on; tidemark bootstrap
-- runs those that are missing, each in one transaction.
IF OBJECT_ID(N'[dbo].[ctl_schema]', N'U') IS NULL
    CREATE TABLE [dbo].[ctl_schema] (
        version int NOT NULL,
        applied_at datetime2(6) NOT NULL,
        PRIMARY KEY CLUSTERED (version)
    );
GO

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

-- Every change of a capture with an LSN up to last_ingested_lsn is in its staging table.
IF OBJECT_ID(N'[dbo].[ctl_ingestion_watermarks]', N'U') IS NULL
    CREATE TABLE [dbo].[ctl_ingestion_watermarks] (
        source_name nvarchar(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        capture_instance nvarchar(128) COLLATE Latin1_General_100_BIN2 NOT NULL,
        last_ingested_lsn binary(10) NOT NULL,
        last_commit_time datetime2(6) NULL,
        rows_ingested bigint NOT NULL,
        -- INIT, OK or ERROR
        status nvarchar(10) COLLATE Latin1_General_100_BIN2 NOT NULL,
        last_error nvarchar(max) NULL,
        updated_at datetime2(6) NOT NULL,
        PRIMARY KEY CLUSTERED (source_name, capture_instance)
    );
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

INSERT INTO [dbo].[ctl_schema] (version, applied_at)
SELECT 1, SYSUTCDATETIME()
WHERE NOT EXISTS (SELECT 1 FROM [dbo].[ctl_schema] WHERE version = 1);
GO
