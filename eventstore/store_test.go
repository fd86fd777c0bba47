package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/eventstore/pgtest"
)

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
			condition := events.AppendCondition{FailIfMatch: query, After: c.after}
			holds := events.AppendCondition{FailIfMatch: events.Query{{Tags: []events.Tag{"x:1"}}}, After: 2}
			for _, conditions := range [][]events.AppendCondition{{condition}, {holds, condition}, {condition, holds}} {
				if _, err := s.Append(t.Context(), []events.Event{event("z.done")}, conditions...); !errors.Is(err, c.want) {
					t.Fatalf("%v: %v, want %v", conditions, err, c.want)
				}
			}
		})
	}
}

func TestLoadAnswersMatchesAndHeadOfOneSnapshot(t *testing.T) {
	s := open(t, pgtest.New(t))
	found, head, err := s.Load(t.Context(), events.Query{{Tags: []events.Tag{"x:1"}}}, 0)
	if err != nil || len(found) != 0 || head != 0 {
		t.Fatalf("of an empty log: %v, %d, %v", found, head, err)
	}
	mustAppend(t, s, events.AppendCondition{}, event("a.done", "x:1"), event("b.done", "x:1", "y:1"), event("a.done", "y:1"), event("c.done"))
	for _, c := range []struct {
		query events.Query
		after events.Position
		want  string
	}{
		{events.Query{{Tags: []events.Tag{"x:1"}}}, 0, "[1 2]"},
		{events.Query{{Tags: []events.Tag{"x:1"}}}, 1, "[2]"},
		{events.Query{{Tags: []events.Tag{"x:1"}}}, 2, "[]"},
		{events.Query{{Tags: []events.Tag{"x:1", "y:1"}}}, 0, "[2]"},
		{events.Query{{Types: []events.Type{"a.done"}, Tags: []events.Tag{"x:1"}}, {Types: []events.Type{"a.done", "c.done"}}}, 0, "[1 3 4]"},
		{events.Query{{Types: []events.Type{"a.done"}, Tags: []events.Tag{"x:1"}}, {Types: []events.Type{"a.done", "c.done"}}}, 3, "[4]"},
		{events.Query{{Tags: []events.Tag{"none:1"}}}, 0, "[]"},
	} {
		found, head, err := s.Load(t.Context(), c.query, c.after)
		positions := []events.Position{}
		for _, e := range found {
			positions = append(positions, e.Position)
		}
		if fmt.Sprint(positions) != c.want || head != 4 || err != nil {
			t.Errorf("%v after %d: %v, head %d, %v; want %v", c.query, c.after, positions, head, err, c.want)
		}
	}
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
		if id < 1 || seen[id] {
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

// TestIDsOfASharedLog are without gaps for one after the other, and what was drawn
// ahead for many is not given out much later.
func TestIDsOfASharedLog(t *testing.T) {
	s := open(t, pgtest.New(t), func(c *eventstore.Config) { c.Shared = true })
	next := func(kind events.Kind, want int64) {
		t.Helper()
		if id, err := s.NextID(t.Context(), kind); id != want || err != nil {
			t.Fatalf("id %d, %v, want %d", id, err, want)
		}
	}
	for id := range int64(50) {
		next(events.Patient, id+1)
		next(events.Doctor, id+1)
	}
	last := int64(0)
	for last < 1000 || !s.HasSpareIDs(events.Patient) {
		ids := make(chan int64, 8)
		var group errgroup.Group
		for range cap(ids) {
			group.Go(func() error {
				id, err := s.NextID(t.Context(), events.Patient)
				ids <- id
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		for range cap(ids) {
			last = max(last, <-ids)
		}
	}
	s.AwaitOldIDs(events.Patient)
	if s.HasSpareIDs(events.Patient) {
		t.Fatal("what was drawn ahead is kept")
	}
	id, err := s.NextID(t.Context(), events.Patient)
	if err != nil || id <= last {
		t.Fatalf("id %d after %d, %v", id, last, err)
	}
	next(events.Patient, id+1)
	next(events.Patient, id+2)
}

// TestIDsOfALogOfOnesOwn are without gaps, whoever draws them and when.
func TestIDsOfALogOfOnesOwn(t *testing.T) {
	s := open(t, pgtest.New(t))
	ids := make(chan int64, 10_000)
	draw := func() error {
		id, err := s.NextID(t.Context(), events.Patient)
		ids <- id
		return err
	}
	drawUntilSpare := func() {
		t.Helper()
		for range 1000 {
			if err := draw(); err != nil {
				t.Fatal(err)
			}
			if s.HasSpareIDs(events.Patient) {
				return
			}
		}
		t.Error("none was drawn ahead for one after the other")
	}
	drawUntilSpare()
	var group errgroup.Group
	for range 8 {
		group.Go(func() error {
			for range 100 {
				if err := draw(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	drawUntilSpare()
	s.AwaitOldIDs(events.Patient) // who comes back later gets what is there
	drawUntilSpare()
	close(ids)
	drawn := map[int64]bool{}
	for id := range ids {
		drawn[id] = true
	}
	for id := range int64(len(drawn)) {
		if !drawn[id+1] {
			t.Fatalf("of %d ids %d is missing", len(drawn), id+1)
		}
	}
	if len(drawn) < 803 {
		t.Fatalf("%d ids are not as many as were drawn", len(drawn))
	}
}

// TestIDsDrawnAheadEndWithTheConnection: the database goes back to an earlier
// state, whose sequence gives out the same ids again.
func TestIDsDrawnAheadEndWithTheConnection(t *testing.T) {
	url := pgtest.New(t)
	s, other := open(t, url), connect(t, url)
	last := int64(0)
	draw := func() {
		t.Helper()
		id, err := s.NextID(t.Context(), events.Patient)
		if err != nil || id != last+1 {
			t.Fatalf("id %d after %d, %v", id, last, err)
		}
		last = id
	}
	appendOne := func() error {
		_, err := s.Append(t.Context(), []events.Event{event(events.PatientRegisteredType)})
		return err
	}
	if err := appendOne(); err != nil { // from now on there is a connection to lose
		t.Fatal(err)
	}
	for !s.HasSpareIDs(events.Patient) {
		draw()
	}
	execute(t, other, fmt.Sprintf("alter sequence patient_ids restart with %d", last+1))
	execute(t, other, "select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name like 'carelog appender%' and datname = current_database()")
	for err := appendOne(); err != nil; err = appendOne() {
		if !errors.Is(err, events.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	for range 200 {
		draw()
	}
}

// TestWhoDrawsNoMoreHoldsNobodyUp: of those who draw an id many go away.
func TestWhoDrawsNoMoreHoldsNobodyUp(t *testing.T) {
	s := open(t, pgtest.New(t))
	var group errgroup.Group
	for n := range 32 {
		group.Go(func() error {
			for i := range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				if n%2 == 1 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(i)*10*time.Microsecond)
				}
				_, err := s.NextID(ctx, events.Mapping)
				cancel()
				if err != nil && (n%2 == 0 || !errors.Is(err, context.DeadlineExceeded)) {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
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
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), []events.Event{event("a.done")}, events.AppendCondition{}); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("append: %v", err)
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
