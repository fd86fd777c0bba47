package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// database is one of the PostgreSQL server's, made for one of the two servers.
type database struct {
	url  string
	conn *pgx.Conn // ours
}

// createDatabase makes a database on the server that this URL leads to.
func createDatabase(ctx context.Context, server *pgx.Conn, serverURL, name string) (*database, error) {
	parsed, err := url.Parse(serverURL)
	if err != nil {
		return nil, err
	}
	if _, err := server.Exec(ctx, "create database "+pgx.Identifier{name}.Sanitize()); err != nil {
		return nil, err
	}
	parsed.Path = "/" + name
	conn, err := pgx.Connect(ctx, parsed.String())
	if err != nil {
		return nil, err
	}
	return &database{url: parsed.String(), conn: conn}, nil
}

func dropDatabase(ctx context.Context, server *pgx.Conn, name string) error {
	_, err := server.Exec(ctx, "drop database if exists "+pgx.Identifier{name}.Sanitize()+" with (force)")
	return err
}

// tidy does what PostgreSQL would do later, in somebody else's turn: vacuums and
// analyses what a run has written.
//
// There is no checkpoint after each run. The first change of a page after a
// checkpoint writes the whole page to the WAL, so with one every few seconds,
// where PostgreSQL makes one every five minutes, a run would measure little else:
// Carelog, whose indexes have more pages, was a tenth slower. PostgreSQL makes
// its own, slowly, and both servers bear them.
func (d *database) tidy(ctx context.Context) error {
	if _, err := d.conn.Exec(ctx, "vacuum analyze"); err != nil {
		return fmt.Errorf("vacuum: %w", err)
	}
	for range 1000 { // not for ever: it may be somebody else's
		var vacuums int
		err := d.conn.QueryRow(ctx, "select count(*) from pg_stat_activity where backend_type = 'autovacuum worker'").Scan(&vacuums)
		if err != nil || vacuums == 0 {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// postmaster is the process that all of PostgreSQL's belong to, 0 when it is on
// another machine or the system does not tell.
func (d *database) postmaster(ctx context.Context) int {
	var backend int
	if err := d.conn.QueryRow(ctx, "select pg_backend_pid()").Scan(&backend); err != nil {
		return 0
	}
	stat, err := readStat(backend)
	if err != nil {
		return 0
	}
	parent, err := readStat(stat.parent)
	if err != nil || parent.name != stat.name {
		return 0
	}
	return stat.parent
}

// commitTime is the median of what one commit takes, the disk's part in every
// write.
func (d *database) commitTime(ctx context.Context) (time.Duration, error) {
	var times []time.Duration
	for range 101 {
		begin := time.Now()
		if _, err := d.conn.Exec(ctx, "select pg_logical_emit_message(true, 'bench', '')"); err != nil {
			return 0, err
		}
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	return percentile(times, 50), nil
}
