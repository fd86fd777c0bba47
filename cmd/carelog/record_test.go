package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestHistoryCommand tells who changed what, to people and to programs.
func TestHistoryCommand(t *testing.T) {
	config := databaseConfig(t)
	server := start(t, config)
	writeStory(t, server, config)
	times := map[int]string{}
	for _, e := range listEvents(t, config) {
		times[int(e.Position)] = timeText(e.RecordedAt)
	}
	row := func(position int, of, subject, actor string) string {
		return fmt.Sprintf("%-8d  %s  %-21s  %-14s  %s\n", position, times[position], of, subject, actor)
	}
	head := "POSITION  TIME                         TYPE                   SUBJECT         ACTOR\n"
	john := "user/1 John \ufffdDoe"
	expectCarelog(t, config, "", head+
		row(2, "patient.registered", "patient/1", john)+
		"          first_name: → \"Alice\"\n          last_name: → \"Smith\"\n          age: → 30\n          gender: → \"Female\"\n"+
		row(4, "mapping.created", "mapping/1", john)+
		"          patient: → 1\n          doctor: → 1\n"+
		row(5, "patient.amended", "patient/1", john)+
		"          last_name: \"Smith\" → \"Jones \\u009b \\\"x\\\"\"\n          age: 30 → 31\n"+
		row(7, "mapping.removed", "mapping/1", john)+
		"          patient: 1 →\n          doctor: 1 →\n",
		"history", "patient", "1")
	expectCarelog(t, config, "", head+
		row(1, "user.registered", "user/1", john)+
		"          name: → \"John \\u202eDoe\"\n          email: → \"john@example.com\"\n          active: → true\n          roles: → []\n"+
		row(8, "user.disabled", "user/1", operatorName()+" (carelog users)")+
		"          active: true → false\n",
		"history", "user/1")

	type entry struct {
		Position      int64                             `json:"position"`
		ID            string                            `json:"id"`
		Type          string                            `json:"type"`
		Subject       string                            `json:"subject"`
		RecordedAt    time.Time                         `json:"recorded_at"`
		Actor         map[string]any                    `json:"actor"`
		CorrelationID *string                           `json:"correlation_id"`
		CausationID   *string                           `json:"causation_id"`
		RequestID     *string                           `json:"request_id"`
		Changes       map[string]struct{ Old, New any } `json:"changes"`
	}
	entries := decodeLines[entry](t, runCarelog(t, config, "", "history", "mapping", "1", "--json").stdout)
	if len(entries) != 2 || entries[1].Position != 7 || entries[1].CausationID == nil || entries[1].RequestID == nil ||
		!reflect.DeepEqual(entries[1].Actor, map[string]any{"id": 1.0, "name": "John \u202eDoe"}) ||
		entries[1].Changes["doctor"] != (struct{ Old, New any }{1.0, nil}) {
		t.Errorf("%+v", entries)
	}
	entries = decodeLines[entry](t, runCarelog(t, config, "", "history", "user", "1", "--json").stdout)
	if len(entries) != 2 || !reflect.DeepEqual(entries[1].Actor, map[string]any{"tool": "carelog users", "operator": operatorName()}) ||
		entries[1].Changes["active"] != (struct{ Old, New any }{true, false}) || entries[1].CausationID != nil {
		t.Errorf("%+v", entries)
	}
	// The API tells the same.
	access, _ := server.register(t, "Jane Doe", "jane@example.com", oldPassword)
	server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	server.mustAs(t, access, "PATCH", "/api/patients/2/", `{"age":32}`, 200)
	var page struct{ Results []any }
	if err := json.Unmarshal(server.mustAs(t, access, "GET", "/api/patients/2/history/", "", 200).body, &page); err != nil {
		t.Fatal(err)
	}
	if told := decodeLines[any](t, runCarelog(t, config, "", "history", "patient", "2", "--json").stdout); !reflect.DeepEqual(page.Results, told) || len(told) != 2 {
		t.Errorf("the API has\n%v\nand the command\n%v", page.Results, told)
	}
}

// TestAHistoryOfManyPages is told in order, with old values over the ends of pages.
func TestAHistoryOfManyPages(t *testing.T) {
	config := databaseConfig(t)
	const n = historyPage + 2_000
	runSQL(t, config.DatabaseURL, fmt.Sprintf(`
		insert into events select n, gen_random_uuid(), case n when 1 then 'doctor.registered' else 'doctor.amended' end, 1, array['doctor:1'],
		    case n when 1 then json_build_object('doctor_id', 1, 'first_name', '1') else json_build_object('doctor_id', 1, 'first_name', n::text) end,
		    '{}', '', now() from generate_series(1, %d) n;
		insert into event_tags select tags[1], type, position from events`, n))
	position := 0
	for line := range strings.Lines(runCarelog(t, config, "", "history", "doctor", "1", "--json").stdout) {
		position++
		want := fmt.Sprintf(`"changes":{"first_name":{"old":"%d","new":"%d"}}}`, position-1, position)
		if position > 1 && !strings.HasSuffix(line, want+"\n") || !strings.HasPrefix(line, fmt.Sprintf(`{"position":%d,`, position)) {
			t.Fatalf("%s where %s was expected", line, want)
		}
	}
	if position != n {
		t.Errorf("%d of %d events", position, n)
	}
}

// TestShowCommand shows records as they are and were.
func TestShowCommand(t *testing.T) {
	config := databaseConfig(t)
	server := start(t, config)
	writeStory(t, server, config)
	all := listEvents(t, config)
	at := func(i int) string { return all[i-1].RecordedAt.Format(time.RFC3339Nano) }
	for args, want := range map[string]string{
		"patient 1 --as-of 2":        `{"id":1,"first_name":"Alice","last_name":"Smith","age":30,"gender":"Female","created_at":"*","added_by":1}`,
		"patient/1 --as-of " + at(4): `{"id":1,"first_name":"Alice","last_name":"Smith","age":30,"gender":"Female","created_at":"*","added_by":1}`,
		"patient 1 --as-of 5":        `{"id":1,"first_name":"Alice","last_name":"Jones \u009b \"x\"","age":31,"gender":"Female","created_at":"*","added_by":1}`,
		"patient 1":                  `{"id":1,"first_name":"Alice","last_name":"Jones \u009b \"x\"","age":31,"gender":"Female","created_at":"*","added_by":1}`,
		"doctor 1 --as-of " + at(5):  `{"id":1,"first_name":"Sarah","last_name":"Johnson","specialization":"Cardiology","email":"sarah@example.com","phone":"+1234567890","created_at":"*"}`,
		"mapping 1 --as-of 4":        `{"id":1,"patient":1,"doctor":1,"patient_name":"Alice Smith","doctor_name":"Sarah Johnson","assigned_at":"*"}`,
		"mapping 1 --as-of 5":        `{"id":1,"patient":1,"doctor":1,"patient_name":"Alice Jones \u009b \"x\"","doctor_name":"Sarah Johnson","assigned_at":"*"}`,
		"user 1 --as-of 7":           `"active":true`,
		"user 1":                     `"active":false`,
	} {
		got := runCarelog(t, config, "", append([]string{"show", "--json"}, strings.Fields(args)...)...)
		before, after, _ := strings.Cut(want, "*")
		if got.status != 0 || got.stderr != "" || strings.Count(got.stdout, "\n") != 1 || !strings.Contains(got.stdout, before) || !strings.Contains(got.stdout, after) {
			t.Errorf("%s: %+v", args, got)
		}
	}
	text := runCarelog(t, config, "", "show", "patient", "1").stdout
	if want := "id          1\nfirst_name  Alice\nlast_name   Jones \ufffd \"x\"\nage         31\ngender      Female\ncreated_at  20"; !strings.HasPrefix(text, want) || !strings.HasSuffix(text, "Z\nadded_by    1\n") {
		t.Errorf("for people:\n%s", text)
	}
}

// TestDiffCommand compares records at two moments.
func TestDiffCommand(t *testing.T) {
	config := databaseConfig(t)
	server := start(t, config)
	writeStory(t, server, config)
	all := listEvents(t, config)
	notYet := "doctor/1 was not there yet at position 2: doctor.registered is at position 3, " + timeText(all[2].RecordedAt) + "\n"
	gone := "doctor/1 was not there any more at position 8: doctor.removed is at position 6, " + timeText(all[5].RecordedAt) + "\n"
	for args, want := range map[string]struct {
		status int
		stdout string
	}{
		"patient 1 --from 2":                {exitDiffers, "last_name: \"Smith\" → \"Jones \\u009b \\\"x\\\"\"\nage: 30 → 31\n"},
		"patient 1 --from 2 --to 4":         {0, ""},
		"patient 1 --from 5 --to 5":         {0, ""},
		"mapping 1 --from 4 --to 5":         {exitDiffers, "patient_name: \"Alice Smith\" → \"Alice Jones \\u009b \\\"x\\\"\"\n"},
		"user/1 --from 1 --to 8":            {exitDiffers, "active: true → false\n"},
		"doctor 1 --from 2 --to 3":          {exitDiffers, notYet + "id: → 1\nfirst_name: → \"Sarah\"\n"},
		"doctor 1 --from 2001-01-31 --to 3": {exitDiffers, strings.Replace(notYet, "at position 2", "before the first event", 1) + "id: → 1\n"},
		"doctor 1 --from 3":                 {exitDiffers, gone + "id: 1 →\nfirst_name: \"Sarah\" →\n"},
	} {
		got := runCarelog(t, config, "", append([]string{"diff"}, strings.Fields(args)...)...)
		whole := want.stdout == "" || !strings.Contains(want.stdout, "id:")
		if got.status != want.status || got.stderr != "" || !strings.HasPrefix(got.stdout, want.stdout) || whole && got.stdout != want.stdout {
			t.Errorf("%s: %+v", args, got)
		}
	}
	got := runCarelog(t, config, "", "diff", "user", "1", "--from", all[0].RecordedAt.Format(time.RFC3339Nano), "--json")
	if want := `{"subject":"user/1","from":{"position":1,"there":true},"to":{"position":8,"there":true},"changes":{"active":{"old":true,"new":false}}}` + "\n"; got != (exited{exitDiffers, want, ""}) {
		t.Errorf("%+v", got)
	}
	got = runCarelog(t, config, "", "diff", "patient", "1", "--from", "2", "--to", "3", "--json")
	if want := `{"subject":"patient/1","from":{"position":2,"there":true},"to":{"position":3,"there":true},"changes":{}}` + "\n"; got != (exited{0, want, ""}) {
		t.Errorf("%+v", got)
	}
}

// TestRecordsThatAreNotThere: what names none is told in words, with a status of its
// own.
func TestRecordsThatAreNotThere(t *testing.T) {
	config := databaseConfig(t)
	writeStory(t, start(t, config), config)
	all := listEvents(t, config)
	when := func(i int) string { return timeText(all[i-1].RecordedAt) }
	for args, want := range map[string]struct {
		status int
		stderr string
	}{
		"history patient 9":                 {exitNotFound, "there is no patient/9, and there never was"},
		"show mapping 9":                    {exitNotFound, "there is no mapping/9, and there never was"},
		"diff user 9 --from 1":              {exitNotFound, "there is no user/9, and there never was"},
		"show patient 1 --as-of 1":          {exitNotFound, "patient/1 was not there yet at position 1: patient.registered is at position 2, " + when(2)},
		"show user 1 --as-of 2001-01-31":    {exitNotFound, "user/1 was not there yet before the first event: user.registered is at position 1, " + when(1)},
		"show doctor 1":                     {exitNotFound, "doctor/1 was not there any more at position 8: doctor.removed is at position 6, " + when(6)},
		"show mapping 1 --as-of 6":          {exitNotFound, "mapping/1 was not there any more at position 6: mapping.removed is at position 7, " + when(7)},
		"diff doctor 1 --from 1 --to 2":     {exitNotFound, "doctor/1 was not there yet at position 1"},
		"diff doctor 1 --from 2":            {exitNotFound, "; doctor/1 was not there any more at position 8"},
		"show patient 1 --as-of 9":          {exitUsage, "the log ends at position 8, before 9"},
		"show patient 1 --as-of 2999-01-31": {exitUsage, "2999-01-31 is in the future"},
		"show patient 1 --as-of then":       {exitUsage, "write a position, a date"},
		"show patient":                      {exitUsage, "name one record, as patient 42"},
		"show patient one":                  {exitUsage, `"one" is no id: ids are 1, 2, 3 …`},
		"show patient 0":                    {exitUsage, `"0" is no id`},
		"history nurse 1":                   {exitUsage, `there is no kind of record "nurse"; there are patient, doctor, mapping, user`},
		"history patient 1 2":               {exitUsage, "name one record, as patient 42"},
		"diff patient 1":                    {exitUsage, "say with --from what to compare with"},
		"diff patient 1 --from 5 --to 2":    {exitUsage, "--from is position 5, and --to is 2, before it"},
		"diff patient 1 --from 5 --to 99":   {exitUsage, "the log ends at position 8, before 99"},
	} {
		got := runCarelog(t, config, "", strings.Fields(args)...)
		lines := 1
		if want.status == exitUsage {
			lines = 2 // and where help is
		}
		if got.status != want.status || got.stdout != "" || !strings.Contains(got.stderr, want.stderr) || strings.Count(got.stderr, "\n") != lines {
			t.Errorf("%s: %+v", args, got)
		}
	}
}
