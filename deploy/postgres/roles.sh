#!/bin/sh
# Makes on a new PostgreSQL, 15 or newer, the database of Carelog, its owner, who migrates
# it, and the role that serves. By root, on PostgreSQL's machine:
#
#   CARELOG_OWNER_PASSWORD=… CARELOG_APP_PASSWORD=… runuser -u postgres -- sh < roles.sh
#
# or elsewhere with PGHOST, PGPASSWORD and POSTGRES_USER, who may make roles and databases.
set -eu
: "${CARELOG_OWNER_PASSWORD:?set it to a password of carelog_owner}" "${CARELOG_APP_PASSWORD:?set it to a password of carelog_app}"

# The passwords are not in the command line, which others can see.
psql --set ON_ERROR_STOP=1 --quiet --no-psqlrc --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv owner_password CARELOG_OWNER_PASSWORD
\getenv app_password CARELOG_APP_PASSWORD
create role carelog_owner login password :'owner_password';
create role carelog_app login password :'app_password';
create database carelog owner carelog_owner;
revoke connect, temporary on database carelog from public;
grant connect on database carelog to carelog_app;
SQL
