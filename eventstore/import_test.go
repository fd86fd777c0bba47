package eventstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/eventstore/pgtest"
)

// allRows is the log as SQL tells it, byte for byte.
const allRows = `select coalesce(string_agg(r, e'\n' order by r), '') from (
	select format('%s %s %s %s %s %s|%s|%s %s', lpad(position::text, 12, '0'), id, type, schema_version, tags, data::text, metadata::text, encode(salt, 'hex'), extract(epoch from recorded_at)) as r
	from events where position <= $1
	union all select format('tag %s %s %s', tag, type, position) from event_tags where position <= $1) as rows`

func textOf(t testing.TB, conn *pgx.Conn, sql string, args ...any) (text string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

// oddLog has events with all that a log can hold.
func oddLog(t testing.TB, store *eventstore.Store, n int) {
	t.Helper()
	for i, document := range []string{`{}`, " {\n\t\"a\" : 1 }\r\n", `{"a":1,"a":2}`, `{"ü":"\u0000 😀 \\ \""}`, `[]`, `"text"`, `1e400`, `null`} {
		e := event("patient.registered", events.PatientTag(int64(i+1)), "odd:% ü\"'{},\\")
		e.Data, e.Metadata = json.RawMessage(document), json.RawMessage(strings.ReplaceAll(document, `\u0000`, ""))
		mustAppend(t, store, events.AppendCondition{}, e)
	}
	var more []events.Event
	for i := range n {
		e := event("patient.amended", events.PatientTag(int64(i+1)), events.OwnerTag(7))
		if i%3 == 0 {
			e = event("doctor.registered")
			e.SchemaVersion = 70_000
		}
		more = append(more, e)
	}
	mustAppend(t, store, events.AppendCondition{}, more...)
	mustAppend(t, store, events.AppendCondition{}, event("user.registered", events.UserTag(12), "user:x", "users:99"))
}

// imported fills a database in one transaction.
func imported(t testing.TB, conn *pgx.Conn, key events.TagKey, rows iter.Seq2[eventstore.Row, error]) (log uuid.UUID, last events.Position, err error) {
	t.Helper()
	err = pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		i, err := eventstore.NewImporter(t.Context(), tx, nil)
		if err == nil {
			err = i.Copy(t.Context(), rows)
		}
		if err == nil {
			err = i.Index(t.Context())
		}
		if err == nil {
			log, last, err = i.Finish(t.Context(), key, event("log.imported", "log:1"))
		}
		return err
	})
	return log, last, err
}

// TestAnImportedLogIsTheSame, to the byte, but for its id; and ids are drawn behind
// those in it.
func TestAnImportedLogIsTheSame(t *testing.T) {
	from, to := pgtest.New(t), pgtest.New(t)
	source := open(t, from)
	oddLog(t, source, 45_000) // three pieces
	head, err := source.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := open(t, to)
	target := connect(t, to)
	keys := textOf(t, target, `select string_agg(pg_get_indexdef(indexrelid), e'\n' order by indexrelid::regclass::text) from pg_index where indrelid in ('events'::regclass, 'event_tags'::regclass)`)
	log, last, err := imported(t, target, source.TagKey(), source.Rows(t.Context(), events.Selection{}))
	if err != nil {
		t.Fatal(err)
	}
	if want, got := textOf(t, connect(t, from), allRows, head), textOf(t, target, allRows, head); want != got || want == "" {
		t.Error("the imported log differs")
	}
	if got := textOf(t, target, `select string_agg(pg_get_indexdef(indexrelid), e'\n' order by indexrelid::regclass::text) from pg_index where indrelid in ('events'::regclass, 'event_tags'::regclass)`); got != keys {
		t.Errorf("indexes were\n%s\nand are\n%s", keys, got)
	}
	store := open(t, to)
	if store.LogID() != log || log == source.LogID() || log == before.LogID() || string(store.TagKey()) != string(source.TagKey()) {
		t.Errorf("log %s with another key, of %s", store.LogID(), source.LogID())
	}
	found, _, err := store.Load(t.Context(), events.Query{{Tags: []events.Tag{"log:1"}}}, 0)
	if err != nil || len(found) != 1 || found[0].Position != last || last != head+1 || found[0].Type != "log.imported" {
		t.Errorf("%+v, %v", found, err)
	}
	for kind, want := range map[events.Kind]int64{events.Patient: 45_001, events.User: 13, events.Doctor: 1} {
		if got, err := store.NextID(t.Context(), kind); err != nil || got != want {
			t.Errorf("the next %s has the id %d, %v; want %d", kind, got, err, want)
		}
	}
	if position := mustAppend(t, store, none(0, "patient.registered", "patient:none"), event("patient.registered", "patient:none")); position != last+1 {
		t.Errorf("appended at %d", position)
	}
	if _, err := store.Append(t.Context(), []events.Event{event("patient.registered")}, none(0, "patient.registered", events.PatientTag(3))); !errors.Is(err, events.ErrConflict) {
		t.Errorf("a condition on an imported event: %v", err)
	}
}

// TestAnEmptyLogIsImported as one.
func TestAnEmptyLogIsImported(t *testing.T) {
	url := pgtest.New(t)
	_, last, err := imported(t, connect(t, url), make(events.TagKey, 32), func(func(eventstore.Row, error) bool) {})
	if err != nil || last != 1 {
		t.Errorf("%d, %v", last, err)
	}
}

// TestAFailedImportLeavesNothing, whatever fails, and can be tried again.
func TestAFailedImportLeavesNothing(t *testing.T) {
	from, to := pgtest.New(t), pgtest.New(t)
	source := open(t, from)
	oddLog(t, source, 21_000)
	conn := connect(t, to)
	id := open(t, to).LogID()
	rows := func(change func(i int, r *eventstore.Row) error) iter.Seq2[eventstore.Row, error] {
		return func(yield func(eventstore.Row, error) bool) {
			i := 0
			for r, err := range source.Rows(t.Context(), events.Selection{}) {
				if i++; err == nil {
					err = change(i, &r)
				}
				if !yield(r, err) {
					return
				}
			}
		}
	}
	errTest := errors.New("of the test")
	for name, change := range map[string]func(i int, r *eventstore.Row) error{
		"read error": func(i int, _ *eventstore.Row) error {
			if i == 20_500 {
				return errTest
			}
			return nil
		},
		"gap": func(i int, r *eventstore.Row) error { r.Position += events.Position(i / 20_500); return nil },
		"not JSON": func(i int, r *eventstore.Row) error {
			if i == 20_500 {
				r.Data = json.RawMessage(`{"secret`)
			}
			return nil
		},
		"an id twice": func(i int, r *eventstore.Row) error {
			if i > 20_500 {
				r.ID = uuid.UUID{1}
			}
			return nil
		},
		"back in time": func(i int, r *eventstore.Row) error {
			if i == 20_500 {
				r.RecordedAt = r.RecordedAt.Add(-1e9)
			}
			return nil
		},
		"a tag twice": func(i int, r *eventstore.Row) error {
			if i == 100 {
				r.Tags = []events.Tag{"a:1", "a:1"}
			}
			return nil
		},
	} {
		_, _, err := imported(t, conn, source.TagKey(), rows(change))
		if err == nil || name == "read error" && !errors.Is(err, errTest) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
		if left := textOf(t, conn, allRows, 1<<40); left != "" {
			t.Errorf("%s: events are left", name)
		}
		if got := textOf(t, conn, `select id::text from log`); got != id.String() {
			t.Errorf("%s: the log has another id", name)
		}
	}
	if _, _, err := imported(t, conn, source.TagKey(), source.Rows(t.Context(), events.Selection{})); err != nil {
		t.Error(err)
	}
	_, _, err := imported(t, conn, source.TagKey(), source.Rows(t.Context(), events.Selection{}))
	if !errors.Is(err, eventstore.ErrNotEmpty) {
		t.Errorf("into a log that is not empty: %v", err)
	}
}

// TestNobodyAppendsDuringAnImport: who tries waits until it is done, and then appends
// behind it.
func TestNobodyAppendsDuringAnImport(t *testing.T) {
	from, to := pgtest.New(t), pgtest.New(t)
	source, store := open(t, from), open(t, to)
	mustAppend(t, source, events.AppendCondition{}, event("patient.registered"))
	conn, watch := connect(t, to), connect(t, to)
	appended := make(chan events.Position, 1)
	err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		i, err := eventstore.NewImporter(t.Context(), tx, nil)
		if err != nil {
			return err
		}
		go func() {
			position, _ := store.Append(t.Context(), []events.Event{event("patient.registered")})
			appended <- position
		}()
		for textOf(t, watch, `select count(*)::text from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())`) == "0" {
		}
		if err := i.Copy(t.Context(), source.Rows(t.Context(), events.Selection{})); err != nil {
			return err
		}
		if err := i.Index(t.Context()); err != nil {
			return err
		}
		_, _, err = i.Finish(t.Context(), source.TagKey(), event("log.imported"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if position := <-appended; position != 3 {
		t.Errorf("appended at %d", position)
	}
}

// TestOnlyTheOwnerImports is told so.
func TestOnlyTheOwnerImports(t *testing.T) {
	url := pgtest.New(t)
	source := open(t, pgtest.New(t))
	conn := connect(t, url)
	role := "importer_" + strings.ReplaceAll(uuid.NewString(), "-", "_")
	execute(t, conn, fmt.Sprintf(`create role %[1]s; grant select, insert on events, event_tags, log to %[1]s; set role %[1]s`, role))
	t.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), fmt.Sprintf(`reset role; drop owned by %[1]s; drop role %[1]s`, role)); err != nil {
			t.Error(err)
		}
	})
	if _, _, err := imported(t, conn, source.TagKey(), source.Rows(t.Context(), events.Selection{})); !errors.Is(err, eventstore.ErrNotOwner) {
		t.Errorf("got %v", err)
	}
}

// TestRowsAreThoseThatStreamSelects, with their salts.
func TestRowsAreThoseThatStreamSelects(t *testing.T) {
	url := pgtest.New(t)
	store := open(t, url)
	oddLog(t, store, 2500)
	salts := map[events.Position]string{}
	conn := connect(t, url)
	found, err := conn.Query(t.Context(), `select position, encode(salt, 'hex') from events`)
	if err != nil {
		t.Fatal(err)
	}
	var position events.Position
	var salt string
	if _, err := pgx.ForEachRow(found, []any{&position, &salt}, func() error { salts[position] = salt; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, selected := range []events.Selection{
		{}, {After: 5}, {After: 7, Until: 1500}, {After: 5000}, {Actor: events.Actor{UserID: 1}}, {Kind: events.Patient, After: 3},
		{Query: events.Query{{Types: []events.Type{"patient.amended"}, Tags: []events.Tag{"owner:7"}}}}, {Query: events.Query{{Tags: []events.Tag{"none:1"}}}},
	} {
		var want, got []string
		for e, err := range store.Stream(t.Context(), selected) {
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, fmt.Sprintf("%d %v %s %s %s %s %v", e.Position, e.ID, e.Type, e.Data, e.Metadata, salts[e.Position], e.RecordedAt.UTC())+fmt.Sprint(e.Tags, e.SchemaVersion))
		}
		for r, err := range store.Rows(t.Context(), selected) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%d %v %s %s %s %x %v", r.Position, r.ID, r.Type, r.Data, r.Metadata, r.Salt, r.RecordedAt)+fmt.Sprint(r.Tags, r.SchemaVersion))
		}
		if !slices.Equal(want, got) {
			t.Errorf("%+v: %d rows, and %d events", selected, len(got), len(want))
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, selected := range []events.Selection{{}, {Kind: events.Patient}} {
		for _, err := range store.Rows(cancelled, selected) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		}
	}
}
