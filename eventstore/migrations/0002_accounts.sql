-- +goose Up

-- What must not be in the log, since the log is never changed: a password's
-- hash has to go when the password does.
create schema accounts;

-- Keyed by the user id that was drawn for the registration, and stored before
-- user.registered is appended. A row whose user has no such event lost the race
-- for an e-mail address, or its process died: it opens no account and is swept.
create table accounts.credentials (
    user_id       bigint      not null,
    password_hash text        not null, -- PHC string format, with its own parameters
    created_at    timestamptz not null default clock_timestamp(),
    constraint credentials_pkey primary key (user_id)
);

-- A family is the chain of refresh tokens that one login led to. Nothing is
-- stored at login: the row is made when the first token is exchanged, so a
-- refresh token that was never seen is honoured as the root of a family.
--
-- The state of the whole chain is this one row, which every exchange updates:
-- of two exchanges of one token the second waits for the first and then finds
-- that the token is not the live one any more.
create table accounts.refresh_families (
    user_id    bigint                  not null,
    root       text        collate "C" not null, -- the jti of the first token
    live       text        collate "C" not null, -- the jti of the only token that can be exchanged
    expires_at timestamptz             not null, -- no token of the family is valid longer
    revoked_at timestamptz,
    constraint refresh_families_pkey primary key (user_id, root)
);

create index refresh_families_expires_at on accounts.refresh_families (expires_at);

-- Which family a token belongs to that was given out in exchange for another.
create table accounts.refresh_tokens (
    user_id bigint           not null,
    jti     text collate "C" not null,
    root    text collate "C" not null,
    constraint refresh_tokens_pkey primary key (user_id, jti),
    constraint refresh_tokens_family_fkey foreign key (user_id, root)
        references accounts.refresh_families on delete cascade
);

-- For the cascade.
create index refresh_tokens_family on accounts.refresh_tokens (user_id, root);
