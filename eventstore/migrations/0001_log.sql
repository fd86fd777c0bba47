-- +goose Up

-- The log's own identity. A restored or imported log gets a new id, so that
-- whoever follows positions notices that these are another log's.
create table log (
    only_row boolean     not null default true,
    id       uuid        not null,
    tag_key  bytea       not null, -- keys the tags that stand for personal data
    made_at  timestamptz not null default clock_timestamp(),
    constraint log_pkey primary key (only_row),
    constraint log_one_row check (only_row),
    constraint log_tag_key_length check (octet_length(tag_key) >= 32)
);

-- Rows are appended under one advisory lock and never updated or deleted in
-- normal running, so positions are gapless and in commit order and a reader
-- needs nothing but "position > what I have".
create table events (
    position       bigint                  not null,
    id             uuid                    not null,
    type           text        collate "C" not null,
    schema_version integer                 not null,
    tags           text[]      collate "C" not null,
    data           json                    not null, -- json, not jsonb: kept byte for byte, because proofs will cover it
    metadata       json                    not null,
    salt           bytea                   not null, -- random: lets data be destroyed later without breaking proofs
    recorded_at    timestamptz             not null, -- read after the lock; never before that of the previous position
    constraint events_pkey primary key (position),
    constraint events_id_key unique (id),
    constraint events_position_positive check (position > 0)
);

-- "As of a time" is "the last position recorded at or before it".
create index events_recorded_at on events (recorded_at, position);

-- The primary key is the access path of queries and append conditions: "an
-- event of this type with this tag after that position" is one index probe.
create table event_tags (
    tag      text   collate "C" not null,
    type     text   collate "C" not null,
    position bigint             not null,
    constraint event_tags_pkey primary key (tag, type, position)
);

-- Ids of records, as the API shows them: 1, 2, 3. Not cached: a cache per
-- connection would hand them out in disorder.
create sequence patient_ids;
create sequence doctor_ids;
create sequence mapping_ids;
create sequence user_ids;
