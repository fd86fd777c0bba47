package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/eventstore/pgtest"
)

// workload is what the suite does to a log: writers on several stores, as in
// several processes, append with and without conditions that others try to
// break, while followers read.
type workload struct {
	open    opener
	stores  int
	writers int
	appends int  // of each writer
	kill    bool // sessions of appenders, at random moments
	big     int  // events of an append beside the others, if any
}

// run does the work on the database and tells what is wrong with the outcome.
func (w workload) run(t testing.TB, url string) (h *history, violations []string) {
	t.Helper()
	seed := seed(t)
	h = &history{faults: w.kill}
	stores := make([]*eventstore.Store, w.stores)
	for i := range stores {
		stores[i] = w.open(t, url)
	}

	ended := make(chan struct{})
	var beside errgroup.Group
	var seen [2][]events.Recorded
	for i := range seen {
		beside.Go(func() (err error) {
			seen[i], err = follow(t.Context(), stores[i%len(stores)], ended)
			return err
		})
	}
	if w.kill {
		killer := connect(t, url)
		beside.Go(func() error { return w.killSessions(t, killer, h, rand.New(rand.NewPCG(seed, 0)), ended) })
	}

	var writing sync.WaitGroup
	for i := range w.writers {
		writing.Go(func() {
			writer := writer{store: stores[i%len(stores)], history: h, random: rand.New(rand.NewPCG(seed, uint64(i+1)))}
			for range w.appends {
				writer.appendSomething(t.Context())
			}
		})
	}
	if w.big > 0 {
		writing.Go(func() {
			evs := make([]events.Event, w.big)
			for i := range evs {
				evs[i] = event("big.done", "big:1", events.Tag(fmt.Sprintf("part:%d", i)))
			}
			_, _ = h.append(t.Context(), stores[0], none(0, "big.done", "big:1"), evs...)
		})
	}
	writing.Wait()
	close(ended)
	if err := beside.Wait(); err != nil {
		t.Fatal(err)
	}

	log := readLog(t, stores[0])
	violations = h.violations(log)
	for _, seen := range seen {
		violations = append(violations, skipped(log, seen)...)
	}
	counts := map[string]int{}
	for _, a := range h.attempts {
		counts[kindOf(a.err)]++
	}
	t.Logf("%d events of %d appends: %v", len(log), len(h.attempts), counts)
	return h, violations
}

// killSessions ends sessions of appenders, also the one that holds the lock,
// each time some more appends were answered.
func (w workload) killSessions(t testing.TB, killer *pgx.Conn, h *history, random *rand.Rand, ended <-chan struct{}) error {
	const sessions = `select count(pg_terminate_backend(pid)) from (
		select a.pid from pg_stat_activity a left join pg_locks l on l.pid = a.pid and l.locktype = 'advisory'
		where a.datname = current_database() and a.application_name like 'carelog appender %' and `
	victims := []string{"true", "a.state = 'active'", "l.granted", "not l.granted"}
	kills := map[string]int{}
	defer func() { t.Logf("sessions killed: %v", kills) }()
	for next := int64(0); ; {
		select {
		case <-ended:
			return nil
		default:
		}
		if h.answered.Load() < next {
			if err := killer.Ping(t.Context()); err != nil { // a round trip
				return err
			}
			continue
		}
		victim := victims[random.IntN(len(victims))]
		var killed int
		if err := killer.QueryRow(t.Context(), sessions+victim+` limit 1) as victims`).Scan(&killed); err != nil {
			return err
		}
		if killed > 0 {
			kills[victim] += killed
			next = h.answered.Load() + random.Int64N(int64(3*w.writers))
		}
	}
}

// writer makes up appends.
type writer struct {
	store   *eventstore.Store
	history *history
	random  *rand.Rand
}

// appendSomething makes one append, or several until its condition holds. What
// is wrong with the answers the history will tell.
func (w writer) appendSomething(ctx context.Context) {
	switch w.random.IntN(8) {
	case 0: // without a condition
		evs := make([]events.Event, 1+w.random.IntN(4))
		for i := range evs {
			evs[i] = event("note.made", w.record())
		}
		_, _ = w.history.append(ctx, w.store, events.AppendCondition{}, evs...)
	case 1, 2: // only the first of all may take a name
		name := events.Tag(fmt.Sprintf("name:%d", w.random.IntN(200)))
		_, _ = w.history.append(ctx, w.store, none(0, "name.taken", name), event("name.taken", name, w.record()))
	case 3, 4, 5: // changes of one record follow each other
		w.change(ctx)
	case 6: // two tags on one event, or any event of a type, after what was there
		head, err := w.store.Head(ctx)
		if err != nil {
			return
		}
		first, second := w.record(), w.pair()
		query := events.Query{{Tags: []events.Tag{first, second}}, {Types: []events.Type{"rare.done"}}}
		done := event("record.changed", first, second)
		if w.random.IntN(10) == 0 {
			done = event("rare.done", first)
		}
		_, _ = w.history.append(ctx, w.store, events.AppendCondition{FailIfMatch: query, After: head}, done)
	case 7: // a caller that goes away
		ctx, cancel := context.WithCancel(ctx)
		go cancel()
		name := events.Tag(fmt.Sprintf("name:%d", w.random.IntN(200)))
		_, _ = w.history.append(ctx, w.store, none(0, "name.taken", name), event("name.taken", name), event("note.made", name))
	}
}

// change reads a record's history and appends on the condition that it is still
// all, as commands do.
func (w writer) change(ctx context.Context) {
	record := w.record()
	query := events.Query{{Types: []events.Type{"record.changed"}, Tags: []events.Tag{record}}}
	for range 5 {
		_, head, err := w.store.Load(ctx, query, 0)
		if err != nil {
			return
		}
		condition := events.AppendCondition{FailIfMatch: query, After: head}
		_, err = w.history.append(ctx, w.store, condition, event("record.changed", record, w.pair()))
		if !errors.Is(err, events.ErrConflict) {
			return
		}
	}
}

func (w writer) record() events.Tag { return events.Tag(fmt.Sprintf("record:%d", w.random.IntN(8))) }
func (w writer) pair() events.Tag   { return events.Tag(fmt.Sprintf("pair:%d", w.random.IntN(4))) }

func TestConditionsHoldInRaces(t *testing.T) {
	t.Parallel()
	h, violations := workload{open: open, stores: 3, writers: 32, appends: times(30)}.run(t, pgtest.New(t))
	report(t, violations)
	taken := map[events.Tag]int{}
	for _, a := range h.attempts {
		if a.err == nil && a.events[0].Type == "name.taken" {
			taken[a.events[0].Tags[0]]++
		}
	}
	for name, winners := range taken {
		if winners != 1 {
			t.Errorf("%d writers took %s", winners, name)
		}
	}
	if len(taken) == 0 {
		t.Error("nobody took a name")
	}
}

func TestFollowersMissNothingWhileSessionsAreKilled(t *testing.T) {
	t.Parallel()
	_, violations := workload{open: open, stores: 3, writers: 32, appends: times(40), kill: true}.run(t, pgtest.New(t))
	report(t, violations)
}

func TestABigAppendBesideSmallOnes(t *testing.T) {
	t.Parallel()
	h, violations := workload{open: open, stores: 2, writers: 16, appends: 20, big: 20_000}.run(t, pgtest.New(t))
	report(t, violations)
	if !slices.ContainsFunc(h.attempts, func(a attempt) bool { return a.err == nil && len(a.events) == 20_000 }) {
		t.Error("the big append is not there")
	}
}

// TestTheSuiteFindsOut is the negative control: each of these stores lacks
// something that the guarantees rest on.
func TestTheSuiteFindsOut(t *testing.T) {
	t.Parallel()
	for name, control := range map[string]struct {
		alter  func(*eventstore.Store)
		expect string // what is wrong then, among others
	}{
		"no lock":                        {(*eventstore.Store).DropLock, "23505"},
		"a sequence":                     {func(s *eventstore.Store) { s.NumberBySequence("control") }, "missed"},
		"lock and head in one statement": {(*eventstore.Store).MergeStatements, "23505"},
		"repeatable read":                {(*eventstore.Store).RaiseIsolation, "23505"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			work := workload{open: openAltered(control.alter), stores: 3, writers: 16, appends: 15}
			for round := range 20 {
				url := pgtest.New(t)
				execute(t, connect(t, url), `create sequence control`)
				_, violations := work.run(t, url)
				if slices.ContainsFunc(violations, func(v string) bool { return strings.Contains(v, control.expect) }) {
					t.Logf("found out in round %d, by %d violations, for instance: %s", round+1, len(violations), violations[0])
					return
				}
			}
			t.Error("nothing was found to be wrong")
		})
	}
}
