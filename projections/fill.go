package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/events"
)

// fillBatch is how many events a shadow applies at a time. Three batches are in
// memory at most: one being applied, one waiting, one being read.
const fillBatch = 5000

// portion is a batch on its way into the tables.
type portion struct {
	recorded []events.Recorded
	decoded  []Applied
}

func (p portion) last() events.Position { return p.recorded[len(p.recorded)-1].Position }

// fill applies events until the tables of each projection contain its position,
// in batches with a transaction each, or within the one that is open. It reads
// and decodes while it applies.
func (s *shadow) fill(ctx context.Context, to []events.Position) error {
	first, last := slices.Min(s.positions), slices.Max(to)
	if first >= last {
		return nil
	}
	s.report(Step{Stage: Filling, Position: first, Target: last})
	portions := make(chan portion, 1)
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error {
		defer close(portions)
		for after := first; after < last; {
			p, err := s.read(ctx, after, last)
			if err != nil {
				return err
			}
			select {
			case portions <- p:
			case <-ctx.Done():
				return ctx.Err()
			}
			after = p.last()
		}
		return nil
	})
	work.Go(func() error {
		for p := range portions {
			if err := s.apply(ctx, p, to); err != nil {
				return err
			}
			s.report(Step{Stage: Filling, Position: p.last(), Target: last})
		}
		return nil
	})
	if err := work.Wait(); err != nil {
		return err
	}
	for i := range to {
		s.positions[i] = max(s.positions[i], to[i])
	}
	return nil
}

// read answers the next portion of the log.
func (s *shadow) read(ctx context.Context, after, last events.Position) (portion, error) {
	recorded, err := s.config.Log.Read(ctx, after, int(min(last-after, fillBatch)))
	if err != nil {
		return portion{}, err
	}
	if len(recorded) == 0 {
		return portion{}, ErrAhead
	}
	decoded, bad := decode(s.config.Registry, recorded)
	if bad != nil {
		at := recorded[len(decoded)]
		return portion{}, &StoppedError{Position: at.Position, Type: at.Type, Err: reason(bad)}
	}
	return portion{recorded, decoded}, nil
}

// apply commits a portion. When one of its events is at fault it finds out which,
// unless the transaction is spoilt by it.
func (s *shadow) apply(ctx context.Context, p portion, to []events.Position) error {
	err := s.commit(ctx, p.decoded, to)
	var fault *faultError
	if !errors.As(err, &fault) {
		return err
	}
	for i, e := range p.recorded {
		if s.conn.PgConn().TxStatus() != 'I' {
			break
		}
		if one := s.commit(ctx, p.decoded[i:i+1], to); errors.As(one, &fault) {
			return &StoppedError{Position: e.Position, Type: e.Type, Err: reason(one)}
		}
	}
	return fmt.Errorf("apply the events from position %d to %d: %w", p.recorded[0].Position, p.last(), reason(err))
}

// commit applies to each projection what it does not contain yet, up to its
// position.
func (s *shadow) commit(ctx context.Context, evs []Applied, to []events.Position) error {
	var batch pgx.Batch
	first, end := evs[0].Position, evs[len(evs)-1].Position+1
	for i, p := range s.config.Projections {
		from := min(max(s.positions[i]+1, first), end)
		until := min(max(to[i]+1, from), end)
		err := guard("projection "+p.Name(), func() error { return p.Apply(&batch, evs[from-first:until-first]) })
		if err != nil {
			return &faultError{err}
		}
	}
	if batch.Len() == 0 {
		return nil
	}
	if err := s.conn.SendBatch(ctx, &batch).Close(); err != nil {
		return failedApply(s.conn, err)
	}
	return nil
}
