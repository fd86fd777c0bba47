package main

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

func TestWhatBreaksSubscribers(t *testing.T) {
	const registered, amended = "patient.registered.v1.json", "patient.amended.v1.json"
	made := mustGenerate(t)
	for name, c := range map[string]struct {
		file, old, new string
		want           string // in the error; none: subscribers do not mind
	}{
		"another type":            {registered, `"type": "integer"`, `"type": "number"`, `properties/patient_id/type was "integer" and is "number"`},
		"another name":            {registered, `"first_name": {`, `"given_name": {`, `properties/first_name was {"type":"string"} and is absent`},
		"a field more":            {registered, `"first_name": {`, `"middle_name": {"type": "string"}, "first_name": {`, "properties/middle_name was absent"},
		"a field called title":    {registered, `"first_name": {`, `"title": {"type": "string"}, "first_name": {`, "properties/title was absent"},
		"no longer required":      {registered, `"patient_id",`, ``, "required was"},
		"another limit":           {registered, `"minimum": 0`, `"minimum": 1`, "properties/age/minimum was 0 and is 1"},
		"a format less":           {registered, `"format": "date-time",`, ``, `properties/created_at/format was "date-time" and is absent`},
		"an amendment of nothing": {amended, `"minProperties": 3,`, ``, "minProperties was 3 and is absent"},
		"another $id":             {registered, `registered:v1"`, `registered:v2"`, "$id was"},
		"gone":                    {file: registered, want: "is gone"},
		"attribute changed":       {envelopeFile, `"minLength": 1`, `"minLength": 2`, "minLength was 1 and is 2"},
		"attribute required":      {envelopeFile, `"position",`, `"position", "actor",`, "required was"},
		"attribute added":         {envelopeFile, `"actor": {`, `"partition": {"type": "string"}, "actor": {`, ""},
		"other words":             {registered, `"description": "years"`, `"description": "whole years"`, ""},
		"a word more":             {registered, `"first_name": {`, `"first_name": {"description": "as given",`, ""},
		"another title":           {registered, `"title": "patient`, `"title": "Patient`, ""},
	} {
		schemas := maps.Clone(made.schemas)
		changed := strings.Replace(string(schemas[c.file]), c.old, c.new, 1)
		schemas[c.file] = json.RawMessage(changed)
		if c.old == "" {
			delete(schemas, c.file)
		} else if changed == string(made.schemas[c.file]) || !json.Valid(schemas[c.file]) {
			t.Fatalf("%s: cannot change %q of %s", name, c.old, changed)
		}
		err := broken(made.published, schemas)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.file) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "register the change as a new one")):
			t.Errorf("%s: %v", name, err)
		}
	}
}
