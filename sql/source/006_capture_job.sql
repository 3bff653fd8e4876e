-- How long the capture job pauses between two scans of the log: by default 5 s, most of the latency that a reader of
-- the projections sees.
--
--   sqlcmd -S host -U admin -b -d shop -v CAPTURE_POLLING_SECONDS=1 -i sql/source/006_capture_job.sql
--
-- Works in any database with change data capture; nothing else is changed. Changes are captured with any interval, so
-- one that cannot be set is said, and is no failure. A new one holds from the job's next start:
-- learn.microsoft.com/sql/relational-databases/system-stored-procedures/sys-sp-cdc-change-job-transact-sql

SET NOCOUNT ON;

DECLARE @wanted bigint = CONVERT(bigint, N'$(CAPTURE_POLLING_SECONDS)');
DECLARE @current bigint;
DECLARE @is_continuous bit;
DECLARE @job_id uniqueidentifier;
DECLARE @is_changed bit = 0;
DECLARE @jobs TABLE (
    job_id          uniqueidentifier NULL,
    job_type        nvarchar(20)     NULL,
    job_name        sysname          NULL,
    maxtrans        int              NULL,
    maxscans        int              NULL,
    continuous      bit              NULL,
    pollinginterval bigint           NULL,
    retention       bigint           NULL,
    threshold       bigint           NULL
);

-- Azure SQL Database (engine edition 5) has a scheduler in place of SQL Server Agent; it scans every 20 s.
IF CONVERT(int, SERVERPROPERTY('EngineEdition')) = 5
    PRINT N'Azure SQL Database schedules the capture itself; its interval cannot be set';
ELSE
BEGIN
    BEGIN TRY
        INSERT INTO @jobs
        EXEC sys.sp_cdc_help_jobs;

        SELECT @job_id = job_id, @current = pollinginterval, @is_continuous = continuous
        FROM @jobs
        WHERE job_type = N'capture';

        -- With transactional replication of the same database, its log reader captures the changes.
        IF @job_id IS NULL
            PRINT N'there is no capture job, so no interval to set';
        -- Somebody has given the job a schedule of its own.
        ELSE IF @is_continuous = 0
            PRINT N'the capture job does not run continuously, so it has no interval to set';
        ELSE IF @current <> @wanted
        BEGIN
            EXEC sys.sp_cdc_change_job @job_type = N'capture', @pollinginterval = @wanted;
            SET @is_changed = 1;
            PRINT N'the capture job now pauses ' + CONVERT(nvarchar(20), @wanted) + N' s between two scans of the log, not '
                + CONVERT(nvarchar(20), @current) + N' s';
        END;
    END TRY
    BEGIN CATCH
        PRINT N'the capture job''s interval cannot be set: ' + ERROR_MESSAGE();
    END CATCH;
END;

-- Whether the job runs; names of msdb stand in a string, as Azure SQL Database takes no batch with them.
DECLARE @is_running bit;
DECLARE @look nvarchar(max) = N'
    SELECT @is_running = CASE WHEN EXISTS (
        SELECT 1 FROM msdb.dbo.sysjobactivity
        WHERE job_id = @job_id AND session_id = (SELECT MAX(session_id) FROM msdb.dbo.sysjobactivity)
            AND start_execution_date IS NOT NULL AND stop_execution_date IS NULL) THEN 1 ELSE 0 END;';
DECLARE @parameters nvarchar(200) = N'@job_id uniqueidentifier, @is_running bit OUTPUT';
DECLARE @seconds int = 0;

IF @is_continuous = 1
BEGIN
    BEGIN TRY
        EXEC sys.sp_executesql @look, @parameters, @job_id = @job_id, @is_running = @is_running OUTPUT;
    END TRY
    BEGIN CATCH
        SET @is_running = NULL;
    END CATCH;

    -- Agent takes a moment to start a job that was just made.
    WHILE @is_running = 0 AND @seconds < 5
    BEGIN
        WAITFOR DELAY '00:00:01';
        SET @seconds = @seconds + 1;
        EXEC sys.sp_executesql @look, @parameters, @job_id = @job_id, @is_running = @is_running OUTPUT;
    END;

    IF @is_running = 0
        PRINT N'the capture job does not run, so nothing is captured: start SQL Server Agent, or the job with '
            + N'EXEC sys.sp_cdc_start_job @job_type = N''capture''';
    ELSE IF @is_changed = 1 AND @is_running = 1
    BEGIN
        -- Agent refuses to start a job before it has ended, in a message that no CATCH sees; so this looks first.
        EXEC sys.sp_cdc_stop_job @job_type = N'capture';
        SET @seconds = 0;
        WHILE @is_running = 1 AND @seconds < 60
        BEGIN
            WAITFOR DELAY '00:00:01';
            SET @seconds = @seconds + 1;
            EXEC sys.sp_executesql @look, @parameters, @job_id = @job_id, @is_running = @is_running OUTPUT;
        END;
        -- In any case: a refusal is seen, while a job that nobody starts again captures nothing.
        EXEC sys.sp_cdc_start_job @job_type = N'capture';
    END
    ELSE IF @is_changed = 1
        PRINT N'this login cannot see whether the capture job runs, so it was not restarted; until it is, it pauses as '
            + N'before: EXEC sys.sp_cdc_stop_job @job_type = N''capture'', and then sys.sp_cdc_start_job';
END;
GO
