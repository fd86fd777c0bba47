-- +goose Up

-- What a user may do besides what every user may. As with token_epoch, the rows
-- that are there get what a replay of the log would give them: no program before
-- this one has written user.role_granted.
alter table projections.users add column roles text[] collate "C" not null default '{}'; -- sorted
