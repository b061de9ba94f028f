-- Roles of a fleet's database. To be run by a superuser in the database of detector, after each "detector db upgrade":
--
--     detector db roles | psql -v ON_ERROR_STOP=1 DATABASE
--
-- Doing it again does no harm. Logins are made by you, each in one of these roles:
--
--     detector_collector      a bastion host; its login has the name of the host, and sees and adds what is of that host
--     detector_any_collector  the same for any host: one login that many hosts share, or that imports logs
--     detector_detector       "detector detect"
--     detector_reader         people, and programs that ask
--
--     CREATE ROLE "bastion-1" LOGIN PASSWORD '…' IN ROLE detector_collector;
--     CREATE ROLE "worker-1" LOGIN PASSWORD '…' IN ROLE detector_detector;
--     ALTER ROLE "worker-1" SET role = detector_detector;  -- so that what it makes belongs to all workers

BEGIN;

DO $roles$
DECLARE
    place constant text := quote_ident(current_schema());
    all_roles constant text := 'detector_collector, detector_any_collector, detector_detector, detector_reader';
    named text;
BEGIN
    FOREACH named IN ARRAY string_to_array(all_roles, ', ') LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = named) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', named);
        END IF;
    END LOOP;
    GRANT detector_collector TO detector_any_collector;

    -- Nobody has anything but what follows, whatever was granted before.
    EXECUTE 'REVOKE CREATE ON SCHEMA ' || place || ' FROM PUBLIC';
    EXECUTE 'REVOKE ALL ON ALL TABLES IN SCHEMA ' || place || ' FROM PUBLIC, ' || all_roles;
    EXECUTE 'REVOKE ALL ON ALL SEQUENCES IN SCHEMA ' || place || ' FROM PUBLIC, ' || all_roles;
    EXECUTE 'GRANT USAGE ON SCHEMA ' || place || ' TO ' || all_roles;

    -- Detection reads all, writes what follows from it, and deletes what has expired.
    EXECUTE 'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ' || place || ' TO detector_detector';
    EXECUTE 'GRANT USAGE ON ALL SEQUENCES IN SCHEMA ' || place || ' TO detector_detector';
    EXECUTE 'GRANT CREATE ON SCHEMA ' || place || ' TO detector_detector';
    REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM detector_detector;
    -- Rules that look far back add rows up in a table that goes with the transaction.
    EXECUTE 'GRANT TEMPORARY ON DATABASE ' || quote_ident(current_database()) || ' TO detector_detector';

    EXECUTE 'GRANT SELECT ON ALL TABLES IN SCHEMA ' || place || ' TO detector_reader';

    -- Parts are made and dropped by detection, and only the owner of a table can do so.
    FOR named IN
        SELECT oid::regclass::text FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND (relkind = 'p' OR relispartition AND relkind = 'r')
    LOOP
        EXECUTE 'ALTER TABLE ' || named || ' OWNER TO detector_detector';
    END LOOP;
END
$roles$;

-- Collectors add, and change nothing that is there: whoever steals the password of a bastion host cannot rewrite
-- history. What they may read tells them how to number what they add. What they add to parts goes through the tables.
-- The first line takes back what an earlier version granted on single columns.

REVOKE ALL (host_id, host, created_at, expiries) ON hosts FROM detector_collector;
GRANT SELECT (host_id, host, expiries), INSERT (host, created_at) ON hosts TO detector_collector;
GRANT USAGE ON SEQUENCE hosts_host_id_seq TO detector_collector;
GRANT SELECT (host_id, seq, "start", "end", mark, chain_hash), INSERT ON snapshots TO detector_collector;
GRANT INSERT ON packed_counts TO detector_collector;
GRANT SELECT (host_id, key_id, digest), INSERT ON connection_keys TO detector_collector;
GRANT SELECT (host_id, origin_id, digest), INSERT ON login_origins TO detector_collector;
GRANT SELECT (host_id, name_id, digest), INSERT ON destination_names TO detector_collector;
GRANT SELECT ON replacements, alembic_version TO detector_collector;
GRANT SELECT, INSERT, UPDATE ON imports TO detector_any_collector;

DO $policies$
DECLARE
    guarded text;
    own text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY[
        'hosts', 'snapshots', 'packed_counts', 'connection_keys', 'login_origins', 'destination_names'
    ] LOOP
        own := CASE guarded
            WHEN 'hosts' THEN 'host = session_user::text'
            ELSE 'host_id = (SELECT h.host_id FROM hosts h WHERE h.host = session_user::text)'
        END;
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('DROP POLICY IF EXISTS own_host ON %I', guarded);
        EXECUTE format('DROP POLICY IF EXISTS any_host ON %I', guarded);
        EXECUTE format(
            'CREATE POLICY own_host ON %I TO detector_collector USING (%s) WITH CHECK (%s)', guarded, own, own
        );
        EXECUTE format(
            'CREATE POLICY any_host ON %I TO detector_any_collector, detector_detector, detector_reader USING (true)'
            ' WITH CHECK (true)', guarded
        );
    END LOOP;
END
$policies$;

COMMIT;
