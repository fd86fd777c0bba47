-- +goose Up

-- Since when a user's tokens count: the position of the user's last
-- user.password_changed, 0 while there is none. A token carries the epoch in
-- which its login began, and is refused in every other.
--
-- The rows that are there get what a replay of the log would give them: no
-- program before this one has written user.password_changed. So the tables keep
-- their schema version and need not be filled anew.
alter table projections.users add column token_epoch bigint not null default 0;
