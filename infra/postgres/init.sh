#!/bin/sh
# Run once, on an empty data directory: a role and a database each for Prefect and MLflow.
set -eu
: "${PREFECT_DB_PASSWORD:?}" "${MLFLOW_DB_PASSWORD:?}"
# \getenv keeps the passwords off the command line
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv prefect_password PREFECT_DB_PASSWORD
\getenv mlflow_password MLFLOW_DB_PASSWORD
CREATE ROLE prefect LOGIN PASSWORD :'prefect_password';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE DATABASE prefect OWNER prefect;
CREATE DATABASE mlflow OWNER mlflow;
REVOKE CONNECT ON DATABASE prefect, mlflow FROM PUBLIC;
SQL
