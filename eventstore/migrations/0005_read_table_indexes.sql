-- +goose Up

-- An id is found by the primary key alone: no other index of a read table holds
-- it. These held it behind another column, to answer lists in order of id. For
-- a table that was analysed while it was empty the planner takes every index for
-- free, and looked ids up by scanning one of these from end to end, once for each
-- id: a second for a batch of 500. Lists are sorted instead.
drop index projections.patients_owner, projections.mappings_owner, projections.mappings_patient;
create index patients_owner on projections.patients (owner_id);
create index mappings_owner on projections.mappings (owner_id);
create index mappings_patient on projections.mappings (patient_id);
