package eventstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

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

// draws gives out the ids of one kind of record. A round trip for each would cost
// about as much as the append, so all who wait share one: who finds none under
// way makes it, for itself and the others, and leaves the next to the first who
// has come meanwhile.
//
// While ids are needed in quick succession, as many as since the last round trip are
// drawn ahead. A process that is alone keeps them until they are needed: its ids
// have no gap. Where others draw, too, that is done only while several draw at a
// time, and they are given out within spareTime or never, so that ids keep to the
// order in which records are made, whichever process makes them.
type draws struct {
	sequence string
	alone    bool // no other process draws

	mu      sync.Mutex
	drawing bool    // a round trip is under way
	waiting []*draw // in the order of arrival
	spare   []int64 // drawn ahead
	drawn   time.Time
	given   int // ids since then
}

const (
	spareTime = 10 * time.Millisecond
	maxSpare  = 64
)

// draw is one call of NextID that waits.
type draw struct {
	id    int64
	err   error
	leads bool          // it is this one's turn to make the round trip
	wake  chan struct{} // holds a signal: done, or it leads
}

func newDraws(alone bool) map[events.Kind]*draws {
	all := map[events.Kind]*draws{}
	for kind, sequence := range sequences {
		all[kind] = &draws{sequence: sequence, alone: alone}
	}
	return all
}

// NextID draws the id of a new record: 1, 2, 3 and so on for each kind. An id
// that is drawn and not used is lost, as are those that were drawn ahead when the
// process ends, at most 64 of a kind. It fails with [events.ErrUnavailable].
func (s *Store) NextID(ctx context.Context, kind events.Kind) (int64, error) {
	d := s.draws[kind]
	if d == nil {
		return 0, fmt.Errorf("draw an id: %q is no kind of record", kind)
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	mine, drawn := d.join()
	if drawn {
		return mine.id, nil
	}
	select {
	case <-mine.wake:
	case <-ctx.Done():
		if d.leave(mine) {
			return 0, ctx.Err()
		}
		<-mine.wake
	}
	if mine.leads {
		s.drawFor(ctx, d, mine)
	}
	return mine.id, mine.err
}

// join gives one an id that was drawn ahead, else lets it wait, or lead.
func (d *draws) join() (mine *draw, drawn bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hasSpare() {
		return &draw{id: d.give()}, true
	}
	mine = &draw{wake: make(chan struct{}, 1)}
	if d.drawing {
		d.waiting = append(d.waiting, mine)
	} else {
		d.drawing = true
		mine.lead()
	}
	return mine, false
}

// hasSpare tells whether an id was drawn ahead that may still be given out.
func (d *draws) hasSpare() bool { return len(d.spare) > 0 && (d.alone || d.justDrawn()) }

// justDrawn tells whether the last round trip is not long ago.
func (d *draws) justDrawn() bool { return time.Since(d.drawn) < spareTime }

// give gives an id away that was drawn ahead.
func (d *draws) give() (id int64) {
	id, d.spare = d.spare[0], d.spare[1:]
	d.given++
	return id
}

// lead tells one that it is its turn.
func (one *draw) lead() {
	one.leads = true
	one.wake <- struct{}{}
}

// leave withdraws one who waits. It reports false for one whose id is on its way,
// or who leads.
func (d *draws) leave(mine *draw) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.Index(d.waiting, mine)
	if i < 0 {
		return false
	}
	d.waiting = slices.Delete(d.waiting, i, i+1)
	return true
}

// drawFor makes the round trip for this one and all who wait. It may go away, the
// others stay: the round trip has a time of its own.
func (s *Store) drawFor(ctx context.Context, d *draws, first *draw) {
	d.mu.Lock()
	group := append([]*draw{first}, d.waiting...)
	d.waiting = nil
	ahead := 0
	if (d.alone || d.given > 1) && d.justDrawn() {
		ahead = min(d.given, maxSpare)
	}
	d.mu.Unlock()

	var ids []int64
	err := errNotDrawn
	defer func() { d.finish(group, ids, err) }() // also when a panic is on its way
	ids, err = s.nextValues(context.WithoutCancel(ctx), d.sequence, len(group)+ahead)
}

var errNotDrawn = errors.New("the drawing of ids was given up")

// finish hands out what was drawn for a group, the first of whom has led it, and the
// rest to those who have come meanwhile; the first for whom nothing is left makes the
// next round trip.
func (d *draws) finish(group []*draw, ids []int64, err error) {
	for i, one := range group {
		if one.err = err; err == nil {
			one.id = ids[i]
		}
		if i > 0 {
			one.wake <- struct{}{}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spare, d.given, d.drawn = nil, len(group), time.Now()
	if err == nil {
		d.spare = ids[len(group):]
	}
	for len(d.spare) > 0 && len(d.waiting) > 0 {
		d.waiting[0].id = d.give()
		d.waiting[0].wake <- struct{}{}
		d.waiting = d.waiting[1:]
	}
	if len(d.waiting) == 0 {
		d.drawing = false
		return
	}
	next := d.waiting[0]
	d.waiting = d.waiting[1:]
	next.lead()
}

// forgetSpareIDs drops what was drawn ahead: the connection to the database was lost,
// and behind the new one may be an earlier state of it, whose sequences will give out
// the same ids once more.
func (s *Store) forgetSpareIDs() {
	for _, d := range s.draws {
		d.mu.Lock()
		d.spare = nil
		d.mu.Unlock()
	}
}

// nextValues draws n ids, within connectTimeout. It asks once more where the
// connection was lost, so that this does not fail everybody who shares it: ids
// that were drawn in vain are lost.
func (s *Store) nextValues(ctx context.Context, sequence string, n int) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	ids, err := s.askForValues(ctx, sequence, n)
	if lostMeanwhile(err) && ctx.Err() == nil {
		ids, err = s.askForValues(ctx, sequence, n)
	}
	if err != nil {
		return nil, fmt.Errorf("draw ids: %w", classify(err))
	}
	return ids, nil
}

func (s *Store) askForValues(ctx context.Context, sequence string, n int) ([]int64, error) {
	rows, err := s.config.Pool.Query(ctx, `select nextval($1::regclass) from generate_series(1, $2)`, sequence, n)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}
