-- The events of a log from position $1 to $2, as Carelog's commands would have
-- appended them. $3 users register first. Then each ten events are a block, with
-- the number b:
--
--   0    of a hundred blocks, in one a user registers, in one a doctor does, in one
--        a doctor gets another phone number, in two the mapping of the block before
--        ends; in the others patient b-1 gets a doctor
--   1    patient b is registered
--   2-5  patient b is a year older; one, ten and a hundred blocks ago's get
--        another name
--   6-9  so do four of all there are; $5 times, evenly spread over the log of $4
--        patients, one of the four is patient 1
--
-- $3 users at a time register 100 patients each, in turns.
--
-- Events are three seconds apart, the first that long after $6. $7 and $8 are the
-- inner and the outer pad of the log's tag key, as HMAC wants them. "offset 0"
-- keeps what is computed from being computed once for each place that names it.
insert into events (position, id, type, schema_version, tags, data, metadata, salt, recorded_at)
select
    position,
    -- UUIDv7 (RFC 9562): milliseconds in 48 bits, then random ones.
    (lpad(to_hex((extract(epoch from recorded_at) * 1000)::bigint), 12, '0') || '7' || right(random, 3) || '8' || left(random, 15))::uuid,
    type, 1, tags, data::json,
    format('{"actor":{"user_id":%s},"correlation_id":"%s","request_id":"%2$s"}', actor, request)::json,
    uuid_send(gen_random_uuid()), recorded_at
from (
    select position, b, slot, recorded_at, users,
        pg_temp.owner_of(b, users) as owner,
        to_char((recorded_at - interval '2 ms') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as decided_at,
        case
            when slot = 1 then 'patient.registered'
            when slot > 1 then 'patient.amended'
            when slot < 0 or b % 100 = 1 then 'user.registered'
            when b % 100 = 2 then 'doctor.registered'
            when b % 100 = 3 then 'doctor.amended'
            when b % 50 = 33 then 'mapping.removed'
            else 'mapping.created'
        end as type,
        case
            when back < b - 1 then b - back
            when back is not null or b = 1 then b
            when slot = 9 and b * $5::bigint / $4::bigint > (b - 1) * $5::bigint / $4::bigint then 1
            else 2 + (hashint8extended(position, 0) & 9223372036854775807) % (b - 1)
        end as amended
    from (
        select position, recorded_at, users, b, slot, (array[0, 1, 10, 100])[slot - 1] as back
        from (
            select position, users, (position - users - 1) / 10 + 1 as b,
                case when position > users then (position - users - 1) % 10 else -1 end as slot,
                $6::timestamptz + position * interval '3 s' as recorded_at
            from generate_series($1::bigint, $2::bigint) as position, (select $3::bigint as users) as given
        ) as placed
    ) as placed
    offset 0
) as fact
cross join lateral (select gen_random_uuid() as request, md5(position::text) as random offset 0) as drawn
cross join lateral (
    select id as actor,
        array['user:' || id, pg_temp.keyed_tag('user-email', email, $7::bytea, $8::bytea)] as tags,
        format('{"user_id":%s,"name":"John Doe %1$s","email":"%s","registered_at":"%s"}', id, email, decided_at) as data
    from (select id, format('owner%s@example.org', id) as email
        from (select case when slot < 0 then position else users + b / 100 + 1 end as id) as "user") as "user"
    where type = 'user.registered'
    union all
    select owner, array['patient:' || b, 'owner:' || owner],
        format('{"patient_id":%s,"owner_id":%s,"first_name":"Alice","last_name":"Smith %1$s","age":%3$s,"gender":"Female","created_at":"%4$s"}',
            b, owner, 20 + b % 60, decided_at)
    where type = 'patient.registered'
    union all
    select theirs, array['patient:' || amended, 'owner:' || theirs],
        format('{"patient_id":%s,"owner_id":%s,%s}', amended, theirs,
            case
                when slot = 2 then format('"age":%s', 21 + b % 60)
                when slot % 2 = 1 then format('"last_name":"Jones %s"', position)
                else format('"first_name":"Alicia %s"', position)
            end)
    from (select pg_temp.owner_of(amended, users) as theirs) as patient
    where type = 'patient.amended'
    union all
    select owner, array['doctor:' || id, pg_temp.keyed_tag('doctor-email', email, $7::bytea, $8::bytea)],
        format('{"doctor_id":%s,"first_name":"Dr. Sarah","last_name":"Johnson %1$s","specialization":"Cardiology","email":"%s",'
            '"phone":"+1234567890","created_at":"%s"}', id, email, decided_at)
    from (select b / 100 + 1 as id, format('doctor%s@example.org', b / 100 + 1) as email) as doctor
    where type = 'doctor.registered'
    union all
    select owner, array['doctor:' || b / 100 + 1], format('{"doctor_id":%s,"phone":"+%s"}', b / 100 + 1, position)
    where type = 'doctor.amended'
    union all
    select theirs, array['mapping:' || b, 'patient:' || b - 1, 'doctor:' || doctor, format('pair:%s:%s', b - 1, doctor), 'owner:' || theirs],
        format('{"mapping_id":%s,"patient_id":%s,"doctor_id":%s,"owner_id":%s,"assigned_at":"%s"}', b, b - 1, doctor, theirs, decided_at)
    from (select pg_temp.owner_of(b - 1, users) as theirs, pg_temp.doctor_of(b) as doctor) as mapping
    where type = 'mapping.created'
    union all
    select theirs, array['mapping:' || b - 1, 'patient:' || b - 2, 'doctor:' || doctor, format('pair:%s:%s', b - 2, doctor), 'owner:' || theirs],
        format('{"mapping_id":%s,"patient_id":%s,"doctor_id":%s,"owner_id":%s}', b - 1, b - 2, doctor, theirs)
    from (select pg_temp.owner_of(b - 2, users) as theirs, pg_temp.doctor_of(b - 1) as doctor) as mapping
    where type = 'mapping.removed'
) as event
