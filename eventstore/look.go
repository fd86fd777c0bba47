package eventstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrNoLog: the database has no log yet.
var ErrNoLog = errors.New("there is no log in this database")

// Look is [Open] for who only reads, and must not change anything: it fails with
// [ErrNoLog] where that would make a new log. The store answers what is read.
func Look(ctx context.Context, pool *pgxpool.Pool) (*Store, error) {
	s := &Store{config: Config{Pool: pool}}
	err := pool.QueryRow(ctx, `select id, tag_key from log`).Scan(&s.logID, (*[]byte)(&s.tagKey))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, ErrNoLog
	case err != nil:
		return nil, fmt.Errorf("read the log's identity: %w", classify(err))
	}
	return s, nil
}
