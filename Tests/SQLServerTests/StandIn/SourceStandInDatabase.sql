-- Stand-in for change data capture on Babelfish for PostgreSQL: what sys.sp_cdc_enable_db makes, as far as the pipeline
-- reads it. Columns and types are SQL Server's, but for binary(10): https://learn.microsoft.com/sql/relational-databases/system-tables/change-data-capture-tables-transact-sql
CREATE SCHEMA cdc
GO
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
GO
