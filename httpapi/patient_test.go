package httpapi

import (
	"reflect"
	"testing"

	"github.com/carelog/carelog/commands"
)

func TestPatients(t *testing.T) {
	w := newWorld(t)
	expect(t, w.do("GET", "/api/patients/", ""), 200, "["+patientJSON+","+patientJSON+"]")
	expect(t, w.do("GET", "/api/patients/42/", ""), 200, patientJSON)
	expect(t, w.do("GET", "/api/patients/042", ""), 200, patientJSON)
	expect(t, w.do("POST", "/api/patients/", goodPatient), 201, patientJSON)
	expect(t, w.do("PUT", "/api/patients/42/", goodPatient), 200, patientJSON)
	expect(t, w.do("PATCH", "/api/patients/42/", "{}"), 200, patientJSON)
	expect(t, w.do("DELETE", "/api/patients/42/", ""), 204, "")
}

// What a handler asks of the commands, and as whom.
func TestPatientCommands(t *testing.T) {
	text, age := func(s string) *string { return &s }, 31
	for _, test := range []struct {
		method, path, body string
		want               any
	}{
		{"POST", "/api/patients/", `{"first_name":" Al ","last_name":"Bo","age":"7","gender":"Male","id":9,"added_by":2}`,
			commands.RegisterPatient{FirstName: "Al", LastName: "Bo", Age: 7, Gender: "Male"}},
		{"PUT", "/api/patients/42/", `{"first_name":"Al","last_name":"Bo","age":31,"gender":"Other"}`,
			commands.AmendPatient{ID: 42, FirstName: text("Al"), LastName: text("Bo"), Age: &age, Gender: text("Other")}},
		{"PATCH", "/api/patients/42/", `{"age":31}`, commands.AmendPatient{ID: 42, Age: &age}},
		{"PATCH", "/api/patients/99999999999999999999/", `{}`, commands.AmendPatient{}},
		{"DELETE", "/api/patients/43/", ``, commands.RemovePatient{ID: 43}},
	} {
		w := newWorld(t)
		w.do(test.method, test.path, test.body, "X-Request-Id: r-1")
		if !reflect.DeepEqual(w.commands.got, test.want) {
			t.Errorf("%s %s: command %+v, want %+v", test.method, test.path, w.commands.got, test.want)
		}
		if want := (commands.Caller{UserID: 1, CorrelationID: "r-1", RequestID: "r-1"}); w.commands.caller != want {
			t.Errorf("%s %s: caller %+v", test.method, test.path, w.commands.caller)
		}
	}
}

func TestPatientsOfOthers(t *testing.T) {
	w := newWorld(t)
	bob := "Authorization: Bearer " + w.token(2)
	expect(t, w.do("GET", "/api/patients/", "", bob), 200, "[]")
	for _, method := range []string{"GET", "PUT", "PATCH"} {
		expect(t, w.do(method, "/api/patients/42/", `{"age":"x"}`, bob), 404, `{"detail":"Not found."}`)
	}
	w.commands.err = commands.ErrNotFound
	for _, method := range []string{"PUT", "PATCH", "DELETE"} {
		expect(t, w.do(method, "/api/patients/42/", goodPatient, bob), 404, `{"detail":"Not found."}`)
	}
}

func TestPatientFields(t *testing.T) {
	w := newWorld(t)
	expect(t, w.do("POST", "/api/patients/", "{}"), 400, `{"first_name":["This field is required."],"last_name":["This field is required."],"age":["This field is required."],"gender":["This field is required."]}`)
	expect(t, w.do("PATCH", "/api/patients/42/", `{"gender":"x","age":151}`), 400, `{"age":["Ensure this value is less than or equal to 150."],"gender":["\"x\" is not a valid choice."]}`)
	expect(t, w.do("PUT", "/api/patients/42/", `[]`), 400, `{"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}`)
	if w.commands.got != nil {
		t.Errorf("command %+v", w.commands.got)
	}
}
