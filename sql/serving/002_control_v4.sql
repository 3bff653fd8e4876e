-- Version 4 of the control tables: whose rows lie beyond a watermark.
--
-- Run in the serving database, after 002_control_v3.sql; safe to repeat.

-- Rows beyond last_ingested_lsn are of an attempt that is at work or was cut short; staging_token says whose, and is NULL
-- when there are none. Whether something was staged there was not noted before, so the token says that it may be.
IF COL_LENGTH(N'[dbo].[ctl_ingestion_watermarks]', N'staging_token') IS NULL
BEGIN
    ALTER TABLE [dbo].[ctl_ingestion_watermarks]
        ADD staging_token nvarchar(36) COLLATE Latin1_General_100_BIN2 NULL;
    -- Compiled on its own, when the column is there.
    EXEC (N'UPDATE [dbo].[ctl_ingestion_watermarks] SET staging_token = N''unknown''');
END;
GO

INSERT INTO [dbo].[ctl_schema] (version, applied_at)
SELECT 4, SYSUTCDATETIME()
WHERE NOT EXISTS (SELECT 1 FROM [dbo].[ctl_schema] WHERE version = 4);
GO
