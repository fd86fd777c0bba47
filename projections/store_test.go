package projections

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
)

// The runner over the real log, without a bus: what is appended can be read as
// soon as it was waited for.
func TestWhatIsAppendedIsReadAfterTheWait(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	var runner atomic.Pointer[Runner]
	store, err := eventstore.Open(t.Context(), eventstore.Config{
		Pool: d.pool, Appender: d.config.Conn, Logger: slog.New(slog.DiscardHandler),
		OnAppend: func(head events.Position) { runner.Load().Announce(head) },
	})
	if err != nil {
		t.Fatal(err)
	}
	p := d.process(func(c *Config) {
		c.Log, c.LogID, c.Silence, c.Wait = store, store.LogID(), 5*time.Millisecond, 10*time.Second
	})
	runner.Store(p.runner)
	background(t, store.Run)
	background(t, p.runner.Run)
	q := NewQueries(d.pool)
	registry := events.NewRegistry()
	for i, payload := range patientsOfUser1(20) {
		eventType, version, data, err := registry.Encode(payload)
		if err != nil {
			t.Fatal(err)
		}
		position, err := store.Append(t.Context(), []events.Event{{
			ID: uuid.New(), Type: eventType, SchemaVersion: version, Tags: []events.Tag{events.OwnerTag(1)}, Data: data, Metadata: []byte("{}"),
		}}, events.AppendCondition{})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.progress.Wait(t.Context(), position); err != nil {
			t.Fatal(err)
		}
		if patients, err := q.Patients(t.Context(), as(1)); err != nil || len(patients) != i {
			t.Fatalf("after event %d: %d patients, %v", i+1, len(patients), err)
		}
	}

	// Another log's tables are refused, as after a restore.
	d.exec("update log set id = gen_random_uuid()")
	restored, err := eventstore.Open(t.Context(), eventstore.Config{Pool: d.pool, Appender: d.config.Conn, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	other := d.process(func(c *Config) { c.Log, c.LogID = restored, restored.LogID() })
	if err := other.runner.Run(context.Background()); !errors.Is(err, ErrOtherLog) {
		t.Errorf("got %v, want ErrOtherLog", err)
	}
}
