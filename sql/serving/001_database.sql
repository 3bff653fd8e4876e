-- The serving database, where it is missing. Connect to master:
--
--   sqlcmd -S host -U admin -b -d master -v DATABASE=serving -i sql/serving/001_database.sql
--
-- With READ_COMMITTED_SNAPSHOT, readers of the projections see the last committed rows and never wait for the
-- pipeline, nor it for them. Switching it on in a database in use waits for all other sessions to end, so that
-- is left to you.

SET NOCOUNT ON;

DECLARE @database sysname = N'$(DATABASE)';
DECLARE @statement nvarchar(max);
DECLARE @is_on bit;

-- sys.databases rather than DB_ID: the latter knows no other database in Azure SQL Database.
SELECT @is_on = is_read_committed_snapshot_on FROM sys.databases WHERE name = @database;

IF @is_on IS NULL
BEGIN
    -- CREATE DATABASE has to be alone in its batch in Azure SQL Database.
    SET @statement = N'CREATE DATABASE ' + QUOTENAME(@database) + N';';
    EXEC sys.sp_executesql @statement;

    -- Azure SQL Database (engine edition 5) has both settings on from the start; elsewhere a new database has them where
    -- model has.
    IF CONVERT(int, SERVERPROPERTY('EngineEdition')) <> 5
    BEGIN
        IF EXISTS (SELECT 1 FROM sys.databases WHERE name = @database AND is_read_committed_snapshot_on = 0)
        BEGIN
            SET @statement = N'ALTER DATABASE ' + QUOTENAME(@database) + N' SET READ_COMMITTED_SNAPSHOT ON;';
            EXEC sys.sp_executesql @statement;
        END;
        -- For reports of several statements that have to agree with each other.
        IF EXISTS (SELECT 1 FROM sys.databases WHERE name = @database AND snapshot_isolation_state = 0)
        BEGIN
            SET @statement = N'ALTER DATABASE ' + QUOTENAME(@database) + N' SET ALLOW_SNAPSHOT_ISOLATION ON;';
            EXEC sys.sp_executesql @statement;
        END;
    END;

    PRINT N'created database ' + @database;
END
ELSE IF @is_on = 0
BEGIN
    PRINT N'readers of database ' + @database + N' wait while the pipeline commits, and it for them. To mend it, when '
        + N'its sessions may be ended: ALTER DATABASE ' + QUOTENAME(@database)
        + N' SET READ_COMMITTED_SNAPSHOT ON WITH ROLLBACK AFTER 30 SECONDS;';
END
ELSE
BEGIN
    PRINT N'database ' + @database + N' is there already';
END;
GO
