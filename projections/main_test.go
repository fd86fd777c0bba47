package projections

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// day is the time of whatever happens in tests.
var day = time.Date(2025, 9, 1, 23, 35, 9, 123456000, time.UTC)

func point[V any](v V) *V { return &v }

// history turns payloads into the events of a log.
func history(t testing.TB, payloads ...events.Payload) []events.Recorded {
	t.Helper()
	registry := events.NewRegistry()
	var log []events.Recorded
	for i, p := range payloads {
		eventType, version, data, err := registry.Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, events.Recorded{
			Event:    events.Event{ID: uuid.New(), Type: eventType, SchemaVersion: version, Data: data},
			Position: events.Position(i + 1),
		})
	}
	return log
}

// memoryLog is a Log in memory.
type memoryLog struct {
	mu  sync.Mutex
	evs []events.Recorded
}

func (l *memoryLog) append(evs ...events.Recorded) events.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evs = append(l.evs, evs...)
	return events.Position(len(l.evs))
}

func (l *memoryLog) Read(_ context.Context, after events.Position, limit int) ([]events.Recorded, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := l.evs[after:]
	return slices.Clone(rest[:min(limit, len(rest))]), nil
}

func (l *memoryLog) Head(context.Context) (events.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return events.Position(len(l.evs)), nil
}

// logBuffer collects what a program logs.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// database is a database of its own with what reads and applies in it.
type database struct {
	t      testing.TB
	pool   *pgxpool.Pool
	log    *memoryLog
	logged *logBuffer
	config Config
}

func newDatabase(t testing.TB) *database {
	t.Helper()
	url := pgtest.New(t)
	conn, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	poolConfig, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	Configure(poolConfig.ConnConfig)
	poolConfig.ConnConfig.RuntimeParams["timezone"] = "UTC" // for dump
	pool, err := pgxpool.NewWithConfig(context.Background(), poolConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	d := &database{t: t, pool: pool, log: &memoryLog{}, logged: &logBuffer{}}
	d.config = Config{
		Conn: conn, Pool: pool, Log: d.log, LogID: uuid.New(), Registry: events.NewRegistry(),
		Silence: time.Hour, // the log is read only in tests of that
		Logger:  slog.New(slog.NewTextHandler(d.logged, nil)),
	}
	return d
}

// process is what runs in one process.
type process struct {
	*database
	progress *Progress
	runner   *Runner
}

func (d *database) process(change ...func(*Config)) *process {
	config := d.config
	for _, c := range change {
		c(&config)
	}
	p := &process{database: d, progress: NewProgress(config)}
	p.runner = NewRunner(config, p.progress)
	return p
}

func shared(c *Config)                      { c.Shared = true }
func silence(d time.Duration) func(*Config) { return func(c *Config) { c.Silence = d } }
func wait(d time.Duration) func(*Config)    { return func(c *Config) { c.Wait = d } }
func only(projections ...Projection) func(*Config) {
	return func(c *Config) { c.Projections = projections }
}

// background runs until stop is called or the test ends.
func background(t testing.TB, run func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = run(ctx)
	}()
	stop = func() error {
		cancel()
		<-done
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

// running is a process whose runner runs until the test ends.
func (d *database) running(change ...func(*Config)) *process {
	p := d.process(change...)
	background(d.t, p.runner.Run)
	return p
}

// apply applies events, which must succeed.
func (p *process) apply(evs []events.Recorded) {
	p.t.Helper()
	if err := p.deliver(context.Background(), evs); err != nil {
		p.t.Fatalf("apply: %v", err)
	}
}

// deliver applies events as the bus delivers them: they are in the log.
func (p *process) deliver(ctx context.Context, evs []events.Recorded) error {
	p.t.Helper()
	p.store(evs...)
	return p.runner.Apply(ctx, SourceBus, evs)
}

// store puts events into the log, in place of others of the same test that have
// their positions.
func (d *database) store(evs ...events.Recorded) {
	d.t.Helper()
	for _, e := range evs {
		d.exec(`delete from public.events where (position = $1) <> (id = $2)`, e.Position, e.ID)
		d.exec(`insert into public.events (position, id, type, schema_version, tags, data, metadata, salt, recorded_at)
			values ($1, $2, $3, 1, '{}', '{}', '{}', '', now()) on conflict do nothing`, e.Position, e.ID, e.Type)
	}
}

func (d *database) exec(sql string, args ...any) {
	d.t.Helper()
	if _, err := d.pool.Exec(context.Background(), sql, args...); err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
}

func query[V any](d *database, sql string, args ...any) V {
	d.t.Helper()
	var value V
	if err := d.pool.QueryRow(context.Background(), sql, args...).Scan(&value); err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// dump is the content of all read tables, a line for each row.
func (d *database) dump() string {
	d.t.Helper()
	var text strings.Builder
	for _, table := range []string{"users", "patients", "doctors", "mappings"} {
		rows, err := d.pool.Query(context.Background(), "select t::text from "+table+" t order by id")
		if err != nil {
			d.t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			d.t.Fatal(err)
		}
		for _, line := range lines {
			fmt.Fprintln(&text, table, line)
		}
	}
	return text.String()
}

// eventually waits for something that nothing signals.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 seconds: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
