-- The role and the database that it owns. psql variables: role, database, is_locked_out; the password comes by the
-- environment, so that it stands in no argument list. What is there already is left alone.
\set QUIET on
-- Neither a log of statements nor that of a failure may show the password.
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
SET log_min_duration_statement = -1;
SET password_encryption = 'scram-sha-256';
\set QUIET off

SELECT format('CREATE ROLE %I LOGIN', :'role')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role')
\gexec

\if :is_locked_out
\getenv password POSTGRES_PASSWORD
ALTER ROLE :"role" WITH LOGIN PASSWORD :'password';
\endif

-- UTF-8 whatever the locale of the system was when the package made the cluster.
SELECT format(
    'CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING ''UTF8'' LC_COLLATE ''C.UTF-8'' LC_CTYPE ''C.UTF-8''',
    :'database', :'role')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database')
\gexec

SELECT format('ALTER DATABASE %I OWNER TO %I', :'database', :'role')
FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba
WHERE datname = :'database' AND rolname <> :'role'
\gexec
