grant select, insert on events, event_tags, log, migrations to carelog_app;
grant usage on all sequences in schema public to carelog_app;
grant usage on schema public, projections, accounts to carelog_app;
grant select, insert, update, delete on all tables in schema projections, accounts to carelog_app;
