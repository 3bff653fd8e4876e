-- Stand-in for change data capture on Babelfish for PostgreSQL: the procedures of schema sys, for all databases. Run on
-- Babelfish's PostgreSQL port, after SourceStandInServer.sql; safe to repeat. SQL Server has them all.
--
-- They are T-SQL and work on the database the caller is in. Names, parameters and results are SQL Server's; what the
-- scripts and tests do not use is left out. There is no QUOTENAME, as Babelfish's doubles
-- single quotes.

BEGIN;
-- Several test processes may do this at once.
SELECT pg_advisory_xact_lock(7236412);

-- What sys.sp_cdc_enable_db makes, as far as the pipeline reads it. Columns and types are SQL Server's, but for binary(10):
-- learn.microsoft.com/sql/relational-databases/system-tables/change-data-capture-tables-transact-sql
CREATE OR REPLACE PROCEDURE sys.sp_cdc_enable_db() LANGUAGE pltsql AS $$
BEGIN
    IF SCHEMA_ID('cdc') IS NOT NULL RETURN;
    EXEC('CREATE SCHEMA cdc');
    EXEC('
        CREATE TABLE cdc.clock (
            id int PRIMARY KEY,
            value bigint NOT NULL,
            command int NOT NULL,
            transaction_id bigint NOT NULL
        );
        INSERT INTO cdc.clock VALUES (1, 0, 0, 0);
        CREATE SEQUENCE cdc.seqval;
        CREATE TABLE cdc.lsn_time_mapping (
            start_lsn varbinary(10) PRIMARY KEY,
            tran_begin_time datetime,
            tran_end_time datetime,
            tran_id varbinary(10)
        );
        CREATE TABLE cdc.change_tables (
            object_id int PRIMARY KEY,
            version int,
            source_object_id int,
            capture_instance sysname,
            start_lsn varbinary(10),
            end_lsn varbinary(10),
            supports_net_changes bit,
            has_drop_pending bit,
            role_name sysname NULL,
            index_name sysname NULL,
            filegroup_name sysname NULL,
            create_date datetime,
            partition_switch bit
        );
        CREATE TABLE cdc.captured_columns (
            object_id int,
            column_name sysname,
            column_id int,
            column_type sysname,
            column_ordinal int,
            is_computed bit,
            PRIMARY KEY (object_id, column_name)
        );
        CREATE TABLE cdc.index_columns (
            object_id int,
            column_name sysname,
            index_ordinal tinyint,
            column_id int,
            PRIMARY KEY (object_id, column_name)
        );
        -- These two are tables of msdb.
        CREATE TABLE cdc.cdc_jobs (
            database_id int,
            job_type nvarchar(20) PRIMARY KEY,
            job_id uniqueidentifier,
            maxtrans int,
            maxscans int,
            is_continuous bit,
            pollinginterval bigint,
            retention bigint,
            threshold bigint
        );
        CREATE TABLE cdc.sysjobactivity (
            session_id int,
            job_id uniqueidentifier,
            start_execution_date datetime,
            stop_execution_date datetime
        );');
    DECLARE @first varbinary(10) = sys.tidemark_cdc_begin();
END
$$;

-- Besides SQL Server's parameters there is @key_list: the key's columns, of a table that does not declare them.
CREATE OR REPLACE PROCEDURE sys.sp_cdc_enable_table(
    IN "@source_schema" sys.sysname, IN "@source_name" sys.sysname, IN "@capture_instance" sys.sysname DEFAULT NULL,
    IN "@supports_net_changes" sys.bit DEFAULT NULL, IN "@role_name" sys.sysname DEFAULT NULL,
    IN "@captured_column_list" sys.nvarchar(4000) DEFAULT NULL, IN "@key_list" sys.nvarchar(4000) DEFAULT NULL
) LANGUAGE pltsql AS $$
BEGIN
    DECLARE @instance nvarchar(128) = ISNULL(@capture_instance, @source_schema + N'_' + @source_name);
    DECLARE @source nvarchar(300) = N'[' + @source_schema + N'].[' + @source_name + N']';
    DECLARE @source_id int = OBJECT_ID(@source);
    DECLARE @change nvarchar(300) = N'cdc.[' + @instance + N'_CT]';
    DECLARE @sql nvarchar(max);

    IF @role_name IS NOT NULL AND DATABASE_PRINCIPAL_ID(@role_name) IS NULL
    BEGIN
        SET @sql = N'CREATE ROLE [' + @role_name + N']';
        EXEC(@sql);
    END;

    DECLARE @columns TABLE (
        ordinal int, column_id int, name nvarchar(128), quoted nvarchar(130), type nvarchar(128), length nvarchar(10), precision int,
        scale int, is_computed bit);
    INSERT INTO @columns
    SELECT ROW_NUMBER() OVER (ORDER BY c.column_id), c.column_id, c.name, N'[' + c.name + N']', ISNULL(b.name, t.name),
        CASE WHEN c.max_length = -1 THEN N'max'
            WHEN ISNULL(b.name, t.name) IN (N'nchar', N'nvarchar') THEN CAST(c.max_length / 2 AS nvarchar(10))
            ELSE CAST(c.max_length AS nvarchar(10)) END,
        c.precision, c.scale, c.is_computed
    FROM sys.columns AS c
        LEFT JOIN sys.types AS b ON b.user_type_id = c.system_type_id
        LEFT JOIN sys.types AS t ON t.user_type_id = c.user_type_id
    WHERE c.object_id = @source_id
        AND (@captured_column_list IS NULL OR CHARINDEX(N'[' + c.name + N']', @captured_column_list) > 0);

    DECLARE @key TABLE (ordinal int, name nvarchar(128), quoted nvarchar(130));
    IF @key_list IS NULL
        INSERT INTO @key
        SELECT k.key_ordinal, c.name, N'[' + c.name + N']'
        FROM sys.indexes AS i
            JOIN sys.index_columns AS k ON k.object_id = i.object_id AND k.index_id = i.index_id
            JOIN sys.columns AS c ON c.object_id = k.object_id AND c.column_id = k.column_id
        WHERE i.object_id = @source_id AND i.is_primary_key = 1;
    ELSE
        INSERT INTO @key
        SELECT CHARINDEX(quoted, @key_list), name, quoted FROM @columns WHERE CHARINDEX(quoted, @key_list) > 0;

    -- What the statements below have in common. d and i are the rows deleted and inserted; SQL Server records computed
    -- columns as NULL.
    DECLARE @names nvarchar(max), @declarations nvarchar(max), @old nvarchar(max), @new nvarchar(max);
    SELECT @names = STRING_AGG(quoted, N', ') WITHIN GROUP (ORDER BY ordinal),
        @declarations = STRING_AGG(quoted + N' ' + CASE
            WHEN type IN (N'timestamp', N'rowversion') THEN N'varbinary(8)'
            -- Of binary(n), one byte would arrive out of a function.
            WHEN type IN (N'binary', N'varbinary') THEN N'varbinary(' + length + N')'
            WHEN type IN (N'char', N'varchar', N'nchar', N'nvarchar') THEN type + N'(' + length + N')'
            WHEN type IN (N'decimal', N'numeric')
                THEN type + N'(' + CAST(precision AS nvarchar(10)) + N',' + CAST(scale AS nvarchar(10)) + N')'
            WHEN type IN (N'time', N'datetime2', N'datetimeoffset') THEN type + N'(' + CAST(scale AS nvarchar(10)) + N')'
            ELSE type END + N' NULL', N', ') WITHIN GROUP (ORDER BY ordinal),
        @old = STRING_AGG(CASE is_computed WHEN 1 THEN N'NULL' ELSE N'd.' + quoted END, N', ') WITHIN GROUP (ORDER BY ordinal),
        @new = STRING_AGG(CASE is_computed WHEN 1 THEN N'NULL' ELSE N'i.' + quoted END, N', ') WITHIN GROUP (ORDER BY ordinal)
    FROM @columns;
    DECLARE @same nvarchar(max);
    SELECT @same = ISNULL(STRING_AGG(N'i.' + quoted + N' = d.' + quoted, N' AND '), N'1 = 0') FROM @key;
    DECLARE @record nvarchar(max) = N'INSERT INTO ' + @change + N'
        ([__$start_lsn], [__$seqval], [__$operation], [__$update_mask], [__$command_id], ' + @names + N')
        SELECT @lsn, sys.tidemark_cdc_seqval(), ';

    SET @sql = N'CREATE TABLE ' + @change + N' (
        [__$start_lsn] varbinary(10) NOT NULL, [__$end_lsn] varbinary(10) NULL,
        [__$seqval] varbinary(10) NOT NULL, [__$operation] int NOT NULL, [__$update_mask] varbinary(128) NULL,
        ' + @declarations + N', [__$command_id] int NULL)';
    EXEC(@sql);
    SET @sql = N'CREATE CLUSTERED INDEX [' + @instance + N'_CT_clustered_idx] ON ' + @change
        + N' ([__$start_lsn], [__$command_id], [__$seqval], [__$operation])';
    EXEC(@sql);
    SET @sql = N'CREATE FUNCTION cdc.[fn_cdc_get_all_changes_' + @instance + N'] (
            @from_lsn varbinary(10), @to_lsn varbinary(10), @row_filter_option nvarchar(30))
        RETURNS TABLE AS RETURN
            SELECT [__$start_lsn], [__$seqval], [__$operation], [__$update_mask], ' + @names + N'
            FROM ' + @change + N'
            WHERE sys.tidemark_cdc_check(N''' + REPLACE(@instance, N'''', N'''''') + N''', @from_lsn, @to_lsn) = 1
                AND [__$start_lsn] >= @from_lsn AND [__$start_lsn] <= @to_lsn
                AND ([__$operation] <> 3 OR @row_filter_option = N''all update old'')';
    EXEC(@sql);
    -- On SQL Server SELECT on the schema covers it; here the tables it reads are enough of a guard.
    SET @sql = N'GRANT EXECUTE ON cdc.[fn_cdc_get_all_changes_' + @instance + N'] TO PUBLIC';
    EXEC(@sql);
    -- An update of the key is a delete and an insert.
    SET @sql = N'CREATE TRIGGER [' + @source_schema + N'].[cdc_' + @instance + N'] ON ' + @source + N'
        AFTER INSERT, UPDATE, DELETE AS
        BEGIN
            SET NOCOUNT ON;
            DECLARE @lsn varbinary(10), @command int;
            IF EXISTS (SELECT 1 FROM inserted) OR EXISTS (SELECT 1 FROM deleted)
            BEGIN
                SET @lsn = sys.tidemark_cdc_begin();
                SET @command = sys.tidemark_cdc_command();
                ' + @record + N'1, 0x01, @command, ' + @old + N' FROM deleted AS d
                WHERE NOT EXISTS (SELECT 1 FROM inserted AS i WHERE ' + @same + N');
                ' + @record + N'2, 0x01, @command, ' + @new + N' FROM inserted AS i
                WHERE NOT EXISTS (SELECT 1 FROM deleted AS d WHERE ' + @same + N');
                ' + @record + N'3, 0x01, @command, ' + @old + N' FROM deleted AS d
                WHERE EXISTS (SELECT 1 FROM inserted AS i WHERE ' + @same + N');
                ' + @record + N'4, 0x01, @command, ' + @new + N' FROM inserted AS i
                WHERE EXISTS (SELECT 1 FROM deleted AS d WHERE ' + @same + N');
            END
        END';
    EXEC(@sql);

    DECLARE @change_id int = OBJECT_ID(@change);
    INSERT INTO cdc.captured_columns SELECT @change_id, name, column_id, N'', ordinal, is_computed FROM @columns;
    INSERT INTO cdc.index_columns SELECT @change_id, name, ROW_NUMBER() OVER (ORDER BY ordinal), 1 FROM @key;
    INSERT INTO cdc.change_tables (
        object_id, version, source_object_id, capture_instance, start_lsn, supports_net_changes, role_name, index_name,
        create_date)
    SELECT @change_id, 0, @source_id, @instance, sys.tidemark_cdc_next(), 0, @role_name, N'PK', GETDATE();
    -- The first table makes the jobs.
    IF NOT EXISTS (SELECT 1 FROM cdc.cdc_jobs)
    BEGIN
        INSERT INTO cdc.cdc_jobs VALUES
            (DB_ID(), N'capture', NEWID(), 500, 10, 1, 5, 0, 0),
            (DB_ID(), N'cleanup', NEWID(), 0, 0, 0, 0, 4320, 5000);
        EXEC sys.sp_cdc_start_job @job_type = N'capture';
    END;
END
$$;

CREATE OR REPLACE PROCEDURE sys.sp_cdc_help_jobs() LANGUAGE pltsql AS $$
BEGIN
    SELECT job_id, job_type, CAST(N'cdc.' + DB_NAME() + N'_' + job_type AS nvarchar(128)) AS job_name, maxtrans, maxscans,
        is_continuous AS "continuous", pollinginterval, retention, threshold
    FROM cdc.cdc_jobs;
END
$$;

CREATE OR REPLACE PROCEDURE sys.sp_cdc_change_job(
    IN "@job_type" sys.nvarchar(20), IN "@pollinginterval" bigint DEFAULT NULL
) LANGUAGE pltsql AS $$
BEGIN
    UPDATE cdc.cdc_jobs SET pollinginterval = ISNULL(@pollinginterval, pollinginterval) WHERE job_type = @job_type;
END
$$;

-- A run is a row of cdc.sysjobactivity.
CREATE OR REPLACE PROCEDURE sys.sp_cdc_start_job(IN "@job_type" sys.nvarchar(20)) LANGUAGE pltsql AS $$
BEGIN
    INSERT INTO cdc.sysjobactivity SELECT 1, job_id, GETDATE(), NULL FROM cdc.cdc_jobs WHERE job_type = @job_type;
END
$$;

CREATE OR REPLACE PROCEDURE sys.sp_cdc_stop_job(IN "@job_type" sys.nvarchar(20)) LANGUAGE pltsql AS $$
BEGIN
    UPDATE cdc.sysjobactivity SET stop_execution_date = GETDATE()
    WHERE stop_execution_date IS NULL AND job_id IN (SELECT job_id FROM cdc.cdc_jobs WHERE job_type = @job_type);
END
$$;
COMMIT;
