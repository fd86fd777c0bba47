package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore/pgtest"
)

// testHistory has two changes of the users who register patients, and all kinds
// of events.
var testHistory = history{Patients: 600, AtATime: 3, Amendments: 100}

// TestFill: a log that was filled is what Carelog would have written, as far as
// can be told, and Carelog goes on with it.
func TestFill(t *testing.T) {
	h := testHistory
	g := newGrower(t)
	d, err := g.grow(t.Context(), "test", h)
	defer func() {
		if err := d.drop(t.Context(), g.admin); err != nil {
			t.Error(err)
		}
	}()
	if err == nil {
		err = g.verify(t.Context(), d)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, want := indexesOf(t, d.conn), indexesOf(t, connect(t, pgtest.New(t))); got != want {
		t.Errorf("the indexes are\n%s\ninstead of\n%s", got, want)
	}
	var wrong int
	err = d.conn.QueryRow(t.Context(), `
		with of_events as (select unnest(tags) as tag, type, position from events), of_tags as (select tag, type, position from event_tags)
		select count(*) from ((table of_events except table of_tags) union all (table of_tags except table of_events)) as differ`).Scan(&wrong)
	if err != nil || wrong > 0 {
		t.Errorf("%d tags differ, %v", wrong, err)
	}
	checkHistory(t, d.conn, h)

	s, err := g.serve(t.Context(), "test", d)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	owner, err := signToken("1")
	if err != nil {
		t.Fatal(err)
	}
	position := h.events()
	for _, step := range []struct {
		method, path, body string
		want               string // of the answer
	}{
		{"POST", "/api/auth/register/", `{"name":"A","email":"owner1@example.org","password":"a long password of theirs"}`, "already"},
		{"POST", "/api/doctors/", `{"first_name":"A","last_name":"B","specialization":"C","email":"doctor6@example.org","phone":"1"}`, "already"},
		{"POST", "/api/patients/mappings/", `{"patient":4,"doctor":1}`, "must make a unique set"}, // from block 5
		{"POST", "/api/patients/", `{"first_name":"A","last_name":"B","age":1,"gender":"Male"}`, `{"id":601,`},
		{"PATCH", "/api/patients/1/", `{"age":120}`, `"age":120,`},
		{"PATCH", "/api/patients/4/", `{"age":121}`, `"age":121,`},
		{"POST", "/api/auth/register/", `{"name":"A","email":"new@example.org","password":"a long password of theirs"}`, "success"},
		{"POST", "/api/doctors/", `{"first_name":"A","last_name":"B","specialization":"C","email":"new@example.org","phone":"1"}`, `{"id":7,`},
		{"POST", "/api/patients/mappings/", `{"patient":4,"doctor":7}`, `{"id":601,`},
	} {
		request, err := http.NewRequestWithContext(t.Context(), step.method, "http://"+s.addr+step.path, strings.NewReader(step.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+owner)
		answer, err := s.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if !strings.Contains(string(text), step.want) {
			t.Errorf("%s %s %s: %s %s", step.method, step.path, step.body, answer.Status, text)
		}
		if answer.StatusCode < 300 {
			position++
			if got := answer.Header.Get("Carelog-Position"); got != fmt.Sprint(position) {
				t.Errorf("%s %s: at position %s instead of %d", step.method, step.path, got, position)
			}
		}
	}
}

// checkHistory reads the log as Carelog does. Encoded again, every event must be
// the same to the byte, with the tags that its command gives it, and change
// something about records that are there.
func checkHistory(t *testing.T, conn *pgx.Conn, h history) {
	t.Helper()
	var key events.TagKey
	if err := conn.QueryRow(t.Context(), "select tag_key from log").Scan((*[]byte)(&key)); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), "select position, id, type, schema_version, tags, data, metadata, octet_length(salt), recorded_at from events order by position")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	registry := events.NewRegistry()
	users, doctors := map[int64]bool{}, map[int64]string{}
	patients := map[int64]events.PatientRegistered{}
	mappings := map[int64]events.MappingCreated{}
	ids, types, pairs, amendments := map[uuid.UUID]bool{}, map[events.Type]int{}, map[events.Tag]bool{}, map[int64]int64{}
	var before time.Time
	var position events.Position
	for rows.Next() {
		var e events.Recorded
		var salt int
		if err := rows.Scan(&e.Position, &e.ID, &e.Type, &e.SchemaVersion, &e.Tags, (*[]byte)(&e.Data), (*[]byte)(&e.Metadata), &salt, &e.RecordedAt); err != nil {
			t.Fatal(err)
		}
		position++
		payload, err := registry.Decode(e.Event)
		if err != nil {
			t.Fatalf("event %d: %v", position, err)
		}
		var metadata events.Metadata
		if err := json.Unmarshal(e.Metadata, &metadata); err != nil {
			t.Fatalf("event %d: %v", position, err)
		}
		_, version, data, err := registry.Encode(payload)
		context, errMetadata := json.Marshal(metadata)
		if err != nil || errMetadata != nil || string(data) != string(e.Data) || string(context) != string(e.Metadata) {
			t.Fatalf("event %d is %s %s instead of %s %s", position, e.Data, e.Metadata, data, context)
		}

		var tags []events.Tag
		actor, at, changes := int64(0), e.RecordedAt, false
		switch p := payload.(type) {
		case events.UserRegistered:
			tags = []events.Tag{events.UserTag(p.UserID), key.UserEmail(p.Email)}
			actor, at, changes = p.UserID, p.RegisteredAt, !users[p.UserID]
			users[p.UserID] = true
		case events.PatientRegistered:
			tags = []events.Tag{events.PatientTag(p.PatientID), events.OwnerTag(p.OwnerID)}
			actor, at, changes = p.OwnerID, p.CreatedAt, p.PatientID == int64(len(patients)+1) && users[p.OwnerID] && h.owner(p.PatientID) == p.OwnerID
			patients[p.PatientID] = p
		case events.PatientAmended:
			tags = []events.Tag{events.PatientTag(p.PatientID), events.OwnerTag(p.OwnerID)}
			patient := patients[p.PatientID]
			old := patient
			set(&patient.FirstName, p.FirstName)
			set(&patient.LastName, p.LastName)
			set(&patient.Age, p.Age)
			actor, changes = p.OwnerID, patient != old && patient.OwnerID == p.OwnerID
			patients[p.PatientID] = patient
			amendments[p.PatientID]++
		case events.DoctorRegistered:
			tags = []events.Tag{events.DoctorTag(p.DoctorID), key.DoctorEmail(p.Email)}
			actor, at, changes = metadata.Actor.UserID, p.CreatedAt, doctors[p.DoctorID] == ""
			doctors[p.DoctorID] = p.Phone
		case events.DoctorAmended:
			tags = []events.Tag{events.DoctorTag(p.DoctorID)}
			actor, changes = metadata.Actor.UserID, doctors[p.DoctorID] != "" && *p.Phone != doctors[p.DoctorID]
		case events.MappingCreated:
			tags = events.MappingTags(p.MappingID, p.PatientID, p.DoctorID, p.OwnerID)
			_, used := mappings[p.MappingID]
			actor, at = p.OwnerID, p.AssignedAt
			changes = !used && !pairs[tags[3]] && doctors[p.DoctorID] != "" && patients[p.PatientID].OwnerID == p.OwnerID
			mappings[p.MappingID], pairs[tags[3]] = p, true
		case events.MappingRemoved:
			tags = events.MappingTags(p.MappingID, p.PatientID, p.DoctorID, p.OwnerID)
			m := mappings[p.MappingID]
			actor, changes = p.OwnerID, m.PatientID == p.PatientID && m.DoctorID == p.DoctorID && m.OwnerID == p.OwnerID
			delete(mappings, p.MappingID)
		}
		switch {
		case e.Position != position, ids[e.ID], e.ID.Version() != 7, e.ID.Variant() != uuid.RFC4122, salt != 16,
			e.SchemaVersion != version, !slices.Equal(e.Tags, tags), metadata.Actor != events.Actor{UserID: actor} || !users[actor],
			e.RecordedAt.Before(before), at.After(e.RecordedAt), at.Before(before), e.RecordedAt.After(time.Now()), !changes:
			t.Fatalf("event %d would not have been written: %+v", position, e)
		}
		ids[e.ID], before = true, e.RecordedAt
		types[e.Type]++
	}
	if rows.Err() != nil || int64(position) != h.events() || int64(len(patients)) != h.Patients {
		t.Errorf("%d events, %d patients, %v", position, len(patients), rows.Err())
	}
	if len(types) != 7 || types[events.PatientAmendedType] != 8*types[events.PatientRegisteredType] {
		t.Errorf("events are %v", types)
	}
	if n := amendments[1]; n < h.Amendments || n > h.Amendments+8 {
		t.Errorf("patient 1 has %d amendments", n)
	}
	for user := range h.owners() {
		n := 0
		for _, p := range patients {
			if p.OwnerID == user+1 {
				n++
			}
		}
		if n != patientsOfUser {
			t.Errorf("user %d has %d patients", user+1, n)
		}
	}
}

func set[T any](old *T, changed *T) {
	if changed != nil {
		*old = *changed
	}
}

// indexesOf lists all indexes of the log.
func indexesOf(t *testing.T, conn *pgx.Conn) (list string) {
	t.Helper()
	err := conn.QueryRow(t.Context(), `
		select string_agg(concat_ws(' ', pg_get_indexdef(i.indexrelid), c.reloptions, n.contype, n.conname, pg_get_constraintdef(n.oid)), e'\n' order by 1)
		from pg_index i join pg_class c on c.oid = i.indexrelid left join pg_constraint n on n.conindid = i.indexrelid
		where c.relnamespace = 'public'::regnamespace`).Scan(&list)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(t.Context()) })
	return conn
}

func newGrower(t *testing.T) *grower {
	t.Helper()
	o := options{Database: os.Getenv("CARELOG_TEST_DATABASE_URL"), Carelog: buildCarelog(t), LogLevel: "warn"}
	return &grower{options: growthOptions{options: o}, dir: t.TempDir(), admin: connect(t, o.Database), stderr: t.Output(), began: time.Now()}
}

func TestHistories(t *testing.T) {
	for events, want := range map[int64]history{
		1_000:      {Patients: 100, AtATime: 1, Amendments: 100},
		10_000:     {Patients: 1_000, AtATime: 10, Amendments: 500},
		29_999:     {Patients: 2_900, AtATime: 29, Amendments: 500},
		10_000_000: {Patients: 1_000_000, AtATime: 100, Amendments: 500},
	} {
		if got := historyOf(events, 500); got != want {
			t.Errorf("%d events: %+v", events, got)
		}
	}
}

// TestGrowth measures everything, for a moment.
func TestGrowth(t *testing.T) {
	program := buildCarelog(t)
	beProgram(t)
	dir := t.TempDir()
	stderr, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	var stdout bytes.Buffer
	err = execute(t.Context(), []string{"growth", "-events", "2000", "-small", "1000", "-amendments", "50", "-carelog", program,
		"-out", filepath.Join(dir, "growth"), "-rounds", "1", "-connections", "2", "-warmup", "5ms", "-duration", "100ms"}, nil, &stdout, stderr)
	told, readErr := os.ReadFile(stderr.Name())
	if err != nil || readErr != nil {
		t.Fatalf("%v, %v\n%s", err, readErr, told)
	}
	var report growthReport
	text, err := os.ReadFile(filepath.Join(dir, "growth.json"))
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil || report.table() != stdout.String() {
		t.Errorf("the table of the JSON is another: %v", err)
	}
	if len(report.cells()) != len(contests(50)) || len(report.Logs) != 3 {
		t.Errorf("%d cells, %d logs", len(report.cells()), len(report.Logs))
	}
	for _, m := range report.Runs {
		if m.P50 <= 0 || m.P99 < m.P50 || m.FromBus == 0 && m.Row != "get-any" && m.Row != "list-any" {
			t.Errorf("%+v", m)
		}
	}
	if _, err := os.Stat("/proc/self/status"); err == nil && report.Logs[0].Peak < 5 {
		t.Errorf("a rebuild with %.1f MiB", report.Logs[0].Peak)
	}
	if t.Failed() {
		t.Logf("%s\n%s", &stdout, told)
	}
}

func TestGrowthRequests(t *testing.T) {
	h := testHistory
	s := &stock{History: h, Doctors: []int64{70, 80, 90}, Owners: make([]string, h.owners())}
	for i := range s.Owners {
		s.Owners[i] = fmt.Sprint(i + 1)
	}
	last := map[string]string{}
	pairs := map[string]bool{}
	for serial := range 3 * (h.Patients - 1) {
		for _, r := range growthRows {
			path := string(r.path(nil, s, serial))
			if r.body != nil {
				body := string(r.body(nil, s, serial))
				if last[path] == body {
					t.Fatalf("%s %s again", path, body)
				}
				if last[path] = body; r.name == "map-any" {
					pairs[body] = true
				}
			}
			var patient int64
			if n, _ := fmt.Sscanf(path, patientsPath+"%d/", &patient); n == 1 && r.token(s, serial) != fmt.Sprint(h.owner(patient)) {
				t.Fatalf("%s asked by %s", path, r.token(s, serial))
			}
		}
	}
	if int64(len(pairs)) != 3*(h.Patients-1) {
		t.Errorf("%d pairs", len(pairs))
	}
}

func TestGrowthCommandLine(t *testing.T) {
	for args, want := range map[string]string{
		"-small 999":                      "1000 or more",
		"-events 2000":                    "not less",
		"-amendments 0":                   "more than 0",
		"-events 20000 -amendments 2001":  "a tenth",
		"-connections x -database x":      "not a number",
		"-rounds 0 -database x":           "more than 0",
		"-database postgres://x:/ -small": "argument",
	} {
		if _, err := parseGrowthOptions(strings.Fields(args), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestGrowthTable(t *testing.T) {
	r := &growthReport{Command: "make bench-growth", Date: "2026-01-02", Connections: []int{1, 8}, Amendments: 10_000, Logs: []grownLog{
		{Name: "tenth", Events: 1_000_000, Rebuild: 10, Peak: 40},
		{Name: grownName, Events: 10_000_000, Rebuild: 151, Peak: 56},
	}}
	for round := 1; round <= 3; round++ {
		for _, c := range contests(r.Amendments) {
			for _, connections := range r.Connections {
				if c.alone && connections > 1 {
					continue
				}
				for i, side := range c.sides {
					factor := 1 + float64(i*round)/4 // 1.25, 1.5, 1.75
					r.Runs = append(r.Runs, run{Round: round, Server: side.server, Row: side.row, Connections: connections, P50: factor, P99: 3 * factor * factor})
				}
			}
		}
	}
	table := r.table()
	for _, want := range []string{
		"\n| POST patient | 1 | 1.00 / 1.50 | **1.50** (1.25–1.75) | met | 3.0 / 6.8 | 2.25 (1.56–3.06) | missed |",
		"\n| PATCH of a patient with 10,000 amendments, against new patients | 1 | 1.00 / 1.50 |",
		"\n| grown | 10,000,000 | 0 | 0 | 0 | 151.0 | 66,225 | 56 |",
		"**1.51** times as long as one of the log that is a tenth as long (bar 1.5: missed)",
		"56 MiB at most, against 40 (bar 56: met)",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("without %q:\n%s", want, table)
		}
	}
}
