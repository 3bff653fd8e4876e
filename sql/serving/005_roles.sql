-- Who may do what: tidemark_writer for the pipeline, tidemark_viewer for readers, and the pipeline's login.
--
--   sqlcmd -S host -U admin -b -d serving -v PIPELINE_LOGIN=" " PIPELINE_PASSWORD=" " -i sql/serving/005_roles.sql
--
-- Run it last, and again after a table was added to the source. Blank variables make no login. Take a password from
-- the environment, which sqlcmd also looks at, rather than from -v, which shows in the process list.

SET NOCOUNT ON;

-- A login without control of the database, such as the pipeline's own, leaves the roles as they are.
IF ISNULL(HAS_PERMS_BY_NAME(QUOTENAME(DB_NAME()), N'DATABASE', N'CONTROL'), 0) = 0
BEGIN
    PRINT N'this login may not change roles, so they stay as they are';
    RETURN;
END;

IF DATABASE_PRINCIPAL_ID(N'tidemark_writer') IS NULL
BEGIN
    CREATE ROLE tidemark_writer;
    PRINT N'created role tidemark_writer';
END;

-- The rows of control, staging and projection tables.
GRANT SELECT, INSERT, UPDATE, DELETE ON SCHEMA::dbo TO tidemark_writer;

-- Tables of new projections and captures, and the swap of a projection that was built anew. ALTER on the schema
-- takes in every object in it: give the pipeline a database of its own.
GRANT ALTER ON SCHEMA::dbo TO tidemark_writer;
GRANT CREATE TABLE TO tidemark_writer;
GO

SET NOCOUNT ON;
IF ISNULL(HAS_PERMS_BY_NAME(QUOTENAME(DB_NAME()), N'DATABASE', N'CONTROL'), 0) = 0 RETURN;

IF DATABASE_PRINCIPAL_ID(N'tidemark_viewer') IS NULL
BEGIN
    CREATE ROLE tidemark_viewer;
    PRINT N'created role tidemark_viewer';
END;

-- proj_* and ctl_*. Granted on the schema, as a grant on a table goes with it when the projection's columns change,
-- unless the pipeline's login may see and give it; staging, which holds the source's rows as they were, is taken out below.
GRANT SELECT ON SCHEMA::dbo TO tidemark_viewer;

DECLARE @statement nvarchar(max);
DECLARE @tables TABLE (position int IDENTITY PRIMARY KEY, name sysname NOT NULL);
DECLARE @position int = 0;
DECLARE @name sysname;

INSERT INTO @tables (name)
SELECT name
FROM sys.tables
WHERE schema_id = SCHEMA_ID(N'dbo') AND name NOT LIKE N'proj[_]%' AND name NOT LIKE N'ctl[_]%';

WHILE 1 = 1
BEGIN
    SET @name = NULL;
    SELECT TOP (1) @position = position, @name = name
    FROM @tables
    WHERE position > @position
    ORDER BY position;

    IF @name IS NULL BREAK;
    SET @statement = N'DENY SELECT ON OBJECT::dbo.' + QUOTENAME(@name) + N' TO tidemark_viewer;';
    EXEC sys.sp_executesql @statement;
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
        SET @statement = N'ALTER ROLE tidemark_writer ADD MEMBER ' + QUOTENAME(@user) + N';';
        EXEC sys.sp_executesql @statement;
    END;
END;
GO
