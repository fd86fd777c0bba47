package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/eventstore/pgtest"
)

// site is an installation to be hurt: two processes of the program, a NATS
// server and a database, with clients that remember what they were told.
type site struct {
	vars     map[string]string
	postgres *ownPostgres // nil: the database is on the tests' own server
	url      string       // of the database, without what is in between
	proxies  [2]*proxy    // between each process and the database
	through  [2]string    // the URLs that lead through them
	broker   *broker
	servers  [2]atomic.Pointer[process]

	tally    tally
	mu       sync.Mutex
	practice []*recording
	accounts *recording // users who register
	probes   *recording // writes by which recovery is noticed
	access   string     // of the user who probes
	measured map[string][]time.Duration
	logs     []*logBuffer // of every process there was
}

// newSite starts everything, on a database of the tests' server or on one that
// may be hurt as well.
func newSite(t *testing.T, ownDatabase bool) *site {
	t.Helper()
	s := &site{measured: map[string][]time.Duration{}, vars: map[string]string{
		"CARELOG_JWT_SECRET": testSecret, "CARELOG_HASH_CONCURRENCY": "2", "CARELOG_ACCESS_TOKEN_LIFETIME": "24h",
		"CARELOG_THROTTLE_REGISTER": "0", "CARELOG_THROTTLE_LOGIN_ACCOUNT": "0", "CARELOG_THROTTLE_LOGIN_ADDRESS": "0",
	}}
	s.accounts, s.probes = newRecording(&s.tally), newRecording(&s.tally)
	if ownDatabase {
		s.postgres = newOwnPostgres(t)
		s.url = s.postgres.server.URL()
	} else {
		s.url = pgtest.New(t)
	}
	s.broker = newBroker(t)
	s.vars["NATS_URL"] = s.broker.url()
	for i := range s.servers {
		s.startServer(t, i)
	}
	access, ok := s.account(t.Context())
	if !ok {
		t.Fatal("no user can register")
	}
	s.access = access
	return s
}

func (s *site) startServer(t *testing.T, i int) {
	t.Helper()
	vars := map[string]string{"CARELOG_DATA_DIR": t.TempDir()}
	if s.proxies[i] == nil {
		s.proxies[i], s.through[i] = newProxy(t, s.url)
	}
	vars["DATABASE_URL"] = s.through[i]
	for name, value := range s.vars {
		vars[name] = value
	}
	p := startProcess(t, vars)
	s.servers[i].Store(p)
	s.logs = append(s.logs, p.log)
	t.Cleanup(func() {
		if strings.Contains(p.log.String(), "DATA RACE") {
			t.Errorf("a data race:\n%s", p.log)
		}
	})
}

// server is a process as it is at the time: another one after a restart.
func (s *site) server(i int) func() *running {
	return func() *running { return s.servers[i].Load().running }
}

// account registers a user and logs in, however often it takes.
func (s *site) account(ctx context.Context) (access string, ok bool) {
	for try := 0; ctx.Err() == nil; try++ {
		server := s.servers[try%2].Load()
		c := call{kind: registerUser, email: fmt.Sprintf("u%d@example.com", histories.Add(1)), password: "securepassword123"}
		if o, _ := s.accounts.do(s.server(try%2), "", 0, c); o.answer.status != 201 {
			pause(ctx, 50*time.Millisecond)
			continue
		}
		got, err := server.try("POST", "/api/auth/login/", http.Header{"Content-Type": {"application/json"}},
			strings.NewReader(fmt.Sprintf(`{"username":%q,"password":%q}`, c.email, c.password)))
		var pair struct{ Access string }
		if err == nil && got.status == 200 && json.Unmarshal(got.body, &pair) == nil {
			return pair.Access, true
		}
	}
	return "", false
}

// known are the ids that the clients of a practice have heard of last.
type known struct {
	mu                          sync.Mutex
	patients, doctors, mappings []int64
}

func (k *known) learn(o operation) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if o.answer.status == 404 { // once more is enough
		forget := func(ids *[]int64, id int64) {
			*ids = slices.DeleteFunc(*ids, func(other int64) bool { return other == id })
		}
		switch o.call.kind {
		case unmapDoctor:
			forget(&k.mappings, o.call.mapping)
		case removePatient, getPatient, amendPatient, replacePatient:
			forget(&k.patients, o.call.patient)
		default:
			forget(&k.doctors, o.call.doctor)
		}
	}
	for _, r := range o.answer.patients {
		remember(&k.patients, r.ID)
	}
	for _, r := range o.answer.doctors {
		remember(&k.doctors, r.ID)
	}
	for _, r := range o.answer.mappings {
		remember(&k.mappings, r.ID)
	}
}

func remember(ids *[]int64, id int64) {
	if !slices.Contains(*ids, id) {
		*ids = append(*ids, id)
	}
	if len(*ids) > 4 {
		*ids = slices.Delete(*ids, 0, 1)
	}
}

// some is one of the ids, 0 when there are none: nobody's.
func some(r *rand.Rand, ids []int64) int64 {
	if len(ids) == 0 {
		return 0
	}
	return ids[r.IntN(len(ids))]
}

// kinds are what clients do, each as often as it stands here.
var kinds = []callKind{
	registerPatient, registerPatient, amendPatient, amendPatient, replacePatient, removePatient, getPatient, getPatient, listPatients, listPatients,
	registerDoctor, registerDoctor, registerDoctor, amendDoctor, amendDoctor, amendDoctor, removeDoctor, getDoctor, listDoctors,
	mapDoctor, mapDoctor, mapDoctor, mapDoctor, unmapDoctor, listMappings, listMappings, listMappings, mappingsOf,
}

// draw makes up a call. Names are never used twice, so that what is read tells
// by whom it was written.
func (k *known) draw(r *rand.Rand, h *recording, client, number int) call {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := call{
		kind: kinds[r.IntN(len(kinds))], patient: some(r, k.patients), doctor: some(r, k.doctors), mapping: some(r, k.mappings),
		first: fmt.Sprintf("F%d-%d", client, number), last: fmt.Sprintf("L%d-%d", client, number),
	}
	switch {
	case len(k.patients) == 0:
		c.kind = registerPatient
	case c.kind == registerPatient && len(k.patients) == 4:
		c.kind = removePatient
	case c.kind == registerDoctor && len(k.doctors) == 4:
		c.kind = removeDoctor
	}
	if c.kind == registerDoctor || c.kind == amendDoctor && r.IntN(2) == 0 {
		c.email = fmt.Sprintf("%s-%d@example.com", h.name, r.IntN(4)) // few, so that they are fought for
	}
	return c
}

// practise lets clients work with the records of one user, half of them on
// each process, until they have asked enough or the context ends.
func (s *site) practise(ctx context.Context, seed uint64, clients, calls int) {
	access, ok := s.account(ctx)
	if !ok {
		return
	}
	h := newRecording(&s.tally)
	s.mu.Lock()
	s.practice = append(s.practice, h)
	s.mu.Unlock()
	var all sync.WaitGroup
	var k known
	for client := range clients {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(client)))
			for number := 0; number < calls && ctx.Err() == nil; number++ {
				o, reached := h.do(s.server(client%2), access, client, k.draw(r, h, client, number))
				k.learn(o)
				if !reached {
					pause(ctx, 20*time.Millisecond)
				}
			}
		})
	}
	all.Wait()
}

// load practises until it is stopped, in so many practices at a time.
func (s *site) load(practices int, seed uint64) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i := range practices {
		all.Go(func() {
			for round := uint64(0); ctx.Err() == nil; round++ {
				s.practise(ctx, seed+uint64(i)<<32+round, 4, 40)
			}
		})
	}
	return sync.OnceFunc(func() {
		cancel()
		all.Wait()
	})
}

// recoverWithin is how soon everything must be as before, without help.
const recoverWithin = 10 * time.Second

// applied adds up how many events the processes have applied, by source. It
// fails while one does not answer.
func (s *site) applied(t *testing.T) (fromBus, fromLog int64, ok bool) {
	for i := range s.servers {
		got, err := s.servers[i].Load().try("GET", "/readyz", nil, nil)
		var ready struct {
			Applied struct {
				FromBus int64 `json:"from_bus"`
				FromLog int64 `json:"from_log"`
			}
		}
		if err != nil || got.status != 200 || json.Unmarshal(got.body, &ready) != nil {
			return 0, 0, false
		}
		fromBus += ready.Applied.FromBus
		fromLog += ready.Applied.FromLog
	}
	return fromBus, fromLog, true
}

// probe writes once and tells whether all went as it should, and how long it took.
func (s *site) probe(server int) (took time.Duration, ok bool) {
	began := time.Now()
	o, _ := s.probes.do(s.server(server), s.access, server, call{kind: registerPatient, first: "Probe", last: "Probe"})
	return time.Since(began), o.answer.status == 201 && o.returned != never
}

// wellAgain: writes to both processes are answered in time, and all events come
// over the bus.
func (s *site) wellAgain(t *testing.T) (slowest time.Duration, well bool) {
	busBefore, logBefore, ok := s.applied(t)
	if !ok {
		return 0, false
	}
	const probes = 6
	for i := range probes {
		took, ok := s.probe(i % 2)
		if !ok {
			return 0, false
		}
		slowest = max(slowest, took)
	}
	bus, log, ok := s.applied(t)
	return slowest, ok && bus >= busBefore+probes && log == logBefore
}

// await measures how long after a moment something holds, and fails when it is
// too long. It waits on for a while, to tell how much.
func (s *site) await(t *testing.T, what string, since time.Time, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*recoverWithin)
	defer cancel()
	for !holds() && pause(ctx, 10*time.Millisecond) {
	}
	took := time.Since(since)
	s.measured[what] = append(s.measured[what], took)
	if took > recoverWithin {
		t.Errorf("%s: it took %v", what, took)
	}
}

func (s *site) awaitRecovery(t *testing.T, what string, since time.Time) {
	t.Helper()
	var slowest time.Duration
	s.await(t, what, since, func() (well bool) {
		slowest, well = s.wellAgain(t)
		return well
	})
	t.Logf("%s: well again after %v, the slowest of 6 writes took %v", what, s.measured[what][len(s.measured[what])-1].Round(time.Millisecond), slowest.Round(time.Millisecond))
}

// mustWrite writes while something is away that writes can do without.
func (s *site) mustWrite(t *testing.T, what string) {
	t.Helper()
	for i := range 4 {
		took, ok := s.probe(i % 2)
		if !ok {
			t.Errorf("%s: a write is not answered as it should", what)
		}
		s.measured["a write while "+what] = append(s.measured["a write while "+what], took)
	}
}

// holder is the process that runs the projections.
func (s *site) holder(t *testing.T) (holder int) {
	t.Helper()
	eventually(t, "a process holds the lease", 20*time.Second, func() bool {
		for i := range s.servers {
			got, err := s.servers[i].Load().try("GET", "/readyz", nil, nil)
			if err == nil && strings.Contains(string(got.body), `"name":"relay"`) {
				holder = i
				return true
			}
		}
		return false
	})
	return holder
}

// fault is one way to hurt a site. It returns when the cause is over, and tells
// since when.
type fault struct {
	name   string
	inject func(*testing.T, *site, *rand.Rand) (since time.Time)
}

// suffer injects a fault and waits until all is well again.
func (s *site) suffer(t *testing.T, f fault, r *rand.Rand) {
	t.Helper()
	since := f.inject(t, s, r)
	s.awaitRecovery(t, f.name, since)
	if _, err := checkTables(t.Context(), s.url); err != nil {
		t.Errorf("after %s: %v", f.name, err)
	}
}

// sufferAll injects each fault once, under load, and settles the account.
func (s *site) sufferAll(t *testing.T, faults []fault) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 1))
	stop := s.load(1, 1)
	defer stop()
	for _, f := range faults {
		s.suffer(t, f, r)
	}
	stop()
	s.settle(t)
}

// logAbout shows what the processes logged about a request.
func (s *site) logAbout(t *testing.T, request string) {
	for _, log := range s.logs {
		for line := range strings.Lines(log.String()) {
			if slices.Contains(strings.Fields(line), "request_id="+request) {
				t.Log(line)
			}
		}
	}
}

// settle compares what clients were told with what is there.
func (s *site) settle(t *testing.T) balance {
	t.Helper()
	mustEqualFold(t, s.url)
	a, err := s.audit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(a)
	for _, wrong := range a.wrong() {
		t.Error(wrong)
	}
	for _, request := range a.suspects {
		s.logAbout(t, request)
	}
	var checks errgroup.Group
	checks.SetLimit(2)
	for _, h := range s.practice {
		checks.Go(func() error { return h.check(practiceModel) })
	}
	if err := checks.Wait(); err != nil {
		t.Error(err)
	}
	if err := s.accounts.check(accountModel); err != nil {
		t.Error(err)
	}
	return a
}
