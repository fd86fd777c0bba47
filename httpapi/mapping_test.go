package httpapi

import (
	"testing"

	"github.com/carelog/carelog/commands"
)

func TestMappings(t *testing.T) {
	w := newWorld(t)
	bob := "Authorization: Bearer " + w.token(2)
	expect(t, w.do("GET", "/api/patients/mappings/", ""), 200, "["+mappingJSON+"]")
	expect(t, w.do("GET", "/api/patients/mappings/", "", bob), 200, "[]")
	expect(t, w.do("GET", "/api/patients/mappings/42/", ""), 200, "["+mappingJSON+"]")
	expect(t, w.do("GET", "/api/patients/mappings/42/", "", bob), 200, "[]")
	expect(t, w.do("GET", "/api/patients/mappings/43/", ""), 200, "[]")
	expect(t, w.do("GET", "/api/patients/mappings/99999999999999999999/", ""), 200, "[]")
	expect(t, w.do("POST", "/api/patients/mappings/", goodMapping), 201, mappingJSON)
	if want := (commands.MapDoctor{PatientID: 42, DoctorID: 5}); w.commands.got != want {
		t.Errorf("command %+v", w.commands.got)
	}
	expect(t, w.do("DELETE", "/api/patients/mappings/delete/9/", ""), 204, "")
	if w.commands.got != int64(9) {
		t.Errorf("command %+v", w.commands.got)
	}
	w.commands.err = commands.ErrNotFound
	expect(t, w.do("DELETE", "/api/patients/mappings/delete/9", ""), 404, `{"detail":"Not found."}`)
	w.commands.err = commands.ErrPairTaken
	expect(t, w.do("POST", "/api/patients/mappings/", goodMapping), 400, `{"non_field_errors":["The fields patient, doctor must make a unique set."]}`)
}

func TestMappingOfUnknownKeys(t *testing.T) {
	w := newWorld(t)
	for body, test := range map[string]struct {
		err  error
		want string
	}{
		`{"patient":9,"doctor":5}`:  {&commands.UnknownKeysError{Patient: true}, `{"patient":["Invalid pk \"9\" - object does not exist."]}`},
		`{"patient":42,"doctor":8}`: {&commands.UnknownKeysError{Doctor: true}, `{"doctor":["Invalid pk \"8\" - object does not exist."]}`},
		`{"patient":0,"doctor":-1}`: {&commands.UnknownKeysError{Patient: true, Doctor: true},
			`{"patient":["Invalid pk \"0\" - object does not exist."],"doctor":["Invalid pk \"-1\" - object does not exist."]}`},

		// One key is none: the other one is looked up without the command.
		`{"patient":9,"doctor":"x"}`: {nil,
			`{"patient":["Invalid pk \"9\" - object does not exist."],"doctor":["Incorrect type. Expected pk value, received str."]}`},
		`{"patient":42,"doctor":null}`: {nil, `{"doctor":["This field may not be null."]}`},
		`{"patient":true,"doctor":8}`: {nil,
			`{"patient":["Incorrect type. Expected pk value, received bool."],"doctor":["Invalid pk \"8\" - object does not exist."]}`},
		`{"doctor":5}`: {nil, `{"patient":["This field is required."]}`},
		`{}`:           {nil, `{"patient":["This field is required."],"doctor":["This field is required."]}`},
	} {
		w.commands.err, w.commands.got = test.err, nil
		expect(t, w.do("POST", "/api/patients/mappings/", body), 400, test.want)
		if (w.commands.got != nil) != (test.err != nil) {
			t.Errorf("%s: command %+v", body, w.commands.got)
		}
	}
}
