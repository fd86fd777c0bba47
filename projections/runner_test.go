package projections

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

func patientsOfUser1(n int) []events.Payload {
	payloads := []events.Payload{registerUser(1)}
	for id := range int64(n) {
		payloads = append(payloads, registerPatient(id+1, 1))
	}
	return payloads
}

func TestDuplicatesAreDroppedAndGapsReported(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.running()
	log := history(t, patientsOfUser1(9)...)
	ctx := t.Context()

	var gap *GapError
	if err := p.deliver(ctx, log[1:3]); !errors.As(err, &gap) || *gap != (GapError{Want: 1, Got: 2}) {
		t.Errorf("a batch that begins too late: %v", err)
	}
	p.apply(log[:4])
	p.apply(log[:4])  // all known
	p.apply(log[2:6]) // half known
	p.apply(nil)
	if err := p.deliver(ctx, log[7:]); !errors.As(err, &gap) || *gap != (GapError{Want: 7, Got: 8}) {
		t.Errorf("a batch after a gap: %v", err)
	}
	if err := p.deliver(ctx, []events.Recorded{log[6], log[8]}); !errors.As(err, &gap) || *gap != (GapError{Want: 8, Got: 9}) {
		t.Errorf("a batch with a gap: %v", err)
	}
	if got, err := p.runner.Checkpoint(ctx); got != 6 || err != nil {
		t.Errorf("checkpoint %d, %v, want 6", got, err)
	}
	p.apply(log[6:])
	if rows := query[int](d, "select count(*) from patients"); rows != 9 {
		t.Errorf("%d patients, want 9", rows)
	}
	if got := p.runner.Applied(SourceBus); got != 10 {
		t.Errorf("%d events applied from the bus, want 10", got)
	}
}

// counting is a projection that shows when an event is applied twice.
type counting struct{}

func (counting) Name() string       { return "counting" }
func (counting) SchemaVersion() int { return 1 }
func (counting) Tables() []string   { return []string{"counting"} }
func (counting) Apply(batch *pgx.Batch, evs []Applied) error {
	batch.Queue("update counting set n = n + $1", len(evs))
	return nil
}

func TestARunnerWhoseCheckpointWasMovedAppliesNothing(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	first, second := d.running(), d.running()
	log := history(t, patientsOfUser1(9)...)
	if _, err := second.runner.Checkpoint(t.Context()); err != nil { // at 0
		t.Fatal(err)
	}
	first.apply(log[:5])
	if err := second.deliver(t.Context(), log); !errors.Is(err, ErrMoved) {
		t.Fatalf("got %v, want ErrMoved", err)
	}
	if rows := query[int](d, "select count(*) from patients"); rows != 4 {
		t.Errorf("%d patients, want 4", rows)
	}
	second.apply(log) // goes on from the checkpoint
	if rows := query[int](d, "select count(*) from patients"); rows != 9 {
		t.Errorf("%d patients, want 9", rows)
	}
	if got := second.runner.Applied(SourceBus); got != 5 {
		t.Errorf("the second runner counts %d events, want 5", got)
	}
}

func TestRunnersThatRaceNeverApplyAnEventTwice(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.exec("create table projections.counting as select 0 as n")
	log := history(t, patientsOfUser1(299)...)
	d.log.append(log...)
	racers := []*process{d.running(only(counting{})), d.running(only(counting{}), shared), d.running(only(counting{}))}
	var done sync.WaitGroup
	for i, p := range racers {
		done.Go(func() {
			for {
				checkpoint, err := p.runner.Checkpoint(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				evs, _ := d.log.Read(t.Context(), checkpoint, i+1)
				if len(evs) == 0 {
					return
				}
				if err := p.deliver(t.Context(), evs); err != nil && !errors.Is(err, ErrMoved) {
					t.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	if n := query[int](d, "select n from counting"); n != 300 {
		t.Errorf("300 events were applied %d times", n)
	}
	var counted int64
	for _, p := range racers {
		counted += p.runner.Applied(SourceBus)
	}
	if counted != 300 {
		t.Errorf("the runners count %d events", counted)
	}

	// The control: without the compare-and-set the count goes wrong.
	conn, err := d.config.connect(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer disconnect(conn)
	var batch pgx.Batch
	_ = counting{}.Apply(&batch, make([]Applied, 300))
	if err := conn.SendBatch(t.Context(), &batch).Close(); err != nil {
		t.Fatal(err)
	}
	if n := query[int](d, "select n from counting"); n != 600 {
		t.Errorf("the control shows %d", n)
	}
}

func TestANewProjectionCatchesUp(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.exec("create table projections.counting as select 0 as n")
	log := history(t, patientsOfUser1(9)...)
	p := d.process()
	stop := background(t, p.runner.Run)
	p.apply(log[:6])
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	p = d.running(only(append(All(), counting{})...))
	if got, err := p.runner.Checkpoint(t.Context()); got != 0 || err != nil {
		t.Fatalf("checkpoint %d, %v, want 0", got, err)
	}
	p.apply(log[:4])
	if got := p.progress.Checkpoint(); got != 4 {
		t.Errorf("the read tables contain %d, want 4", got)
	}
	p.apply(log[4:])
	if n := query[int](d, "select n from counting"); n != 10 {
		t.Errorf("the new projection has %d events", n)
	}
	if rows := query[int](d, "select count(*) from patients"); rows != 9 {
		t.Errorf("%d patients, want 9", rows)
	}
}

func TestAnEventThatNoProjectionKnowsIsPassed(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.running(only(users{}))
	p.apply(history(t, patientsOfUser1(3)...))
	if got := p.progress.Checkpoint(); got != 4 {
		t.Errorf("checkpoint %d, want 4", got)
	}
}

func TestALostConnectionLosesNothing(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.running()
	log := history(t, patientsOfUser1(59)...)
	failures := 0
	for i, batch := range slices.Collect(slices.Chunk(log, 1)) {
		if i%20 == 10 {
			d.exec("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'carelog runner'")
		}
		eventually(t, "the batch is applied", func() bool {
			err := p.deliver(t.Context(), batch)
			if err != nil && !errors.Is(err, events.ErrUnavailable) {
				t.Fatal(err)
			}
			if err != nil {
				failures++
			}
			return err == nil
		})
	}
	if failures == 0 {
		t.Error("no batch noticed")
	}
	if rows := query[int](d, "select count(*) from patients"); rows != 59 {
		t.Errorf("%d patients, want 59", rows)
	}
	if err := p.progress.Live(); err != nil {
		t.Errorf("Live answers %v", err)
	}
}

func TestADatabaseThatWentBackIsFollowed(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	log := history(t, patientsOfUser1(5)...)
	p := d.process()
	stop := background(t, p.runner.Run)
	p.apply(log)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	d.exec("delete from patients where position > 4")
	d.exec("update checkpoints set position = 4")
	background(t, p.runner.Run)
	if got, err := p.runner.Checkpoint(t.Context()); got != 4 || err != nil || p.progress.Checkpoint() != 4 {
		t.Fatalf("checkpoint %d, %v, progress %d, want 4", got, err, p.progress.Checkpoint())
	}
	p.apply(log[4:])
	if rows := query[int](d, "select count(*) from patients"); rows != 5 {
		t.Errorf("%d patients, want 5", rows)
	}
}

func TestTheLogIsReadWhenTheBusIsSilent(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.process(silence(20*time.Millisecond), wait(10*time.Second))
	head := d.log.append(history(t, patientsOfUser1(1200)...)...) // more than is read at a time
	background(t, p.runner.Run)
	if err := p.progress.Wait(t.Context(), head); err != nil {
		t.Fatalf("events from before the start: %v", err)
	}
	more := history(t, patientsOfUser1(1201)...)[head:]
	p.runner.Announce(d.log.append(more...))
	if err := p.progress.Wait(t.Context(), head+1); err != nil {
		t.Fatalf("an announced event: %v", err)
	}
	if bus, log := p.runner.Applied(SourceBus), p.runner.Applied(SourceLog); bus != 0 || log != 1202 {
		t.Errorf("%d events from the bus, %d from the log", bus, log)
	}
}

func TestTheLogIsNotReadWhileTheBusDelivers(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.running(silence(time.Second)) // no stall of a busy machine is as long
	log := history(t, patientsOfUser1(5000)...)
	for begin := time.Now(); len(log) > 0 && time.Since(begin) < 1500*time.Millisecond; log = log[1:] {
		p.runner.Announce(d.log.append(log[0]))
		p.apply(log[:1])
	}
	if got := p.runner.Applied(SourceLog); got != 0 {
		t.Errorf("%d events were read from the log", got)
	}
}

func TestTablesOfAnotherLogOrProgramAreRefused(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.process()
	if err := p.runner.Check(t.Context()); err != nil {
		t.Fatalf("new tables: %v", err)
	}
	for _, stored := range []int{0, 2} {
		d.exec("update checkpoints set schema_version = $1 where name = 'doctors'", stored)
		want := SchemaError{Projection: "doctors", Stored: stored, Program: 1}
		var schema *SchemaError
		if err := p.runner.Check(t.Context()); !errors.As(err, &schema) || *schema != want {
			t.Errorf("schema version %d: %v", stored, err)
		}
		if err := p.runner.Run(t.Context()); !errors.As(err, &schema) || *schema != want {
			t.Errorf("schema version %d, run: %v", stored, err)
		}
	}
	d.exec("update checkpoints set schema_version = 1, log_id = $1", uuid.New())
	if err := p.runner.Check(t.Context()); !errors.Is(err, ErrOtherLog) {
		t.Errorf("another log: %v", err)
	}
	if err := p.progress.Live(); !errors.Is(err, ErrNoRunner) {
		t.Errorf("Live answers %v", err)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	log := history(t, patientsOfUser1(9)...)
	log[6].SchemaVersion = 2
	d.log.append(log...)
	p := d.process()
	background(t, func(ctx context.Context) error { _ = p.runner.Run(ctx); return nil })
	p.apply(log[:2])
	if err := p.runner.Apply(t.Context(), SourceLog, log[2:5]); err != nil {
		t.Fatal(err)
	}
	status, err := p.runner.Status(t.Context())
	if err != nil || status.Head != 10 || status.FromBus != 2 || status.FromLog != 3 || len(status.Projections) != 4 {
		t.Fatalf("got %+v, %v", status, err)
	}
	if got, want := status.Projections[2], (ProjectionStatus{Name: "patients", SchemaVersion: 1, Position: 5, Lag: 5}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := p.deliver(t.Context(), log[5:]); err == nil {
		t.Fatal("an event of a newer program was applied")
	}
	status, err = p.runner.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stopped := status.Projections[0].Stopped
	if stopped == nil || stopped.Position != 7 || stopped.Type != events.PatientRegisteredType || !strings.Contains(stopped.Error(), "schema version 2") {
		t.Errorf("stopped: %v", stopped)
	}
}

// The bus may have outlived a database that was restored: what it carries then
// never happened.
func TestEventsThatAreNotInTheLogAreNotApplied(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.running()
	log, other := history(t, patientsOfUser1(3)...), history(t, patientsOfUser1(3)...)
	p.apply(log[:1])
	if err := p.runner.Apply(t.Context(), SourceBus, other[1:2]); !errors.Is(err, ErrNotInLog) {
		t.Errorf("an event whose position is beyond the log: %v", err)
	}
	other[2] = log[2]
	p.store(log...)
	if err := p.runner.Apply(t.Context(), SourceBus, other[1:]); !errors.Is(err, ErrNotInLog) {
		t.Errorf("another event than the log has, before one that it has: %v", err)
	}
	if rows := query[int](d, "select count(*) from patients"); rows != 0 {
		t.Errorf("%d patients of events that never happened", rows)
	}
	if err := p.runner.Apply(t.Context(), SourceBus, log[1:]); err != nil {
		t.Fatal(err)
	}
	d.exec("delete from public.events where position > 1")
	p.runner.config.Log = &memoryLog{evs: log[:1]}
	if err := p.runner.Check(t.Context()); !errors.Is(err, ErrAhead) {
		t.Errorf("tables that contain more than the log: %v", err)
	}
}
