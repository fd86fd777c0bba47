package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
)

// Readers poll, with statements that were prepared before, while writers write
// and all tables are rebuilt again and again. What was answered is in every read,
// and no read ever goes back.
func TestReadsAndWritesGoOnDuringARebuild(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	// A reader whose snapshot were older than the switch would find the new tables empty.
	d.exec(`do $$ begin execute format('alter database %I set default_transaction_isolation = %L', current_database(), 'repeatable read'); end $$`)
	var runner atomic.Pointer[Runner]
	store, err := eventstore.Open(t.Context(), eventstore.Config{
		Pool: d.pool, Appender: d.config.Conn, Logger: slog.New(slog.DiscardHandler),
		OnAppend: func(head events.Position) { runner.Load().Announce(head) },
	})
	if err != nil {
		t.Fatal(err)
	}
	p := d.process(func(c *Config) {
		c.Log, c.LogID, c.Silence, c.Wait = store, store.LogID(), time.Millisecond, 20*time.Second
	})
	d.config.Log, d.config.LogID = store, store.LogID()
	runner.Store(p.runner)
	background(t, store.Run)
	background(t, p.runner.Run)
	registry := events.NewRegistry()
	write := func(payloads ...events.Payload) error {
		var evs []events.Event
		for _, payload := range payloads {
			eventType, version, data, err := registry.Encode(payload)
			if err != nil {
				return err
			}
			evs = append(evs, events.Event{
				ID: uuid.New(), Type: eventType, SchemaVersion: version, Tags: []events.Tag{events.OwnerTag(1)}, Data: data, Metadata: []byte("{}"),
			})
		}
		position, err := store.Append(context.Background(), evs, events.AppendCondition{})
		if err != nil {
			return err
		}
		return p.progress.Wait(context.Background(), position)
	}
	if err := write(registerUser(1), registerDoctor(1, "a@x")); err != nil {
		t.Fatal(err)
	}

	var id, answered atomic.Int64
	working, stop := context.WithCancel(t.Context())
	defer stop()
	var work errgroup.Group
	q := NewQueries(d.pool)
	for range 8 {
		work.Go(func() error {
			for working.Err() == nil {
				n := id.Add(1)
				if err := write(registerPatient(n, 1), createMapping(n, n, 1, 1)); err != nil {
					return err
				}
				answered.Add(1)
				if _, err := q.Patient(context.Background(), as(1), n); err != nil {
					return fmt.Errorf("patient %d, just written: %w", n, err)
				}
			}
			return nil
		})
		work.Go(func() error {
			for seen := 0; working.Err() == nil; {
				least := max(seen, int(answered.Load()))
				patients, err := q.Patients(context.Background(), as(1))
				if err != nil || len(patients) < least {
					return fmt.Errorf("%d patients where %d had been, %v", len(patients), least, err)
				}
				mappings, err := q.Mappings(context.Background(), as(1))
				if err != nil || len(mappings) < len(patients) {
					return fmt.Errorf("%d mappings of %d patients, %v", len(mappings), len(patients), err)
				}
				seen = len(mappings)
			}
			return nil
		})
	}
	eventually(t, "there are patients", func() bool { return answered.Load() > 20 })
	rebuilds, waits := 0, 0
	for begin := time.Now(); time.Since(begin) < 2*time.Second || rebuilds < 6; rebuilds++ {
		names := [][]string{{"users", "mappings", "patients", "doctors"}, {"patients"}, {"users", "mappings"}}[rebuilds%3]
		err := d.rebuild(func(s Step) {
			if s.Stage == Waiting {
				waits++
			}
		}, named(t, names...))
		if err != nil {
			t.Fatal(err)
		}
	}
	differences := 0
	for range 2 {
		if _, err := Verify(t.Context(), d.config, nil, func(Difference) { differences++ }); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := work.Wait(); err != nil {
		t.Error(err)
	}
	if got := query[int64](d, "select count(*) from patients"); got != answered.Load() || differences != 0 {
		t.Errorf("%d patients, %d answered, %d differences found meanwhile", got, answered.Load(), differences)
	}
	t.Logf("%d rebuilds, with %d tries more to switch, while %d patients were written", rebuilds, waits, answered.Load())
}

// The control of what [Configure] sets: to a snapshot from before the rebuild the
// new tables are empty.
func TestAnOlderSnapshotDoesNotSeeTheNewTables(t *testing.T) {
	t.Parallel()
	d := filled(t)
	reader, err := d.pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Rollback(context.Background())
	count := func(table string) (rows int) {
		t.Helper()
		if err := reader.QueryRow(t.Context(), "select count(*) from "+table).Scan(&rows); err != nil {
			t.Fatal(err)
		}
		return rows
	}
	if count("users") == 0 { // and takes the snapshot
		t.Error("there are no users")
	}
	if err := d.rebuild(nil, named(t, "patients")); err != nil {
		t.Fatal(err)
	}
	if rows := count("patients"); rows != 0 {
		t.Errorf("%d patients", rows)
	}
}

// While a reader holds a table the switch is tried again, and never keeps others
// waiting for long.
func TestTheSwitchWaitsForReaders(t *testing.T) {
	t.Parallel()
	d := filled(t)
	reader, err := d.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Exec(t.Context(), "select from doctors"); err != nil {
		t.Fatal(err)
	}
	waits := 0
	err = d.rebuild(func(s Step) {
		if s.Stage != Waiting {
			return
		}
		readOnce(t, NewQueries(d.pool)) // others are not held up
		if waits++; waits == 3 {
			if err := reader.Rollback(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil || waits < 3 {
		t.Errorf("%v, after %d tries", err, waits)
	}
}

func TestOneRebuildAtATime(t *testing.T) {
	t.Parallel()
	d := filled(t)
	begun, leave := make(chan struct{}), make(chan struct{})
	ended := make(chan error)
	go func() {
		first := true
		ended <- d.rebuild(func(Step) {
			if first {
				first = false
				close(begun)
				<-leave
			}
		})
	}()
	within(t, "the first begins", begun)
	var others errgroup.Group
	others.Go(func() error {
		if err := d.rebuild(nil); !errors.Is(err, ErrBusy) {
			return fmt.Errorf("a second rebuild: %w", err)
		}
		return nil
	})
	others.Go(func() error {
		if _, err := Verify(t.Context(), d.config, nil, nil); !errors.Is(err, ErrBusy) {
			return fmt.Errorf("a verification: %w", err)
		}
		return nil
	})
	if err := others.Wait(); err != nil {
		t.Error(err)
	}
	close(leave)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
