-- Appends the members of a group whose conditions hold. Runs under the append
-- lock, which the statement before it took, in READ COMMITTED.
--
-- $1..$5  probes, one for each tag-and-type pair of each condition's items:
--         member, tag or null, type or null, after, further tags or null
-- $6..$12 events: member, id, type, schema version, tags, data, metadata; $13 salt
--
-- Lists of tags are joined by the unit separator, which no tag holds.
with head as materialized (
    select coalesce(max(position), 0) as position,
        greatest(clock_timestamp(), (select e.recorded_at from events e order by e.position desc limit 1)) as now
    from events
), failed as materialized (
    select distinct probe.member
    from unnest($1::int[], $2::text[], $3::text[], $4::bigint[], $5::text[])
        as probe(member, tag, type, after, further)
    -- Scalar subqueries, because they are always index probes: as an EXISTS the
    -- generic plan that is cached on an empty log was a scan of all tags.
    where case
        -- Decided on what is not in this log: it went back since, as a failover
        -- that lost commits makes it do. Nobody knows what stands there now.
        when probe.after > (select position from head) then probe.after
        when probe.tag is null then (
            select e.position from events e
            where e.position > probe.after and e.type = probe.type
            order by e.position limit 1)
        when probe.type is null then (
            select t.position from event_tags t
            where t.tag = probe.tag and t.position > probe.after
                and (probe.further is null or (
                    select e.tags @> string_to_array(probe.further, e'\x1f') collate "C"
                    from events e where e.position = t.position))
            limit 1)
        else (
            select t.position from event_tags t
            where t.tag = probe.tag and t.type = probe.type and t.position > probe.after
                and (probe.further is null or (
                    select e.tags @> string_to_array(probe.further, e'\x1f') collate "C"
                    from events e where e.position = t.position))
            order by t.position limit 1)
        end is not null
), fresh as materialized (
    select head.position + row_number() over (order by given.ordinal) as position,
        given.member, given.id, given.type, given.schema_version,
        string_to_array(given.tags, e'\x1f') as tags,
        given.data::json as data, given.metadata::json as metadata, given.salt, head.now
    from unnest($6::int[], $7::uuid[], $8::text[], $9::int[], $10::text[], $11::text[], $12::text[], $13::bytea[])
        with ordinality as given(member, id, type, schema_version, tags, data, metadata, salt, ordinal)
        cross join head
    where given.member not in (select member from failed)
), stored as (
    insert into events (position, id, type, schema_version, tags, data, metadata, salt, recorded_at)
    select position, id, type, schema_version, coalesce(tags, '{}'), data, metadata, salt, now from fresh
), tagged as (
    insert into event_tags (tag, type, position)
    select tag, fresh.type, fresh.position from fresh cross join unnest(fresh.tags) as tag
)
select member, max(position), max(now) from fresh group by member order by member
