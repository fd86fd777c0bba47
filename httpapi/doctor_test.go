package httpapi

import (
	"reflect"
	"testing"

	"github.com/carelog/carelog/commands"
)

func TestDoctors(t *testing.T) {
	w := newWorld(t)
	expect(t, w.do("GET", "/api/doctors/", "", "Authorization: Bearer "+w.token(2)), 200, "["+doctorJSON+"]")
	expect(t, w.do("GET", "/api/doctors/5/", ""), 200, doctorJSON)
	expect(t, w.do("GET", "/api/doctors/6/", ""), 404, `{"detail":"Not found."}`)
	expect(t, w.do("POST", "/api/doctors/", goodDoctor), 201, doctorJSON)
	if want := (commands.RegisterDoctor{FirstName: "A", LastName: "B", Specialization: "C", Email: "a@b.io", Phone: "1"}); w.commands.got != want {
		t.Errorf("command %+v", w.commands.got)
	}
	expect(t, w.do("PUT", "/api/doctors/5/", goodDoctor), 200, doctorJSON)
	phone := "7"
	expect(t, w.do("PATCH", "/api/doctors/5/", `{"phone":7}`), 200, doctorJSON)
	if want := (commands.AmendDoctor{ID: 5, Phone: &phone}); !reflect.DeepEqual(w.commands.got, want) {
		t.Errorf("command %+v", w.commands.got)
	}
	expect(t, w.do("DELETE", "/api/doctors/5/", ""), 204, "")
}

func TestDoctorEmailTaken(t *testing.T) {
	const taken = `{"email":["doctor with this email already exists."]}`
	w := newWorld(t)
	w.queries.taken = "a@b.io"

	// Along with other errors, in the order of fields.
	expect(t, w.do("POST", "/api/doctors/", `{"email":" a@b.io","phone":"1234567890123456"}`), 400,
		`{"first_name":["This field is required."],"last_name":["This field is required."],"specialization":["This field is required."],`+
			`"email":["doctor with this email already exists."],"phone":["Ensure this field has no more than 15 characters."]}`)
	expect(t, w.do("PATCH", "/api/doctors/5/", `{"email":"a@b.io","phone":""}`), 400, `{"phone":["This field may not be blank."]}`) // its own
	expect(t, w.do("PATCH", "/api/doctors/6/", `{"email":"a@b.io","phone":""}`), 404, `{"detail":"Not found."}`)
	expect(t, w.do("POST", "/api/doctors/", `{"email":"other@b.io","first_name":"A","last_name":"B","specialization":"C"}`), 400, `{"phone":["This field is required."]}`)
	if w.commands.got != nil {
		t.Errorf("command %+v", w.commands.got)
	}

	// By itself it is the command's to tell.
	expect(t, w.do("POST", "/api/doctors/", goodDoctor), 201, doctorJSON)
	w.commands.err = commands.ErrEmailTaken
	expect(t, w.do("POST", "/api/doctors/", goodDoctor), 400, taken)
	expect(t, w.do("PUT", "/api/doctors/5/", goodDoctor), 400, taken)
	expect(t, w.do("PATCH", "/api/doctors/5/", `{"email":"a@b.io"}`), 400, taken)
}
