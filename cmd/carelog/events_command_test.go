package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// writeStory does some of everything that is in the log. Its events are told in
// TestEventsCommand.
func writeStory(t *testing.T, server *running, config Config) {
	t.Helper()
	access, _ := server.register(t, "John \u202eDoe", "john@example.com", oldPassword)
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	server.mustAs(t, access, "POST", "/api/doctors/", someDoctor, 201)
	server.mustAs(t, access, "POST", "/api/patients/mappings/", `{"patient":1,"doctor":1}`, 201)
	server.mustAs(t, access, "PATCH", "/api/patients/1/", `{"last_name":"Jones \u009b \"x\"","age":31}`, 200)
	server.mustAs(t, access, "DELETE", "/api/doctors/1/", "", 204)
	expectCarelog(t, config, "", "user 1 is disabled\n", "users", "disable", "1")
}

const someDoctor = `{"first_name":"Sarah","last_name":"Johnson","specialization":"Cardiology","email":"sarah@example.com","phone":"+1234567890"}`

// listed is an event as `carelog events --json` writes it.
type listed struct {
	Position      int64           `json:"position"`
	ID            string          `json:"id"`
	Type          string          `json:"type"`
	SchemaVersion int             `json:"schema_version"`
	Subject       string          `json:"subject"`
	Tags          []string        `json:"tags"`
	RecordedAt    time.Time       `json:"recorded_at"`
	Actor         map[string]any  `json:"actor"`
	CorrelationID *string         `json:"correlation_id"`
	CausationID   *string         `json:"causation_id"`
	RequestID     *string         `json:"request_id"`
	Data          json.RawMessage `json:"data"`
}

// decodeLines decodes JSON values on lines, which must have these fields alone.
func decodeLines[T any](t *testing.T, text string) (values []T) {
	t.Helper()
	for line := range strings.Lines(text) {
		var value T
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&value); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		values = append(values, value)
	}
	return values
}

// listEvents runs `carelog events --json`, which must succeed.
func listEvents(t *testing.T, config Config, args ...string) []listed {
	t.Helper()
	got := runCarelog(t, config, "", append([]string{"events", "--json"}, args...)...)
	if got.status != 0 || got.stderr != "" {
		t.Fatalf("events %s: %+v", strings.Join(args, " "), got)
	}
	return decodeLines[listed](t, got.stdout)
}

func TestEventsCommand(t *testing.T) {
	config := databaseConfig(t)
	writeStory(t, start(t, config), config)
	all := listEvents(t, config)
	var types []string
	for i, e := range all {
		if e.Position != int64(i+1) {
			t.Errorf("event %d has position %d", i, e.Position)
		}
		types = append(types, e.Type+" "+e.Subject)
	}
	if want := []string{"user.registered user/1", "patient.registered patient/1", "doctor.registered doctor/1", "mapping.created mapping/1",
		"patient.amended patient/1", "doctor.removed doctor/1", "mapping.removed mapping/1", "user.disabled user/1"}; !slices.Equal(types, want) {
		t.Fatalf("the events are %v", types)
	}
	operator := map[string]any{"tool": "carelog users", "operator": operatorName()}
	if !reflect.DeepEqual(all[7].Actor, operator) || !reflect.DeepEqual(all[4].Actor, map[string]any{"user_id": 1.0}) {
		t.Errorf("the actors are %v and %v", all[7].Actor, all[4].Actor)
	}
	cause := all[6].CausationID
	if cause == nil || *cause != all[5].ID || all[5].CausationID != nil || all[5].RequestID == nil || *all[5].CorrelationID != *all[6].CorrelationID {
		t.Errorf("a removal and what follows from it: %+v, %+v", all[5], all[6])
	}
	var data, tags string
	if err := tryQuery(t.Context(), config.DatabaseURL, `select data::text from events where position = 5`, &data); err != nil {
		t.Fatal(err)
	}
	if err := tryQuery(t.Context(), config.DatabaseURL, `select array_to_string(tags, ' ') from events where position = 5`, &tags); err != nil {
		t.Fatal(err)
	}
	if !equalJSON(t, data, string(all[4].Data)) || tags != strings.Join(all[4].Tags, " ") || all[4].SchemaVersion != 1 {
		t.Errorf("the log has %s and %s, and %+v was listed", data, tags, all[4])
	}
	if raw := runCarelog(t, config, "", "events", "--json").stdout; strings.ContainsAny(raw, "\u202e\u009b") {
		t.Error("control characters are not escaped")
	}

	at := func(i int) string { return all[i-1].RecordedAt.Format(time.RFC3339Nano) }
	for args, want := range map[string][]int64{
		"--tag patient:1":                        {2, 4, 5, 7},
		"--tag patient:1 --tag doctor:1":         {4, 7},
		"--tag owner:1 --tag doctor:1":           {4, 7},
		"--tag patient:1 --type patient":         {2, 5},
		"--tag patient:2":                        nil,
		"--type patient.amended":                 {5},
		"--type patient":                         {2, 5},
		"--type patient.amended --type doctor":   {3, 5, 6},
		"--actor 1":                              {1, 2, 3, 4, 5, 6, 7},
		"--actor 2":                              nil,
		"--actor " + operatorName():              {8},
		"--since 7":                              {7, 8},
		"--since 9":                              nil,
		"--until 2":                              {1, 2},
		"--since 3 --until 3":                    {3},
		"--since " + at(3) + " --until " + at(5): {3, 4, 5},
		"--until 2001-01-31":                     nil,
		"--since 2001-01-31 --limit 2":           {1, 2},
		"--limit 3 --actor 1 --type doctor":      {3, 6},
		"--limit 1 --follow --tag mapping:1":     {4},
		"--since 2 --limit 3 --follow --actor 1": {2, 3, 4},
	} {
		var got []int64
		for _, e := range listEvents(t, config, strings.Fields(args)...) {
			got = append(got, e.Position)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v instead of %v", args, got, want)
		}
	}
	if got := listEvents(t, config, "--actor", "carelog users"); len(got) != 1 || got[0].Position != 8 {
		t.Errorf("of a tool: %+v", got)
	}

	table := runCarelog(t, config, "", "events").stdout
	want := fmt.Sprintf("POSITION  TIME                         TYPE                   SUBJECT         ACTOR\n"+
		"1         %s  user.registered        user/1          user/1\n", timeText(all[0].RecordedAt))
	if last := fmt.Sprintf("user.disabled          user/1          %s (carelog users)\n", operatorName()); !strings.HasPrefix(table, want) || !strings.HasSuffix(table, last) {
		t.Errorf("the table:\n%s", table)
	}
}

func equalJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var first, second any
	if err := errors.Join(json.Unmarshal([]byte(a), &first), json.Unmarshal([]byte(b), &second)); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(first, second)
}

// TestDatesAreLocal: a date is the midnight of the machine's time zone.
func TestDatesAreLocal(t *testing.T) {
	var m moment
	for text, want := range map[string]time.Time{
		"2026-01-31":                     time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
		"2026-01-31T08:30:00.5+02:00":    time.Date(2026, 1, 31, 6, 30, 0, 5e8, time.UTC),
		"2026-01-31T08:30:00.123456789Z": time.Date(2026, 1, 31, 8, 30, 0, 123456789, time.UTC),
	} {
		if err := m.Set(text); err != nil || !m.time.Equal(want) || m.position != 0 {
			t.Errorf("%s: %v, %+v", text, err, m)
		}
	}
	if err := m.Set("42"); err != nil || m.position != 42 {
		t.Errorf("a position: %v, %+v", err, m)
	}
}

func TestMistakesInEventsCommand(t *testing.T) {
	config := databaseConfig(t)
	writeStory(t, start(t, config), config)
	tomorrow := time.Now().Add(24 * time.Hour).Format(time.RFC3339)
	for args, want := range map[string]string{
		"now":                             `unknown command "now" for "carelog events"`,
		"--tag patient/1":                 `--tag: "patient/1" is no tag: write name:value, as patient:42`,
		"--tag patient:":                  `--tag: "patient:" is no tag`,
		"--type pateint":                  `--type: there is no type of events "pateint"; there are patient, doctor, mapping, user, log, doctor.amended`,
		"--type patient.died":             `--type: there is no type of events "patient.died"`,
		"--actor 0":                       "--actor: the ids of users begin with 1",
		"--since 0":                       "positions begin with 1",
		"--since yesterday":               "write a position, a date as 2026-01-31, or a time as 2026-01-31T08:30:00Z",
		"--since 10":                      "the log ends at position 8, before 10",
		"--until 9":                       "the log ends at position 8, before 9",
		"--until " + tomorrow:             tomorrow + " is in the future",
		"--since " + tomorrow:             tomorrow + " is in the future",
		"--since 5 --until 3":             "--until is before --since",
		"--follow --until 3":              "--follow has no end: leave out --until",
		"--limit -1":                      "--limit: write a number of events",
		"--limit 99999999999999999999999": `invalid argument`,
	} {
		got := runCarelog(t, config, "", append([]string{"events"}, strings.Fields(args)...)...)
		if got.status != exitUsage || got.stdout != "" || !strings.Contains(got.stderr, want) || strings.Count(got.stderr, "\n") != 2 ||
			!strings.HasSuffix(got.stderr, "See `carelog events --help`.\n") {
			t.Errorf("%s: %+v", args, got)
		}
	}
}
