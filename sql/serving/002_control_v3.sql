-- Version 3 of the control tables: what is known of sources, and requests to read a table anew.
--
-- Run in the serving database, after 002_control_v2.sql; safe to repeat.

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

-- Whether an operator asked for the table to be read anew.
IF COL_LENGTH(N'[dbo].[ctl_ingestion_watermarks]', N'resync_requested') IS NULL
    ALTER TABLE [dbo].[ctl_ingestion_watermarks] ADD resync_requested bit NOT NULL DEFAULT 0;
GO

INSERT INTO [dbo].[ctl_schema] (version, applied_at)
SELECT 3, SYSUTCDATETIME()
WHERE NOT EXISTS (SELECT 1 FROM [dbo].[ctl_schema] WHERE version = 3);
GO
