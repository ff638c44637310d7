-- Roles of the database: who may do what. As the database's owner or a superuser, after the first
-- `orchestrator` command has migrated it, and again after each upgrade (it may be repeated):
--
--     psql --dbname orchestrator --file deploy/postgres/roles.sql
--     psql --command "\password orchestrator_worker"        and so on, for each
--
-- orchestrator_migrator   owns the tables: upgrades, partitions, retention, `audit erase`, `payloads reseal`
-- orchestrator_worker     runs: everything but the audit's past, and no keys to the REST face
-- orchestrator_api        REST, console, agents, commands: the same, and keys
-- orchestrator_readonly   reports, and `database_read_url`: reads, but no keys
--
-- Neither of the middle two changes or deletes what stands in the audit.

DO $$
DECLARE
    wanted text;
    made record;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['migrator', 'worker', 'api', 'readonly'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'orchestrator_' || wanted) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', 'orchestrator_' || wanted);
        END IF;
    END LOOP;
    EXECUTE format('GRANT CONNECT, CREATE ON DATABASE %I TO orchestrator_migrator', current_database());
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO orchestrator_worker, orchestrator_api, orchestrator_readonly',
        current_database()
    );
    FOR made IN
        SELECT c.oid::regclass AS name, c.relkind AS kind FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v')
    LOOP
        EXECUTE format(
            'ALTER %s %s OWNER TO orchestrator_migrator',
            CASE made.kind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, made.name
        );
    END LOOP;
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO orchestrator_migrator;
GRANT USAGE ON SCHEMA public TO orchestrator_worker, orchestrator_api, orchestrator_readonly;

REVOKE ALL ON ALL TABLES IN SCHEMA public
    FROM PUBLIC, orchestrator_worker, orchestrator_api, orchestrator_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO orchestrator_worker, orchestrator_api;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO orchestrator_readonly;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO orchestrator_worker, orchestrator_api;

-- What is said stays said. Rights to a partition are never asked for: each query names the table.
DO $$
DECLARE
    made record;
BEGIN
    FOR made IN
        SELECT c.oid::regclass AS name FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')
            AND (c.relname = 'audit' OR c.relname LIKE 'audit\_%')
    LOOP
        EXECUTE format('REVOKE UPDATE, DELETE ON %s FROM orchestrator_worker, orchestrator_api', made.name);
    END LOOP;
END
$$;
-- Which anchors are still open, and which checkpoint tells of a deletion, is noted later.
GRANT UPDATE ON audit_anchors, audit_deletions TO orchestrator_worker;

REVOKE INSERT, UPDATE, DELETE ON workflows FROM orchestrator_worker;
REVOKE ALL ON access_keys FROM orchestrator_worker, orchestrator_readonly;
REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM orchestrator_worker, orchestrator_api;

-- Tables of later releases, until this file has run again.
ALTER DEFAULT PRIVILEGES FOR ROLE orchestrator_migrator IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO orchestrator_worker, orchestrator_api;
ALTER DEFAULT PRIVILEGES FOR ROLE orchestrator_migrator IN SCHEMA public
    GRANT SELECT ON TABLES TO orchestrator_readonly;
