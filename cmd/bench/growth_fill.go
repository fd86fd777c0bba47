package main

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// history says what a log is filled with (growth.sql): of ten events one
// registers a patient and eight amend one. A patient whose id is 1 has amendments
// without end, any other some eight.
type history struct {
	Patients   int64 `json:"patients"`
	AtATime    int64 `json:"users_at_a_time"` // users who register patients in turns, 100 each
	Amendments int64 `json:"amendments"`      // of patient 1, besides those that each has
}

// Each user has as many patients.
const patientsOfUser = listLength

// historyOf is one of about so many events, at least a thousand.
func historyOf(events, amendments int64) history {
	h := history{Patients: events / 10, Amendments: min(amendments, events/10)}
	h.AtATime = min(h.Patients/patientsOfUser, 100)
	h.Patients -= h.Patients % (h.AtATime * patientsOfUser)
	return h
}

func (h history) events() int64 { return h.AtATime + 10*h.Patients }

// owners is how many users have patients. Others have registered, and have none
// yet.
func (h history) owners() int64 { return h.Patients / patientsOfUser }

// owner is the user of a patient.
func (h history) owner(patient int64) int64 {
	return (patient-1)/(patientsOfUser*h.AtATime)*h.AtATime + (patient-1)%h.AtATime + 1
}

//go:embed growth.sql
var fillSQL string

// Functions of growth.sql. Those who are there before a block are its b/100+1
// doctors.
const fillFunctions = `
	create function pg_temp.owner_of(patient bigint, users bigint) returns bigint language sql immutable as
		$$ select (patient - 1) / (100 * users) * users + (patient - 1) % users + 1 $$;
	create function pg_temp.doctor_of(b bigint) returns bigint language sql immutable as
		$$ select 1 + (hashint8extended(b, 1) & 9223372036854775807) % ((b - 2) / 100 + 1) $$;
	create function pg_temp.keyed_tag(kind text, value text, inner_pad bytea, outer_pad bytea) returns text language sql immutable as $$
		select kind || ':' || rtrim(translate(encode(sha256(outer_pad || sha256(
			inner_pad || convert_to(kind, 'UTF8') || '\x00' || convert_to(value, 'UTF8'))), 'base64'), '+/', '-_'), '=') $$`

// fillChunk is how many events are stored in one transaction.
const fillChunk = 200_000

// fill writes a history into an empty log that nobody serves. What it cannot
// write is passwords: its users cannot log in, and need a token.
//
// The index of the tags is made at the end, which is ten times as fast, and as
// full as an index is that has grown.
func (d *database) fill(ctx context.Context, h history, tell func(format string, args ...any)) error {
	var tagKey []byte
	if err := d.conn.QueryRow(ctx, "select tag_key from log").Scan(&tagKey); err != nil {
		return fmt.Errorf("read the tag key: %w", err)
	}
	inner, outer := hmacPads(tagKey)
	tags, err := pgx.ConnectConfig(ctx, d.conn.Config())
	if err != nil {
		return err
	}
	defer tags.Close(context.WithoutCancel(ctx))
	for _, conn := range []*pgx.Conn{d.conn, tags} {
		if _, err := conn.Exec(ctx, "set synchronous_commit = off; set maintenance_work_mem = '512MB'; set jit = off"); err != nil {
			return err
		}
	}
	if _, err := d.conn.Exec(ctx, fillFunctions+"; alter table event_tags drop constraint event_tags_pkey"); err != nil {
		return err
	}

	// Whole milliseconds and some microseconds, so that no time is written shorter.
	begin := time.Now().Truncate(time.Millisecond).Add(123*time.Microsecond - time.Duration(h.events()+1)*3*time.Second)
	stored := make(chan int64, 1)
	work, working := errgroup.WithContext(ctx)
	work.Go(func() error {
		defer close(stored)
		for first := int64(1); first <= h.events(); first += fillChunk {
			last := min(first+fillChunk-1, h.events())
			if _, err := d.conn.Exec(working, fillSQL, first, last, h.AtATime, h.Patients, h.Amendments, begin, inner, outer); err != nil {
				return fmt.Errorf("store events %d to %d: %w", first, last, err)
			}
			select {
			case stored <- last:
			case <-working.Done():
				return working.Err()
			}
		}
		return nil
	})
	work.Go(func() error {
		first := int64(1)
		for last := range stored {
			_, err := tags.Exec(working, `insert into event_tags (tag, type, position)
				select unnest(tags), type, position from events where position between $1 and $2`, first, last)
			if err != nil {
				return fmt.Errorf("store the tags of events %d to %d: %w", first, last, err)
			}
			if last%(5*fillChunk) == 0 {
				tell("%s of %s events", thousands(float64(last)), thousands(float64(h.events())))
			}
			first = last + 1
		}
		return nil
	})
	if err := work.Wait(); err != nil {
		return err
	}
	return d.finishFill(ctx, h)
}

func (d *database) finishFill(ctx context.Context, h history) error {
	_, err := d.conn.Exec(ctx, fmt.Sprintf(`
		alter table event_tags add constraint event_tags_pkey primary key (tag, type, position) with (fillfactor = 70);
		alter index event_tags_pkey reset (fillfactor);
		select setval('patient_ids', %[1]d), setval('mapping_ids', %[1]d), setval('doctor_ids', %[2]d), setval('user_ids', %[3]d);
		delete from projections.checkpoints; -- so that a rebuild goes to the end of the log
		reset synchronous_commit; reset maintenance_work_mem; reset jit`,
		h.Patients, h.Patients/100, h.AtATime+h.Patients/100))
	if err != nil {
		return fmt.Errorf("make the index of the tags: %w", err)
	}
	return nil
}

// hmacPads are what HMAC-SHA-256 hashes before its text, and before the hash of
// that (RFC 2104). PostgreSQL has SHA-256, but no HMAC without an extension.
func hmacPads(key []byte) (inner, outer []byte) {
	inner, outer = make([]byte, 64), make([]byte, 64)
	copy(inner, key) // of 32 bytes
	copy(outer, key)
	for i := range inner {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	return inner, outer
}
