#!/bin/sh
# Makes on a new PostgreSQL, 15 or newer, the database of Carelog, its owner, who migrates
# it, and the role that serves. Run by a superuser, with both passwords in the environment:
#
#   sudo -u postgres CARELOG_OWNER_PASSWORD=… CARELOG_APP_PASSWORD=… sh roles.sh
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
