package eventstore

import (
	"context"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// sequences are where ids come from.
var sequences = map[events.Kind]string{
	events.User:    "user_ids",
	events.Patient: "patient_ids",
	events.Doctor:  "doctor_ids",
	events.Mapping: "mapping_ids",
}

// draws collects the callers of NextID, so that all who wait share one round
// trip: a round trip for each would cost about as much as the append.
type draws struct {
	mu      *sync.Mutex
	waiting map[events.Kind][]chan drawn
	closed  bool
	wake    chan struct{}
}

type drawn struct {
	id  int64
	err error
}

func newDraws() draws {
	return draws{mu: new(sync.Mutex), waiting: map[events.Kind][]chan drawn{}, wake: make(chan struct{}, 1)}
}

// NextID draws the id of a new record: 1, 2, 3 and so on for each kind. An id
// that is drawn and not used is lost. It fails with [events.ErrUnavailable].
func (s *Store) NextID(ctx context.Context, kind events.Kind) (int64, error) {
	if _, known := sequences[kind]; !known {
		return 0, fmt.Errorf("draw an id: %q is no kind of record", kind)
	}
	mine := make(chan drawn, 1)
	s.draws.mu.Lock()
	if s.draws.closed {
		s.draws.mu.Unlock()
		return 0, errStopped
	}
	s.draws.waiting[kind] = append(s.draws.waiting[kind], mine)
	s.draws.mu.Unlock()
	select {
	case s.draws.wake <- struct{}{}:
	default:
	}
	select {
	case d := <-mine:
		return d.id, d.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// take removes and returns everybody who waits.
func (d *draws) take() map[events.Kind][]chan drawn {
	d.mu.Lock()
	defer d.mu.Unlock()
	waiting := d.waiting
	d.waiting = map[events.Kind][]chan drawn{}
	return waiting
}

// close refuses everybody who waits and who comes later.
func (d *draws) close(err error) {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	for _, waiters := range d.take() {
		for _, w := range waiters {
			w <- drawn{err: err}
		}
	}
}

func (s *Store) serveDraws(ctx context.Context) {
	for kind, waiters := range s.draws.take() {
		ids, err := s.draw(ctx, kind, len(waiters))
		for i, w := range waiters {
			if err != nil {
				w <- drawn{err: err}
				continue
			}
			w <- drawn{id: ids[i]}
		}
	}
}

func (s *Store) draw(ctx context.Context, kind events.Kind, n int) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	rows, err := s.config.Pool.Query(ctx, `select nextval($1::regclass) from generate_series(1, $2)`, sequences[kind], n)
	if err != nil {
		return nil, fmt.Errorf("draw ids: %w", classify(err))
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("draw ids: %w", classify(err))
	}
	return ids, nil
}
