-- Who may read what: the role tidemark_reader, with what the pipeline needs and no more, and the pipeline's login.
--
--   sqlcmd -S host -U admin -b -d shop -v PIPELINE_LOGIN=" " PIPELINE_PASSWORD=" " -i sql/source/004_roles.sql
--
-- Works in any database with change data capture, so run it again after enabling it on a table. Blank variables
-- make no login. Take a password from the environment, which sqlcmd also looks at, rather than from -v, which shows
-- in the process list.

SET NOCOUNT ON;

-- A login without control of the database, such as the pipeline's own, leaves the roles as they are.
IF ISNULL(HAS_PERMS_BY_NAME(QUOTENAME(DB_NAME()), N'DATABASE', N'CONTROL'), 0) = 0
BEGIN
    PRINT N'this login may not change roles, so they stay as they are';
    RETURN;
END;

IF DATABASE_PRINCIPAL_ID(N'tidemark_reader') IS NULL
BEGIN
    CREATE ROLE tidemark_reader;
    PRINT N'created role tidemark_reader';
END;

-- The catalog of captures (cdc.change_tables, cdc.captured_columns, cdc.index_columns), commit times
-- (cdc.lsn_time_mapping), the functions that return changes, and the change tables themselves, for __$command_id.
GRANT SELECT ON SCHEMA::cdc TO tidemark_reader;

-- sys.dm_cdc_log_scan_sessions and sys.dm_cdc_errors: whether the capture job runs, and what stops it.
GRANT VIEW DATABASE STATE TO tidemark_reader;
GO

-- The captured columns: rows that are older than their capture are read once, and the functions of a capture return
-- nothing to who may not SELECT them. Where all columns of a table are captured, the grant is on the table; elsewhere
-- the role also has to see that there is such a table.
SET NOCOUNT ON;
IF ISNULL(HAS_PERMS_BY_NAME(QUOTENAME(DB_NAME()), N'DATABASE', N'CONTROL'), 0) = 0 RETURN;

DECLARE @statement nvarchar(max);

DECLARE grants CURSOR LOCAL STATIC FOR
WITH captured AS (
    SELECT DISTINCT
        c.object_id AS table_id, c.column_id, QUOTENAME(c.name) AS name,
        QUOTENAME(OBJECT_SCHEMA_NAME(c.object_id)) + N'.' + QUOTENAME(OBJECT_NAME(c.object_id)) AS table_name
    FROM cdc.change_tables AS t
    JOIN cdc.captured_columns AS k ON k.object_id = t.object_id
    JOIN sys.columns AS c ON c.object_id = t.source_object_id AND c.column_id = k.column_id
),
partly AS (
    SELECT c.object_id AS table_id
    FROM sys.columns AS c
    LEFT JOIN captured ON captured.table_id = c.object_id AND captured.column_id = c.column_id
    WHERE c.object_id IN (SELECT table_id FROM captured) AND captured.column_id IS NULL
)
SELECT N'GRANT SELECT ON OBJECT::' + table_name + N' TO tidemark_reader;' AS statement
FROM captured WHERE table_id NOT IN (SELECT table_id FROM partly)
UNION
SELECT N'GRANT SELECT (' + name + N') ON OBJECT::' + table_name + N' TO tidemark_reader;'
FROM captured WHERE table_id IN (SELECT table_id FROM partly)
UNION
SELECT N'GRANT VIEW DEFINITION ON OBJECT::' + table_name + N' TO tidemark_reader;'
FROM captured WHERE table_id IN (SELECT table_id FROM partly);
OPEN grants;

WHILE 1 = 1
BEGIN
    FETCH NEXT FROM grants INTO @statement;
    IF @@FETCH_STATUS <> 0 BREAK;
    EXEC sys.sp_executesql @statement;
END;
GO

-- Membership of the roles that gate the captures, with whatever else their owner lets them do. A fixed role, such as
-- db_owner, lets its members do far more than read, so that is left to the owner.
SET NOCOUNT ON;
IF ISNULL(HAS_PERMS_BY_NAME(QUOTENAME(DB_NAME()), N'DATABASE', N'CONTROL'), 0) = 0 RETURN;

DECLARE @role sysname;
DECLARE @capture sysname;
DECLARE @may_join int;
DECLARE @statement nvarchar(max);

DECLARE gates CURSOR LOCAL STATIC FOR
SELECT
    t.role_name, MIN(t.capture_instance),
    MAX(CASE WHEN p.type = N'R' AND p.is_fixed_role = 0 THEN 1 ELSE 0 END)
FROM cdc.change_tables AS t
LEFT JOIN sys.database_principals AS p ON p.principal_id = DATABASE_PRINCIPAL_ID(t.role_name)
WHERE t.role_name IS NOT NULL AND t.role_name NOT IN (N'tidemark_reader', N'public')
GROUP BY t.role_name;
OPEN gates;

WHILE 1 = 1
BEGIN
    FETCH NEXT FROM gates INTO @role, @capture, @may_join;
    IF @@FETCH_STATUS <> 0 BREAK;

    IF @may_join = 1
    BEGIN
        SET @statement = N'ALTER ROLE ' + QUOTENAME(@role) + N' ADD MEMBER tidemark_reader;';
        EXEC sys.sp_executesql @statement;
    END
    ELSE
        PRINT N'capture ' + @capture + N' is gated by ' + @role + N', a fixed role or none of this database, so '
            + N'tidemark_reader was not made a member: enable the capture anew with another @role_name, or NULL';
END;
GO

-- The pipeline's login, when one is asked for. An existing one keeps its password.
SET NOCOUNT ON;
IF ISNULL(HAS_PERMS_BY_NAME(QUOTENAME(DB_NAME()), N'DATABASE', N'CONTROL'), 0) = 0 RETURN;

DECLARE @login sysname = N'$(PIPELINE_LOGIN)';
DECLARE @password nvarchar(128) = N'$(PIPELINE_PASSWORD)';
DECLARE @user sysname;
DECLARE @statement nvarchar(max);

IF @login <> N'' AND @password <> N''
BEGIN
    IF CONVERT(int, SERVERPROPERTY('EngineEdition')) = 5
    BEGIN
        -- Azure SQL Database: a user of this database only.
        IF DATABASE_PRINCIPAL_ID(@login) IS NULL
        BEGIN
            SET @statement = N'CREATE USER ' + QUOTENAME(@login) + N' WITH PASSWORD = N'''
                + REPLACE(@password, N'''', N'''''') + N''', DEFAULT_SCHEMA = dbo;';
            EXEC sys.sp_executesql @statement;
            PRINT N'created user ' + @login;
        END;
        SET @user = @login;
    END
    ELSE
    BEGIN
        IF SUSER_ID(@login) IS NULL
        BEGIN
            SET @statement = N'CREATE LOGIN ' + QUOTENAME(@login) + N' WITH PASSWORD = N'''
                + REPLACE(@password, N'''', N'''''') + N''', DEFAULT_DATABASE = ' + QUOTENAME(DB_NAME()) + N';';
            EXEC sys.sp_executesql @statement;
            PRINT N'created login ' + @login;
        END;

        -- The login may be known here under another name, such as dbo.
        SELECT @user = name FROM sys.database_principals WHERE sid = SUSER_SID(@login);

        IF @user IS NULL AND DATABASE_PRINCIPAL_ID(@login) IS NOT NULL
        BEGIN
            -- As after a restore on another server. Not mended here: the user may be somebody else's.
            RAISERROR (
                N'user %s belongs to another login of that name; if it is the same, run ALTER USER %s WITH LOGIN = %s',
                16, 1, @login, @login, @login
            );
        END
        ELSE IF @user IS NULL
        BEGIN
            SET @statement = N'CREATE USER ' + QUOTENAME(@login) + N' FOR LOGIN ' + QUOTENAME(@login)
                + N' WITH DEFAULT_SCHEMA = dbo;';
            EXEC sys.sp_executesql @statement;
            SET @user = @login;
            PRINT N'created user ' + @login;
        END;
    END;

    IF @user IS NOT NULL AND @user <> N'dbo'
    BEGIN
        SET @statement = N'ALTER ROLE tidemark_reader ADD MEMBER ' + QUOTENAME(@user) + N';';
        EXEC sys.sp_executesql @statement;
    END;
END;
GO
