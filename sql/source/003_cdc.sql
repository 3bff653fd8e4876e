-- Change data capture on the database and on the sample tables, read through the gating role cdc_reader.
--
--   sqlcmd -S host -U admin -b -d shop -i sql/source/003_cdc.sql
--
-- For tables of your own, do the same by hand: docs/sql-server.md.
--
-- Retention: the cleanup job deletes changes after 4320 minutes (3 days) unless told otherwise. A pipeline that is
-- down for longer has a gap, and has to start over. Keep what covers your longest outage, a weekend at least:
--
--   EXEC sys.sp_cdc_change_job @job_type = N'cleanup', @retention = 10080; -- minutes: 7 days

SET NOCOUNT ON;

-- The database. Needs sysadmin; db_owner is enough in Azure SQL Database.
IF EXISTS (SELECT 1 FROM sys.databases WHERE name = DB_NAME() AND is_cdc_enabled = 1)
BEGIN
    PRINT N'change data capture is enabled on the database already';
END
ELSE
BEGIN
    DECLARE @database sysname = DB_NAME();
    DECLARE @is_rds bit = 0;

    -- Amazon RDS gives nobody sysadmin, but a procedure in its place. Azure SQL Database has no msdb.
    IF CONVERT(int, SERVERPROPERTY('EngineEdition')) <> 5
    BEGIN
        IF OBJECT_ID(N'msdb.dbo.rds_cdc_enable_db', N'P') IS NOT NULL SET @is_rds = 1;
    END;

    IF @is_rds = 1
        EXEC sys.sp_executesql N'EXEC msdb.dbo.rds_cdc_enable_db @name;', N'@name sysname', @name = @database;
    ELSE
        EXEC sys.sp_cdc_enable_db;

    PRINT N'enabled change data capture on the database';
END;
GO

-- The tables. The first one also makes the capture and cleanup jobs. The pipeline reads every change, so the
-- index and the function for net changes would only cost the capture job time.
--
-- The note on a table that is empty when its capture is enabled tells the pipeline that there are no older rows to read
-- first. Only for tables nobody else writes to just now, as these.
SET NOCOUNT ON;

DECLARE @table sysname;
DECLARE @instance sysname;
DECLARE @is_empty bit;
DECLARE @note nvarchar(200);
DECLARE @statement nvarchar(max);

DECLARE sample CURSOR LOCAL STATIC FOR
SELECT name FROM (VALUES (N'customers'), (N'orders'), (N'payments')) AS tables (name)
ORDER BY name;
OPEN sample;

WHILE 1 = 1
BEGIN
    FETCH NEXT FROM sample INTO @table;
    IF @@FETCH_STATUS <> 0 BREAK;
    SET @instance = N'dbo_' + @table;
    IF EXISTS (SELECT 1 FROM cdc.change_tables WHERE capture_instance = @instance) CONTINUE;

    EXEC sys.sp_cdc_enable_table
        @source_schema = N'dbo',
        @source_name = @table,
        @role_name = N'cdc_reader',
        @capture_instance = @instance,
        @supports_net_changes = 0;
    PRINT N'enabled capture instance ' + @instance;

    SET @statement = N'SET @is_empty = CASE WHEN EXISTS (SELECT 1 FROM dbo.' + QUOTENAME(@table)
        + N' WITH (TABLOCK, HOLDLOCK)) THEN 0 ELSE 1 END;';
    EXEC sys.sp_executesql @statement, N'@is_empty bit OUTPUT', @is_empty = @is_empty OUTPUT;
    IF @is_empty = 0 CONTINUE;

    SET @note = (
        SELECT capture_instance + N' ' + CONVERT(nvarchar(30), create_date, 126)
        FROM cdc.change_tables WHERE capture_instance = @instance);
    IF EXISTS (
        SELECT 1 FROM sys.extended_properties
        WHERE class = 1 AND major_id = OBJECT_ID(N'dbo.' + QUOTENAME(@table)) AND minor_id = 0
            AND name = N'tidemark_captured_empty')
        EXEC sys.sp_dropextendedproperty
            @name = N'tidemark_captured_empty', @level0type = N'SCHEMA', @level0name = N'dbo',
            @level1type = N'TABLE', @level1name = @table;
    EXEC sys.sp_addextendedproperty
        @name = N'tidemark_captured_empty', @value = @note, @level0type = N'SCHEMA', @level0name = N'dbo',
        @level1type = N'TABLE', @level1name = @table;
END;
GO
