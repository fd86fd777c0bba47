package eventstore_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/eventstore/pgtest"
)

// TestLook: it answers what Open does, and makes no log where there is none.
func TestLook(t *testing.T) {
	url := pgtest.New(t)
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for range 2 {
		if _, err := eventstore.Look(t.Context(), pool); !errors.Is(err, eventstore.ErrNoLog) {
			t.Fatalf("without a log: %v", err)
		}
	}
	s := open(t, url)
	if _, err := s.Append(t.Context(), []events.Event{event("patient.amended", "patient:1")}); err != nil {
		t.Fatal(err)
	}
	looked, err := eventstore.Look(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	if head, err := looked.Head(t.Context()); head != 1 || err != nil || looked.LogID() != s.LogID() {
		t.Errorf("log %s, head %d, %v; the log is %s", looked.LogID(), head, err, s.LogID())
	}
}
