package eventstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/eventstore/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open runs a store, as one process does, on the database until the test ends.
func open(t testing.TB, url string) *eventstore.Store {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	store, err := eventstore.Open(t.Context(), eventstore.Config{Pool: pool, Appender: config, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running errgroup.Group
	running.Go(func() error { return store.Run(ctx) })
	running.Go(func() error { return store.DrawIDs(ctx) })
	t.Cleanup(func() {
		stop()
		if err := running.Wait(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func event(t events.Type, tags ...events.Tag) events.Event {
	return events.Event{
		ID: uuid.Must(uuid.NewV7()), Type: t, SchemaVersion: 1, Tags: tags,
		Data: json.RawMessage(`{"b":1, "a":2}`), Metadata: json.RawMessage(`{"actor":{"user_id":1}}`),
	}
}

func mustAppend(t testing.TB, s *eventstore.Store, condition events.AppendCondition, evs ...events.Event) events.Position {
	t.Helper()
	position, err := s.Append(t.Context(), evs, condition)
	if err != nil {
		t.Fatal(err)
	}
	return position
}

func TestWhatIsAppendedIsReadBackByteForByte(t *testing.T) {
	s := open(t, pgtest.New(t))
	first, second := event("patient.registered", "patient:1", "owner:9"), event("patient.amended")
	second.SchemaVersion = 3
	if got := mustAppend(t, s, events.AppendCondition{}, first, second); got != 2 {
		t.Fatalf("last position %d, want 2", got)
	}
	read, err := s.Read(t.Context(), 0, 10)
	if err != nil || len(read) != 2 {
		t.Fatalf("%d events, %v", len(read), err)
	}
	for i, want := range []events.Event{first, second} {
		got := read[i]
		if got.Position != events.Position(i+1) || got.ID != want.ID || got.Type != want.Type || got.SchemaVersion != want.SchemaVersion ||
			string(got.Data) != string(want.Data) || string(got.Metadata) != string(want.Metadata) || fmt.Sprint(got.Tags) != fmt.Sprint(want.Tags) {
			t.Errorf("event %d is %+v, want %+v", i, got, want)
		}
		if age := time.Since(got.RecordedAt); age < -time.Minute || age > time.Minute {
			t.Errorf("recorded at %v", got.RecordedAt)
		}
	}
}

func TestAppendConditions(t *testing.T) {
	s := open(t, pgtest.New(t))
	mustAppend(t, s, events.AppendCondition{}, event("a.done", "x:1", "y:1"), event("b.done", "x:1"), event("a.done", "x:2"))
	for _, c := range []struct {
		name  string
		item  events.QueryItem
		after events.Position
		want  error
	}{
		{"type and tag", events.QueryItem{Types: []events.Type{"a.done"}, Tags: []events.Tag{"x:1"}}, 0, events.ErrConflict},
		{"type and tag, seen", events.QueryItem{Types: []events.Type{"a.done"}, Tags: []events.Tag{"x:1"}}, 1, nil},
		{"one of two types", events.QueryItem{Types: []events.Type{"c.done", "b.done"}, Tags: []events.Tag{"x:1"}}, 1, events.ErrConflict},
		{"other type", events.QueryItem{Types: []events.Type{"b.done"}, Tags: []events.Tag{"x:2"}}, 0, nil},
		{"both tags", events.QueryItem{Types: []events.Type{"a.done"}, Tags: []events.Tag{"x:1", "y:1"}}, 0, events.ErrConflict},
		{"both tags on one event", events.QueryItem{Tags: []events.Tag{"x:2", "y:1"}}, 0, nil},
		{"tag of any type", events.QueryItem{Tags: []events.Tag{"x:1"}}, 1, events.ErrConflict},
		{"tag of any type, seen", events.QueryItem{Tags: []events.Tag{"x:1"}}, 2, nil},
		{"type of any tag", events.QueryItem{Types: []events.Type{"a.done"}}, 2, events.ErrConflict},
		{"type of any tag, seen", events.QueryItem{Types: []events.Type{"b.done"}}, 2, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			query := events.Query{{Tags: []events.Tag{"none:1"}}, c.item}
			_, err := s.Append(t.Context(), []events.Event{event("z.done")}, events.AppendCondition{FailIfMatch: query, After: c.after})
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestLoadAnswersMatchesAndHeadOfOneSnapshot(t *testing.T) {
	s := open(t, pgtest.New(t))
	found, head, err := s.Load(t.Context(), events.Query{{Tags: []events.Tag{"x:1"}}})
	if err != nil || len(found) != 0 || head != 0 {
		t.Fatalf("of an empty log: %v, %d, %v", found, head, err)
	}
	mustAppend(t, s, events.AppendCondition{}, event("a.done", "x:1"), event("b.done", "x:1", "y:1"), event("a.done", "y:1"), event("c.done"))
	for _, c := range []struct {
		query events.Query
		want  string
	}{
		{events.Query{{Tags: []events.Tag{"x:1"}}}, "[1 2]"},
		{events.Query{{Tags: []events.Tag{"x:1", "y:1"}}}, "[2]"},
		{events.Query{{Types: []events.Type{"a.done"}, Tags: []events.Tag{"x:1"}}, {Types: []events.Type{"a.done", "c.done"}}}, "[1 3 4]"},
		{events.Query{{Tags: []events.Tag{"none:1"}}}, "[]"},
	} {
		found, head, err := s.Load(t.Context(), c.query)
		positions := []events.Position{}
		for _, e := range found {
			positions = append(positions, e.Position)
		}
		if fmt.Sprint(positions) != c.want || head != 4 || err != nil {
			t.Errorf("%v: %v, head %d, %v; want %v", c.query, positions, head, err, c.want)
		}
	}
}

func TestWritersOnSeveralPoolsKeepPositionsGapless(t *testing.T) {
	url := pgtest.New(t)
	stores := []*eventstore.Store{open(t, url), open(t, url), open(t, url)}
	const writers, each = 12, 40
	var group errgroup.Group
	for w := range writers {
		group.Go(func() error {
			for range each {
				before, err := stores[w%3].Head(t.Context())
				if err != nil {
					return err
				}
				position, err := stores[w%3].Append(t.Context(), []events.Event{event("a.done", "x:1"), event("b.done", "x:1")}, events.AppendCondition{})
				if err != nil {
					return err
				}
				if position <= before {
					return fmt.Errorf("appended at %d, though the log had %d before", position, before)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	var next events.Position = 1
	var last time.Time
	for e, err := range stores[0].Stream(t.Context(), nil, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Position != next || e.RecordedAt.Before(last) {
			t.Fatalf("position %d recorded at %v follows %d at %v", e.Position, e.RecordedAt, next-1, last)
		}
		next, last = next+1, e.RecordedAt
	}
	if next != writers*each*2+1 {
		t.Fatalf("%d events", next-1)
	}
}

func TestOneOfManyRacersWins(t *testing.T) {
	url := pgtest.New(t)
	stores := []*eventstore.Store{open(t, url), open(t, url)}
	const rounds, racers = 15, 16
	for round := range rounds {
		tag := events.Tag(fmt.Sprintf("email:%d", round))
		condition := events.AppendCondition{FailIfMatch: events.Query{{Types: []events.Type{"a.taken"}, Tags: []events.Tag{tag}}}}
		wins := make(chan events.Position, racers)
		var group errgroup.Group
		for i := range racers {
			group.Go(func() error {
				position, err := stores[i%2].Append(t.Context(), []events.Event{event("a.taken", tag)}, condition)
				if err == nil {
					wins <- position
				} else if !errors.Is(err, events.ErrConflict) {
					return err
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		if len(wins) != 1 {
			t.Fatalf("%d of %d racers took %s", len(wins), racers, tag)
		}
	}
	if head, err := stores[0].Head(t.Context()); err != nil || head != rounds {
		t.Fatalf("%d events, %v", head, err)
	}
}

func TestAFailingMemberOfAGroupFailsAlone(t *testing.T) {
	s := open(t, pgtest.New(t))
	taken := event("a.done", "x:1")
	mustAppend(t, s, events.AppendCondition{}, taken)
	const good = 20
	var group errgroup.Group
	for range good {
		group.Go(func() error {
			_, err := s.Append(t.Context(), []events.Event{event("a.done")}, events.AppendCondition{})
			return err
		})
	}
	for _, bad := range []events.Event{taken, {ID: uuid.New(), Type: "a.done", SchemaVersion: 1, Data: json.RawMessage("{"), Metadata: json.RawMessage("{}")}} {
		group.Go(func() error {
			_, err := s.Append(t.Context(), []events.Event{bad}, events.AppendCondition{})
			if err == nil || errors.Is(err, events.ErrUnavailable) {
				return fmt.Errorf("a bad event was answered with %v", err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if head, err := s.Head(t.Context()); err != nil || head != good+1 {
		t.Fatalf("%d events, %v", head, err)
	}
}

func TestWhatCannotBeAppendedIsRefusedAtOnce(t *testing.T) {
	s := open(t, pgtest.New(t))
	noType, twice, control := event(""), event("a.done", "x:1", "x:1"), event("a.done", "x:\x1f1")
	for name, evs := range map[string][]events.Event{"nothing": nil, "no type": {noType}, "a tag twice": {twice}, "control character": {control}} {
		if _, err := s.Append(t.Context(), evs, events.AppendCondition{}); err == nil {
			t.Errorf("%s was appended", name)
		}
	}
	if head, _ := s.Head(t.Context()); head != 0 {
		t.Errorf("%d events", head)
	}
}

func TestACancelledCallerHarmsNobody(t *testing.T) {
	s := open(t, pgtest.New(t))
	var group errgroup.Group
	for i := range 60 {
		group.Go(func() error {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%3 == 0 {
				cancel()
			}
			_, err := s.Append(ctx, []events.Event{event("a.done")}, events.AppendCondition{})
			if i%3 != 0 && err != nil {
				return err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	head, err := s.Head(t.Context())
	if err != nil || head < 40 || head > 60 {
		t.Fatalf("%d events, %v", head, err)
	}
}

// The appender's session is killed again and again under load. Whoever is told
// that the events are stored finds them once; whoever is told that they are not
// does not find them.
func TestNoAnswerIsWrongWhenConnectionsAreLost(t *testing.T) {
	url := pgtest.New(t)
	s := open(t, url)
	killer, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer killer.Close(context.Background())
	ctx, stop := context.WithCancel(t.Context())
	var killing errgroup.Group
	kills := 0
	killing.Go(func() error {
		for ctx.Err() == nil && kills < 40 {
			if err := killer.QueryRow(context.Background(), `select $1 + count(pg_terminate_backend(pid)) from pg_stat_activity
				where application_name like 'carelog appender %' and datname = current_database() and state = 'active'`, kills).Scan(&kills); err != nil {
				return err
			}
		}
		return nil
	})
	type outcome struct {
		id  uuid.UUID
		err error
	}
	outcomes := make(chan outcome, 16*100)
	var writing errgroup.Group
	for range 16 {
		writing.Go(func() error {
			for range 100 {
				e := event("a.done", "x:1")
				_, err := s.Append(t.Context(), []events.Event{e}, events.AppendCondition{})
				outcomes <- outcome{e.ID, err}
			}
			return nil
		})
	}
	_ = writing.Wait()
	stop()
	if err := killing.Wait(); err != nil {
		t.Fatal(err)
	}
	close(outcomes)
	stored := map[uuid.UUID]bool{}
	var next events.Position = 1
	for e, err := range s.Stream(t.Context(), nil, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Position != next {
			t.Fatalf("position %d where %d was expected", e.Position, next)
		}
		stored[e.ID] = true
		next++
	}
	failed := 0
	for o := range outcomes {
		switch {
		case o.err == nil && !stored[o.id]:
			t.Errorf("event %s was answered as stored and is not", o.id)
		case errors.Is(o.err, events.ErrOutcomeUnknown):
			t.Errorf("event %s: %v", o.id, o.err)
		case o.err != nil && stored[o.id]:
			t.Errorf("event %s was answered with %v and is stored", o.id, o.err)
		case o.err != nil && !errors.Is(o.err, events.ErrUnavailable):
			t.Errorf("event %s: %v is no ErrUnavailable", o.id, o.err)
		}
		if o.err != nil {
			failed++
		}
	}
	if kills == 0 {
		t.Error("no session was killed")
	}
	t.Logf("%d sessions killed, %d appends refused", kills, failed)
}

func TestAppendingToAFreshLogDoesNotCrawl(t *testing.T) {
	s := open(t, pgtest.New(t))
	started := time.Now()
	var group errgroup.Group
	const writers, each = 64, 320
	for w := range writers {
		group.Go(func() error {
			for i := range each {
				tag := events.PatientTag(int64(w*each + i))
				condition := events.AppendCondition{FailIfMatch: events.Query{{Types: []events.Type{"a.done"}, Tags: []events.Tag{tag}}}}
				if _, err := s.Append(t.Context(), []events.Event{event("a.done", tag, "owner:1")}, condition); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	// With the trap, each append scans all tags and this takes over a minute.
	took := time.Since(started)
	t.Logf("%d appends, %.0f a second", writers*each, writers*each/took.Seconds())
	if took > 30*time.Second {
		t.Fatalf("%d appends took %v", writers*each, took)
	}
}

func TestIDsAreDrawnTogetherAndOnce(t *testing.T) {
	url := pgtest.New(t)
	stores := []*eventstore.Store{open(t, url), open(t, url)}
	ids := make(chan int64, 400)
	var group errgroup.Group
	for i := range 40 {
		group.Go(func() error {
			for range 10 {
				id, err := stores[i%2].NextID(t.Context(), events.Patient)
				if err != nil {
					return err
				}
				ids <- id
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	close(ids)
	seen := map[int64]bool{}
	for id := range ids {
		if id < 1 || id > 400 || seen[id] {
			t.Fatalf("id %d", id)
		}
		seen[id] = true
	}
	if id, err := stores[0].NextID(t.Context(), events.Doctor); id != 1 || err != nil {
		t.Fatalf("the first doctor's id is %d, %v", id, err)
	}
	if _, err := stores[0].NextID(t.Context(), "nurse"); err == nil {
		t.Fatal("an id of an unknown kind was drawn")
	}
}

func TestAStoreThatStoppedRefuses(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), pgtest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	s, err := eventstore.Open(t.Context(), eventstore.Config{Pool: pool, Appender: pool.Config().ConnConfig, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := errors.Join(s.Run(ctx), s.DrawIDs(ctx)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), []events.Event{event("a.done")}, events.AppendCondition{}); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("append: %v", err)
	}
	if _, err := s.NextID(t.Context(), events.User); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("next id: %v", err)
	}
}

func TestTheLogKeepsItsIdentity(t *testing.T) {
	url := pgtest.New(t)
	first, second := open(t, url), open(t, url)
	if first.LogID() != second.LogID() || string(first.TagKey()) != string(second.TagKey()) || len(first.TagKey()) != 32 {
		t.Error("two processes see two logs in one database")
	}
	if other := open(t, pgtest.New(t)); other.LogID() == first.LogID() || string(other.TagKey()) == string(first.TagKey()) {
		t.Error("two databases hold one log")
	}
}
