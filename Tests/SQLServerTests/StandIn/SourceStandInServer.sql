-- Stand-in for change data capture on Babelfish for PostgreSQL: the functions of schema sys, for all databases.
-- Run on Babelfish's PostgreSQL port; safe to repeat. SQL Server has them all.
--
-- A database of Babelfish is the schemas <database>_<schema> of one PostgreSQL database, and sys.db_name() is the one
-- the caller is in. Functions return varbinary(10): of binary(10), one byte arrives.

BEGIN;
-- Several test processes may do this at once.
SELECT pg_advisory_xact_lock(7236412);

CREATE OR REPLACE FUNCTION sys.tidemark_cdc_schema() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT sys.db_name()::text || '_cdc'
$$;

CREATE OR REPLACE FUNCTION sys.tidemark_lsn(number bigint) RETURNS sys.varbinary LANGUAGE sql IMMUTABLE AS $$
    SELECT decode(lpad(to_hex(number), 16, '0') || '0001', 'hex')::sys.varbinary
$$;

-- Begins the change of one statement: gives the transaction an LSN with its first change, and counts its commands.
-- The row of the clock stays locked until the transaction ends, so LSNs are in the order of commits.
CREATE OR REPLACE FUNCTION sys.tidemark_cdc_begin() RETURNS sys.varbinary LANGUAGE plpgsql AS $$
DECLARE
    place text := sys.tidemark_cdc_schema();
    number bigint;
    is_new boolean;
BEGIN
    EXECUTE format(
        'UPDATE %I.clock SET command = CASE WHEN transaction_id = $1 THEN command + 1 ELSE 1 END,
            value = CASE WHEN transaction_id = $1 THEN value ELSE value + 1 END, transaction_id = $1
        RETURNING value, command = 1', place) INTO number, is_new USING txid_current();
    IF is_new THEN
        EXECUTE format('INSERT INTO %I.lsn_time_mapping VALUES ($1, $2, $2, $3)', place)
            USING sys.tidemark_lsn(number), sys.tidemark_cdc_now(), sys.tidemark_lsn(txid_current());
    END IF;
    RETURN sys.tidemark_lsn(number);
END $$;

-- Takes an LSN that no transaction has: a capture is enabled at one beyond what the capture job has seen of the log.
CREATE OR REPLACE FUNCTION sys.tidemark_cdc_next() RETURNS sys.varbinary LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
BEGIN
    EXECUTE format('UPDATE %I.clock SET value = value + 1, transaction_id = 0 RETURNING value',
        sys.tidemark_cdc_schema()) INTO number;
    RETURN sys.tidemark_lsn(number);
END $$;

CREATE OR REPLACE FUNCTION sys.tidemark_cdc_now() RETURNS sys.datetime LANGUAGE sql VOLATILE AS $$
    SELECT (clock_timestamp() AT TIME ZONE current_setting('timezone'))::sys.datetime
$$;

CREATE OR REPLACE FUNCTION sys.tidemark_cdc_command() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    result int;
BEGIN
    EXECUTE format('SELECT command FROM %I.clock', sys.tidemark_cdc_schema()) INTO result;
    RETURN result;
END $$;

-- The next __$seqval, counted over all transactions.
CREATE OR REPLACE FUNCTION sys.tidemark_cdc_seqval() RETURNS sys.varbinary LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
BEGIN
    EXECUTE format('SELECT nextval(%L)', quote_ident(sys.tidemark_cdc_schema()) || '.seqval') INTO number;
    RETURN sys.tidemark_lsn(number);
END $$;

-- Enters a transaction without changes when a second has passed since the last entry, as the capture job does every
-- five minutes; a later call shows it. Leaves it when another transaction is under way.
CREATE OR REPLACE FUNCTION sys.fn_cdc_get_max_lsn() RETURNS sys.varbinary LANGUAGE plpgsql AS $$
DECLARE
    place text := sys.tidemark_cdc_schema();
    result sys.varbinary;
    entered timestamp;
    is_free int;
BEGIN
    EXECUTE format(
        'SELECT start_lsn, tran_end_time::timestamp FROM %I.lsn_time_mapping ORDER BY start_lsn DESC LIMIT 1', place)
        INTO result, entered;
    IF sys.tidemark_cdc_now()::timestamp > entered + interval '1 second'
        AND has_table_privilege(format('%I.clock', place), 'UPDATE')
    THEN
        EXECUTE format('SELECT 1 FROM %I.clock FOR UPDATE SKIP LOCKED', place) INTO is_free;
        IF is_free = 1 THEN
            PERFORM sys.tidemark_cdc_begin();
        END IF;
    END IF;
    RETURN result;
END $$;

-- Zero for whoever may not SELECT all captured columns of the source table, or is not in the gating role; NULL until the log
-- has come to where the capture was enabled.
CREATE OR REPLACE FUNCTION sys.fn_cdc_get_min_lsn(instance sys.nvarchar) RETURNS sys.varbinary LANGUAGE plpgsql AS $$
DECLARE
    start_lsn sys.varbinary;
    source oid;
    role_name text;
    may_select boolean;
    created timestamp;
    is_seen boolean;
BEGIN
    EXECUTE format(
        'SELECT start_lsn, source_object_id, role_name, NOT EXISTS (
            SELECT 1 FROM %1$I.captured_columns AS c WHERE c.object_id = t.object_id
                AND NOT has_column_privilege(t.source_object_id::oid, c.column_id::smallint, ''SELECT'')),
            create_date::timestamp
        FROM %1$I.change_tables AS t WHERE capture_instance::text = $1',
        sys.tidemark_cdc_schema()) INTO start_lsn, source, role_name, may_select, created USING instance::text;
    IF source IS NULL OR NOT may_select
        OR (role_name IS NOT NULL AND NOT pg_has_role(sys.db_name()::text || '_' || role_name, 'MEMBER'))
    THEN
        RETURN sys.tidemark_zero();
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I.lsn_time_mapping WHERE start_lsn::bytea >= $1)',
        sys.tidemark_cdc_schema()) INTO is_seen USING start_lsn::bytea;
    -- The capture job of SQL Server looks at the log every second or so.
    is_seen := is_seen OR sys.tidemark_cdc_now()::timestamp > created + interval '1 second';
    RETURN CASE WHEN is_seen THEN start_lsn END;
END $$;

CREATE OR REPLACE FUNCTION sys.tidemark_zero() RETURNS sys.varbinary LANGUAGE sql IMMUTABLE AS $$
    SELECT decode(repeat('00', 10), 'hex')::sys.varbinary
$$;

CREATE OR REPLACE FUNCTION sys.fn_cdc_increment_lsn(lsn sys.varbinary) RETURNS sys.varbinary LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    bytes bytea := lsn::bytea;
BEGIN
    FOR i IN REVERSE 9..0 LOOP
        IF get_byte(bytes, i) < 255 THEN
            RETURN set_byte(bytes, i, get_byte(bytes, i) + 1)::sys.varbinary;
        END IF;
        bytes := set_byte(bytes, i, 0);
    END LOOP;
    RETURN bytes::sys.varbinary;
END $$;

-- Fails as SQL Server's functions do for a range that is not the capture's (error 313), else 1.
CREATE OR REPLACE FUNCTION sys.tidemark_cdc_check(instance sys.nvarchar, from_lsn sys.varbinary, to_lsn sys.varbinary)
RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    min_lsn bytea := sys.fn_cdc_get_min_lsn(instance)::bytea;
    max_lsn bytea;
BEGIN
    EXECUTE format('SELECT start_lsn::bytea FROM %I.lsn_time_mapping ORDER BY start_lsn DESC LIMIT 1',
        sys.tidemark_cdc_schema()) INTO max_lsn;
    IF min_lsn IS NULL OR min_lsn = sys.tidemark_zero()::bytea OR from_lsn::bytea < min_lsn OR from_lsn::bytea > to_lsn::bytea
        OR to_lsn::bytea > max_lsn
    THEN
        RAISE 'An insufficient number of arguments were supplied for the procedure or function cdc.fn_cdc_get_all_changes_ ... .';
    END IF;
    RETURN 1;
END $$;
COMMIT;
