package projections

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
)

// longHistory is an endless history as a busy service has it: of ten events four
// register a patient, two amend one, two map one to a doctor, one registers a
// doctor and one removes a patient.
func longHistory(position int64) events.Payload {
	if position == 1 {
		return registerUser(1)
	}
	ten := position / 10 * 10
	switch position % 10 {
	case 0, 1, 2, 3:
		return registerPatient(position, 1)
	case 4:
		return registerDoctor(position, fmt.Sprint(position, "@example.org"))
	case 5, 6:
		return createMapping(position, ten+position%10-4, ten+4, 1)
	case 7:
		return events.PatientAmended{PatientID: ten + 1, OwnerID: 1, LastName: point("Poe"), Age: point(50)}
	case 8:
		return events.PatientAmended{PatientID: max(ten-100, 0) + 2, OwnerID: 1, Age: point(51)}
	}
	return events.PatientRemoved{PatientID: max(ten-100, 0) + 3, OwnerID: 1}
}

// writeLog fills the events table with n events of longHistory, without their
// tags, which no projection reads.
func (d *database) writeLog(n int) {
	d.t.Helper()
	registry, i := events.NewRegistry(), int64(0)
	_, err := d.pool.CopyFrom(d.t.Context(), pgx.Identifier{"events"},
		[]string{"position", "id", "type", "schema_version", "tags", "data", "metadata", "salt", "recorded_at"},
		pgx.CopyFromFunc(func() ([]any, error) {
			if i++; i > int64(n) {
				return nil, nil
			}
			eventType, version, data, err := registry.Encode(longHistory(i))
			return []any{i, uuid.New(), eventType, version, []string{"owner:1", "patient:1"}, []byte(data),
				[]byte(`{"actor":{"user_id":1},"correlation_id":"0198f2f0-2c11-7a33-8d4e-5f60718293a4","request_id":"0198f2f0-2c11-7a33-8d4e-5f60718293a4"}`),
				make([]byte, 16), day}, err
		}))
	if err != nil {
		d.t.Fatal(err)
	}
}

// BenchmarkRebuild rebuilds all read tables from a log of a million events, or
// of as many as REBUILD_EVENTS says.
//
//	CARELOG_TEST_DATABASE_URL=… go test -run xxx -bench Rebuild -benchtime 1x ./projections
//
// On 2 cores, with other work going on: 155,000 events a second, 115,000 in
// batches of 1,000; 180,000 on quieter ones. The process stays below 50 MiB.
func BenchmarkRebuild(b *testing.B) {
	n := 1_000_000
	if s := os.Getenv("REBUILD_EVENTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	d := newDatabase(b)
	d.writeLog(n)
	d.exec("analyze events")
	store, err := eventstore.Open(b.Context(), eventstore.Config{Pool: d.pool, Appender: d.config.Conn, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	d.config.Log, d.config.LogID = store, store.LogID()
	b.ResetTimer()
	for range b.N {
		if err := Rebuild(b.Context(), d.config, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "events/s")
}
