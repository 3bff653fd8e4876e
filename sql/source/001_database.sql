-- The source database, where it is missing. Connect to master:
--
--   sqlcmd -S host -U admin -b -d master -v DATABASE=shop -i sql/source/001_database.sql
--
-- A database that is there stays as it is.

SET NOCOUNT ON;

DECLARE @database sysname = N'$(DATABASE)';
DECLARE @statement nvarchar(max);

-- sys.databases rather than DB_ID: the latter knows no other database in Azure SQL Database.
IF EXISTS (SELECT 1 FROM sys.databases WHERE name = @database)
BEGIN
    PRINT N'database ' + @database + N' is there already';
END
ELSE
BEGIN
    -- CREATE DATABASE has to be alone in its batch in Azure SQL Database.
    SET @statement = N'CREATE DATABASE ' + QUOTENAME(@database) + N';';
    EXEC sys.sp_executesql @statement;

    -- Writers and the pipeline's first read of the tables then do not wait for each other. Azure SQL Database
    -- (engine edition 5) has both settings on from the start and cannot set them from master; elsewhere a new database
    -- has them where model has.
    IF CONVERT(int, SERVERPROPERTY('EngineEdition')) <> 5
    BEGIN
        IF EXISTS (SELECT 1 FROM sys.databases WHERE name = @database AND is_read_committed_snapshot_on = 0)
        BEGIN
            SET @statement = N'ALTER DATABASE ' + QUOTENAME(@database) + N' SET READ_COMMITTED_SNAPSHOT ON;';
            EXEC sys.sp_executesql @statement;
        END;
        IF EXISTS (SELECT 1 FROM sys.databases WHERE name = @database AND snapshot_isolation_state = 0)
        BEGIN
            SET @statement = N'ALTER DATABASE ' + QUOTENAME(@database) + N' SET ALLOW_SNAPSHOT_ISOLATION ON;';
            EXEC sys.sp_executesql @statement;
        END;
    END;

    PRINT N'created database ' + @database;
END;
GO
