-- The role of the dashboard: reads all but test results, and writes nothing.
-- Run at every start, when the tables are there; variable password_file: where its password lies.
\set password `cat :'password_file'`
SELECT 'CREATE ROLE dashboard' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'dashboard')
\gexec
BEGIN;
ALTER ROLE dashboard WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT PASSWORD :'password';
ALTER ROLE dashboard SET default_transaction_read_only = on;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM dashboard;
GRANT USAGE ON SCHEMA public TO dashboard;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO dashboard;
REVOKE SELECT ON ledger_sealed_epoch, ledger_sealed_example FROM dashboard;
COMMIT;
