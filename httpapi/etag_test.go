package httpapi

import (
	"reflect"
	"strings"
	"testing"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/events"
)

// testPatient's last event is at 6, testDoctor's at 3.
func TestEntityTags(t *testing.T) {
	w := newWorld(t)
	for request, want := range map[string]string{
		"GET /api/patients/42/ ":                      `"6"`,
		"HEAD /api/patients/42/ ":                     `"6"`,
		"POST /api/patients/ " + goodPatient:          `"6"`,
		"PUT /api/patients/42/ " + goodPatient:        `"6"`,
		"PATCH /api/patients/42/ {}":                  `"6"`,
		"GET /api/doctors/5/ ":                        `"3"`,
		"HEAD /api/doctors/5/ ":                       `"3"`,
		"POST /api/doctors/ " + goodDoctor:            `"3"`,
		"PUT /api/doctors/5/ " + goodDoctor:           `"3"`,
		"PATCH /api/doctors/5/ {}":                    `"3"`,
		"GET /api/patients/ ":                         "",
		"GET /api/patients/?limit=1 ":                 "",
		"GET /api/patients/43/ ":                      "",
		"DELETE /api/patients/42/ ":                   "",
		"PATCH /api/patients/42/ {":                   "",
		"GET /api/patients/mappings/ ":                "",
		"POST /api/patients/mappings/ " + goodMapping: "",
		"OPTIONS /api/patients/42/ ":                  "",
	} {
		parts := strings.SplitN(request, " ", 3)
		if got := w.do(parts[0], parts[1], parts[2]).Header().Get("ETag"); got != want {
			t.Errorf("%s: ETag %s, want %s", request, got, want)
		}
	}
}

func TestIfNoneMatch(t *testing.T) {
	w := newWorld(t)
	for header, status := range map[string]int{
		`"6"`:             304,
		`W/"6"`:           304, // weak comparison
		`*`:               304,
		` * `:             304,
		`"1", W/"2" ,"6"`: 304,
		`"a,b",,"6",`:     304,
		`"3"`:             200,
		`"06"`:            200,
		`"+6"`:            200,
		`6`:               200,
		`w/"6"`:           200,
		`"6`:              200,
		`"6" "7"`:         200,
		`"6", *`:          200, // not a list of tags
		"\"6\", \"\x00\"": 200,
		``:                200,
	} {
		for _, method := range []string{"GET", "HEAD"} {
			answer := w.do(method, "/api/patients/42/", "", "If-None-Match: "+header)
			h := answer.Header()
			if answer.Code != status || h.Get("ETag") != `"6"` {
				t.Errorf("%s, If-None-Match: %s: %d, ETag %s", method, header, answer.Code, h.Get("ETag"))
			}
			if status == 304 && (answer.Body.Len() > 0 || h.Get("Content-Type") != "" || h.Get("Content-Length") != "" || h.Get("Vary") != "Accept" || h.Get("Cache-Control") == "") {
				t.Errorf("304 with %q, %v", answer.Body, h)
			}
		}
	}
	if answer := w.do("GET", "/api/doctors/5/", "", `If-None-Match: "3"`); answer.Code != 304 {
		t.Errorf("a doctor: %d", answer.Code)
	}
	// It hides nothing else, and counts for single records only.
	expect(t, w.do("GET", "/api/patients/43/", "", `If-None-Match: *`), 404, `{"detail":"Not found."}`)
	expect(t, w.do("GET", "/api/patients/42/", "", nobody, `If-None-Match: *`), 401, unauthenticated)
	expect(t, w.do("GET", "/api/doctors/", "", `If-None-Match: *`), 200, "["+doctorJSON+"]")
	expect(t, w.do("PATCH", "/api/patients/42/", "{}", `If-None-Match: "6"`), 200, patientJSON)
}

// What the commands are given of If-Match.
func TestIfMatch(t *testing.T) {
	only := func(positions ...events.Position) commands.IfMatch {
		return commands.IfMatch{Given: true, Positions: positions}
	}
	for header, want := range map[string]commands.IfMatch{
		`"6"`:                   only(6),
		`"6","7", W/"8"`:        only(6, 7), // strong comparison
		`W/"6"`:                 only(),
		`"abc"`:                 only(),
		`"é"`:                   only(),
		`""`:                    only(),
		`"06", "+6"`:            only(),
		`"9223372036854775808"`: only(),
		`*`:                     {},
	} {
		for _, test := range []struct {
			method, path, body string
			got                func(any) commands.IfMatch
		}{
			{"PUT", "/api/patients/42/", goodPatient, func(c any) commands.IfMatch { return c.(commands.AmendPatient).IfMatch }},
			{"PATCH", "/api/patients/42/", "{}", func(c any) commands.IfMatch { return c.(commands.AmendPatient).IfMatch }},
			{"DELETE", "/api/patients/42/", "", func(c any) commands.IfMatch { return c.(commands.RemovePatient).IfMatch }},
			{"PUT", "/api/doctors/5/", goodDoctor, func(c any) commands.IfMatch { return c.(commands.AmendDoctor).IfMatch }},
			{"PATCH", "/api/doctors/5/", "{}", func(c any) commands.IfMatch { return c.(commands.AmendDoctor).IfMatch }},
			{"DELETE", "/api/doctors/5/", "", func(c any) commands.IfMatch { return c.(commands.RemoveDoctor).IfMatch }},
		} {
			w := newWorld(t)
			w.do(test.method, test.path, test.body, "If-Match: "+header)
			if got := test.got(w.commands.got); !reflect.DeepEqual(got, want) {
				t.Errorf("%s %s, If-Match: %s: %+v, want %+v", test.method, test.path, header, got, want)
			}
		}
	}
}

func TestIfMatchThatCannotBeRead(t *testing.T) {
	for _, header := range []string{``, ` `, `,`, `6`, `"6`, `6"`, `"6" "7"`, `"6";"7"`, `w/"6"`, `W/6`, `W/`, `*, "6"`, `"6", *`, `**`, `"a b"`} {
		for _, request := range []string{"PUT /api/patients/42/", "PATCH /api/doctors/5/", "DELETE /api/patients/43/", "DELETE /api/doctors/5/"} {
			method, path, _ := strings.Cut(request, " ")
			w := newWorld(t)
			expect(t, w.do(method, path, "{}", "If-Match: "+header), 400, `{"detail":"If-Match is not a list of entity tags."}`)
			if w.commands.got != nil {
				t.Errorf("If-Match: %s: command %+v", header, w.commands.got)
			}
		}
	}
}

// The command tells that the precondition failed; with a body that makes no
// command, the read tables do.
func TestPreconditionFailed(t *testing.T) {
	const failed = `{"detail":"The record's ETag is none of those in If-Match."}`
	w := newWorld(t)
	for _, body := range []string{"{", "[]", `{"age":"x","email":""}`} {
		expect(t, w.do("PATCH", "/api/patients/42/", body, `If-Match: "5"`), 412, failed)
		expect(t, w.do("PUT", "/api/doctors/5/", body, `If-Match: "5"`), 412, failed)
		if answer := w.do("PATCH", "/api/patients/42/", body, `If-Match: "6"`); answer.Code != 400 {
			t.Errorf("%s: %d", body, answer.Code)
		}
		if answer := w.do("PUT", "/api/doctors/5/", body, `If-Match: *`); answer.Code != 400 {
			t.Errorf("%s: %d", body, answer.Code)
		}
	}
	w.commands.err = commands.ErrPreconditionFailed
	for _, request := range []string{"PUT /api/patients/42/ " + goodPatient, "PATCH /api/doctors/5/ {}", "DELETE /api/patients/42/ ", "DELETE /api/doctors/5/ "} {
		parts := strings.SplitN(request, " ", 3)
		answer := w.do(parts[0], parts[1], parts[2], `If-Match: "1"`)
		expect(t, answer, 412, failed)
		if h := answer.Header(); h.Get("Carelog-Position") != "7" || h.Get("ETag") != "" {
			t.Errorf("%s: %v", request, h)
		}
	}
}

// Mappings have no entity tags.
func TestIfMatchOfMappingsIsNotLookedAt(t *testing.T) {
	w := newWorld(t)
	expect(t, w.do("DELETE", "/api/patients/mappings/delete/9/", "", `If-Match: x`), 204, "")
	expect(t, w.do("POST", "/api/patients/mappings/", goodMapping, `If-Match: "1"`), 201, mappingJSON)
}
