package main

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// ownPostgres is a PostgreSQL of one test, which comes back by itself when it
// dies.
type ownPostgres struct {
	dir    string
	server *postgres
	stop   func() error
}

func newOwnPostgres(t *testing.T) *ownPostgres {
	t.Helper()
	p := &ownPostgres{dir: filepath.Join(dataDir(t), "postgres")}
	p.start(t)
	return p
}

func (p *ownPostgres) start(t *testing.T) {
	t.Helper()
	p.server = newPostgres(postgresOptions{Dir: p.dir, StopTimeout: 10 * time.Second, Throwaway: true, Logger: slog.New(slog.DiscardHandler)})
	p.stop = startPart(t, p.server.Run, p.server.Running())
}

// postmaster is the process id of the server.
func (p *ownPostgres) postmaster(t *testing.T) int {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(p.server.home.data, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil || pid <= 1 {
		t.Fatalf("postmaster.pid begins with %q", first)
	}
	return pid
}

// databaseFaults are those of PostgreSQL itself.
var databaseFaults = []fault{
	{"kill -9 of the postmaster", signalPostmaster(syscall.SIGKILL)},
	{"PostgreSQL stopped at once", signalPostmaster(syscall.SIGQUIT)},
	{"PostgreSQL away for a while", func(t *testing.T, s *site, _ *rand.Rand) time.Time {
		if err := s.postgres.stop(); err != nil {
			t.Error(err)
		}
		for i := range s.servers {
			for _, q := range []request{{"POST", "/api/patients/", somePatient}, {"GET", "/api/patients/", ""}, {"GET", "/readyz", ""}} {
				got, err := s.servers[i].Load().as(s.access, q.method, q.path, q.body)
				if err != nil || got.status != 503 || got.header.Get("Retry-After") == "" {
					t.Errorf("without PostgreSQL %s %s is answered with %d, %v", q.method, q.path, got.status, err)
				}
			}
		}
		s.postgres.start(t)
		return time.Now()
	}},
	{"kill -9 of a single backend", func(t *testing.T, s *site, r *rand.Rand) time.Time {
		pids := s.backends(t, `application_name like 'carelog%'`)
		if err := syscall.Kill(pids[r.IntN(len(pids))], syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		return s.awaitBack(t)
	}},
	{"SIGSTOP and SIGCONT of all backends", func(t *testing.T, s *site, _ *rand.Rand) time.Time {
		pids := s.backends(t, `application_name like 'carelog%'`)
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGSTOP) // it may have ended
		}
		pause(t.Context(), 3*time.Second) // long enough for the program to lose patience
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
		return time.Now()
	}},
}

// connectionFaults end the connections of one kind.
var connectionFaults = []fault{
	{"connections of requests ended", endConnections(`application_name = 'carelog requests' and query not like 'listen %'`)},
	{"connection of the appender ended", endConnections(`application_name like 'carelog appender %'`)},
	{"connection of the runner ended", endConnections(`application_name = 'carelog runner'`)},
	{"connection of the lease ended", endConnections(`application_name = 'carelog lease'`)},
	{"connection of presence ended", endConnections(`application_name = 'carelog presence'`)},
	{"connection of progress ended", endConnections(`application_name = 'carelog progress'`)},
	{"connection of the relay's listener ended", endConnections(`query like 'listen carelog_appended%'`)},
}

func signalPostmaster(signal syscall.Signal) func(*testing.T, *site, *rand.Rand) time.Time {
	return func(t *testing.T, s *site, _ *rand.Rand) time.Time {
		if err := syscall.Kill(s.postgres.postmaster(t), signal); err != nil {
			t.Error(err)
		}
		return s.awaitBack(t)
	}
}

func endConnections(which string) func(*testing.T, *site, *rand.Rand) time.Time {
	return func(t *testing.T, s *site, _ *rand.Rand) time.Time {
		s.backends(t, which) // there is one
		query[int](t, s.url, `select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and `+which)
		return time.Now()
	}
}

// backends are the process ids of certain connections, as soon as there is one.
func (s *site) backends(t *testing.T, which string) (pids []int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	eventually(t, "there are connections with "+which, 20*time.Second, func() bool {
		rows, err := conn.Query(t.Context(), `select pid from pg_stat_activity where datname = current_database() and `+which)
		if err != nil {
			t.Fatal(err)
		}
		if pids, err = pgx.CollectRows(rows, pgx.RowTo[int]); err != nil {
			t.Fatal(err)
		}
		return len(pids) > 0
	})
	return pids
}

// awaitBack waits until the database takes connections, and answers since when
// it does.
func (s *site) awaitBack(t *testing.T) time.Time {
	t.Helper()
	started := time.Now()
	eventually(t, "PostgreSQL is back", time.Minute, func() bool {
		var pid int
		return tryQuery(context.Background(), s.url, `select pg_backend_pid() where pg_postmaster_start_time() > now() - interval '1 hour'`, &pid) == nil
	})
	t.Logf("PostgreSQL takes connections after %v", time.Since(started).Round(time.Millisecond))
	return time.Now()
}

// TestTheDatabaseMayDie in every way, and single connections of it: requests are
// refused while it is away, and all is well soon after, without help. Every
// answered write is there once.
func TestTheDatabaseMayDie(t *testing.T) {
	t.Parallel()
	newSite(t, true).sufferAll(t, databaseFaults)
}

func TestConnectionsMayEnd(t *testing.T) {
	t.Parallel()
	newSite(t, false).sufferAll(t, connectionFaults)
}
