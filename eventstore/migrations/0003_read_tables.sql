-- +goose Up

-- What reads are answered from. Everything in this schema is made out of the
-- log and can be made again, so no table here refers to another by a foreign
-- key: a key could only repeat what the log has decided, it would make batches
-- depend on the order of statements, and tables could not be filled one by one.
--
-- The tables have a schema of their own because programs name them without it
-- and find them by search_path: new ones can be filled in another schema by the
-- same statements, beside those that serve, and take their place.
create schema projections;

-- position is that of the record's last patient.* event.
create table projections.patients (
    id         bigint      not null,
    owner_id   bigint      not null, -- the user who added the patient and alone sees it
    first_name text        not null,
    last_name  text        not null,
    age        integer     not null, -- years
    gender     text        not null,
    created_at timestamptz not null,
    position   bigint      not null,
    constraint patients_pkey primary key (id)
);

create index patients_owner on projections.patients (owner_id, id);

-- position is that of the record's last doctor.* event.
--
-- The e-mail address is unique after every transaction, not after every row:
-- two doctors may exchange theirs within one batch. The API takes addresses
-- that differ in case for different ones.
create table projections.doctors (
    id             bigint           not null,
    first_name     text             not null,
    last_name      text             not null,
    specialization text             not null,
    email          text collate "C" not null,
    phone          text             not null,
    created_at     timestamptz      not null,
    position       bigint           not null,
    constraint doctors_pkey primary key (id),
    constraint doctors_email_key unique (email) deferrable initially deferred
);

-- The names of patient and doctor are not copied here: they are joined when
-- read, so they follow amendments.
create table projections.mappings (
    id          bigint      not null,
    patient_id  bigint      not null,
    doctor_id   bigint      not null,
    owner_id    bigint      not null, -- the owner of the patient
    assigned_at timestamptz not null,
    constraint mappings_pkey primary key (id)
);

create index mappings_owner on projections.mappings (owner_id, id);
create index mappings_patient on projections.mappings (patient_id, id);
create index mappings_doctor on projections.mappings (doctor_id);

create table projections.users (
    id            bigint           not null,
    name          text             not null,
    email         text collate "C" not null,
    active        boolean          not null default true,
    registered_at timestamptz      not null,
    constraint users_pkey primary key (id),
    constraint users_email_key unique (email) deferrable initially deferred
);

-- How far each projection has followed the log, written in the transaction of
-- its rows. No index besides the key and room in the page, so that the update
-- of every batch stays within one page.
create table projections.checkpoints (
    name             text    not null,
    schema_version   integer not null, -- of the projection's tables
    log_id           uuid    not null, -- positions of another log mean nothing here
    position         bigint  not null, -- the last event that the tables contain
    stopped_position bigint,           -- the event that could not be applied, while the runner is stopped at it
    stopped_type     text,
    stopped_reason   text,
    constraint checkpoints_pkey primary key (name),
    constraint checkpoints_position_not_negative check (position >= 0),
    constraint checkpoints_stop_complete check (num_nulls(stopped_position, stopped_type, stopped_reason) in (0, 3))
) with (fillfactor = 50);
