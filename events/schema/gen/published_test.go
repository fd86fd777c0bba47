package main

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/carelog/carelog/events"
)

// What was published stays as it is: this is the test that a change of an event without
// a new version fails.
func TestPublishedSchemasDoNotChange(t *testing.T) {
	made := mustGenerate(t)
	if err := broken(made.published, made.schemas); err != nil {
		t.Error(err)
	}
	if len(made.published) != len(made.schemas) {
		t.Errorf("%d schemas, of which %d are published", len(made.schemas), len(made.published))
	}
}

const wardFile = "ward.opened.v1.json"

// fixture are the schemas of an event that there is not, and of a CloudEvent.
func fixture() map[string]json.RawMessage {
	return map[string]json.RawMessage{
		wardFile: json.RawMessage(`{"$id": "urn:carelog:schema:ward.opened:v1", "title": "ward.opened.v1", "type": "object",
			"properties": {
				"ward_id": {"type": "integer", "minimum": 1},
				"name": {"type": "string", "description": "as people call it"},
				"title": {"type": "string"},
				"at": {"type": "string", "format": "date-time"},
				"beds": {"type": "array", "items": {"type": "integer", "description": "by number"}}
			},
			"required": ["ward_id", "name"], "minProperties": 3}`),
		envelopeFile: json.RawMessage(`{"$id": "urn:carelog:schema:cloudevent", "type": "object",
			"properties": {"id": {"type": "string", "minLength": 1}, "actor": {"type": "string"}, "data": {"type": "object"}},
			"required": ["id", "data"]}`),
	}
}

func mustPublish(t *testing.T, published map[string]any, schemas map[string]json.RawMessage) map[string]any {
	t.Helper()
	published = maps.Clone(published)
	if published == nil {
		published = map[string]any{}
	}
	if err := publish(published, schemas); err != nil {
		t.Fatal(err)
	}
	return published
}

func TestWhatBreaksSubscribers(t *testing.T) {
	published := mustPublish(t, nil, fixture())
	for name, c := range map[string]struct {
		file, old, new string
		want           string // in the error; none: subscribers do not mind
	}{
		"another type":              {wardFile, `"integer", "minimum"`, `"number", "minimum"`, `properties/ward_id/type was "integer" and is "number"`},
		"another name":              {wardFile, `"name": {`, `"label": {`, `properties/name was {"type":"string"} and is absent`},
		"a field more":              {wardFile, `"name": {`, `"floor": {"type": "string"}, "name": {`, "properties/floor was absent"},
		"a field called title less": {wardFile, `"title": {"type": "string"},`, ``, "properties/title was"},
		"no longer required":        {wardFile, `["ward_id", `, `[`, "required was"},
		"another limit":             {wardFile, `"minimum": 1`, `"minimum": 0`, "properties/ward_id/minimum was 1 and is 0"},
		"a format less":             {wardFile, `, "format": "date-time"`, ``, `properties/at/format was "date-time" and is absent`},
		"other items":               {wardFile, `"items": {"type": "integer"`, `"items": {"type": "string"`, `properties/beds/items/type was "integer" and is "string"`},
		"fewer properties":          {wardFile, `, "minProperties": 3`, ``, "minProperties was 3 and is absent"},
		"another $id":               {wardFile, `opened:v1"`, `opened:v2"`, "$id was"},
		"gone":                      {file: wardFile, want: "it is gone"},
		"attribute changed":         {envelopeFile, `"minLength": 1`, `"minLength": 2`, "properties/id/minLength was 1 and is 2"},
		"attribute required":        {envelopeFile, `["id", `, `["id", "actor", `, "required was"},
		"attribute restricted":      {envelopeFile, `"actor": {"type": "string"`, `"actor": {"type": "string", "pattern": "^user"`, `properties/actor/pattern was absent and is "^user"`},
		"attribute gone":            {envelopeFile, `"actor": {"type": "string"},`, ``, "properties/actor was"},
		"attribute added":           {envelopeFile, `"actor": {`, `"partition": {"type": "string"}, "actor": {`, ""},
		"other words":               {wardFile, `as people call it`, `on the door`, ""},
		"other words about items":   {wardFile, `by number`, `numbers`, ""},
		"words more":                {wardFile, `"ward_id": {`, `"ward_id": {"description": "drawn",`, ""},
		"another title":             {wardFile, `"title": "ward`, `"title": "Ward`, ""},
	} {
		schemas := fixture()
		before := string(schemas[c.file])
		schemas[c.file] = json.RawMessage(strings.Replace(before, c.old, c.new, 1))
		if c.old == "" {
			delete(schemas, c.file)
		} else if string(schemas[c.file]) == before || !json.Valid(schemas[c.file]) {
			t.Fatalf("%s: cannot change %q in %s", name, c.old, before)
		}
		err := broken(published, schemas)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		for _, want := range []string{c.file + ": " + c.want, "register the change as a new one, with an upcaster"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
		}
	}
}

// A new version of an event is a file more. That of the old version stays, in what is
// published and in the AsyncAPI document.
func TestNewVersions(t *testing.T) {
	schemas := fixture()
	published := mustPublish(t, nil, schemas)
	for _, version := range []string{"v2", "v10"} {
		schemas["ward.opened."+version+".json"] = json.RawMessage(`{"$id":"urn:carelog:schema:ward.opened:` + version + `"}`)
	}
	published = mustPublish(t, published, schemas)
	if err := broken(published, schemas); err != nil || published["ward.opened.v2.json"] == nil {
		t.Errorf("published %v, %v", published, err)
	}
	versions, err := versionsOf(schemas)
	if err != nil {
		t.Fatal(err)
	}
	text, err := encode(asyncAPI("", versions, schemas))
	if err != nil {
		t.Fatal(err)
	}
	channels := `"channels":{"ward.opened":{"address":"carelog.events.ward.opened","servers":[{"$ref":"#/servers/nats"}],"messages":{` +
		`"ward.opened.v1":{"$ref":"#/components/messages/ward.opened.v1"},` +
		`"ward.opened.v2":{"$ref":"#/components/messages/ward.opened.v2"},` +
		`"ward.opened.v10":{"$ref":"#/components/messages/ward.opened.v10"}}},"feed":{`
	if !strings.Contains(string(text), channels) {
		t.Errorf("the document is %s", text)
	}
}

func TestSchemaFilesHaveNamesOfVersions(t *testing.T) {
	got, err := versionsOf(map[string]json.RawMessage{"a.b.v2.json": nil, envelopeFile: nil})
	if want := (version{events.Type("a.b"), 2}); err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("versions %v, %v", got, err)
	}
	for _, name := range []string{"patient.json", "patient.registered.vx.json"} {
		if _, err := versionsOf(map[string]json.RawMessage{name: nil}); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
