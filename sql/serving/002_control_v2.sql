-- Version 2 of the control tables: from where on staging is complete.
--
-- Run in the serving database, after 002_control.sql; safe to repeat.

-- Where a snapshot had to stand for changes that could not be read, staging shows the table as it was at LSNs from
-- complete_from_lsn on only.
IF COL_LENGTH(N'[dbo].[ctl_ingestion_watermarks]', N'complete_from_lsn') IS NULL
    ALTER TABLE [dbo].[ctl_ingestion_watermarks] ADD complete_from_lsn binary(10) NULL;
GO

INSERT INTO [dbo].[ctl_schema] (version, applied_at)
SELECT 2, SYSUTCDATETIME()
WHERE NOT EXISTS (SELECT 1 FROM [dbo].[ctl_schema] WHERE version = 2);
GO
