package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/carelog/carelog/commands"
)

var (
	testPatient = commands.Patient{
		ID: 42, FirstName: "Zoë", LastName: "李明 🏥", Age: 30, Gender: "Female",
		CreatedAt: testTime, AddedBy: 1, Position: 6,
	}
	testDoctor = commands.Doctor{
		ID: 5, FirstName: "Dr. Sarah", LastName: "Johnson", Specialization: "Heart & <Lung>",
		Email: "sarah@hospital.com", Phone: "+1234567890", CreatedAt: testTime, Position: 3,
	}
	testMapping = commands.Mapping{
		ID: 9, Patient: 42, Doctor: 5, PatientName: "Zoë 李明 🏥", DoctorName: "Dr. Sarah Johnson", AssignedAt: testTime,
	}
)

const (
	patientJSON = `{"id":42,"first_name":"Zoë","last_name":"李明 🏥","age":30,"gender":"Female","created_at":"2026-11-23T02:35:36.958725Z","added_by":1}`
	doctorJSON  = `{"id":5,"first_name":"Dr. Sarah","last_name":"Johnson","specialization":"Heart & <Lung>","email":"sarah@hospital.com","phone":"+1234567890","created_at":"2026-11-23T02:35:36.958725Z"}`
	mappingJSON = `{"id":9,"patient":42,"doctor":5,"patient_name":"Zoë 李明 🏥","doctor_name":"Dr. Sarah Johnson","assigned_at":"2026-11-23T02:35:36.958725Z"}`
)

func TestRecordsToTheByte(t *testing.T) {
	for want, got := range map[string][]byte{
		patientJSON:                       appendPatient(nil, testPatient),
		doctorJSON:                        appendDoctor(nil, testDoctor),
		mappingJSON:                       appendMapping(nil, testMapping),
		`{}`:                              appendTexts(nil),
		`{"detail":"a \"b\"","code":"c"}`: appendTexts(nil, "detail", `a "b"`, "code", "c"),
	} {
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestTimeHasSixDecimalsInUTC(t *testing.T) {
	for at, want := range map[time.Time]string{
		testTime: `"2026-11-23T02:35:36.958725Z"`,
		time.Date(2025, 9, 1, 23, 35, 9, 0, time.UTC):                          `"2025-09-01T23:35:09.000000Z"`,
		time.Date(2025, 9, 1, 23, 35, 9, 1999, time.UTC):                       `"2025-09-01T23:35:09.000001Z"`,
		time.Date(2025, 9, 2, 1, 35, 9, 5e8, time.FixedZone("two east", 7200)): `"2025-09-01T23:35:09.500000Z"`,
	} {
		if got := string(appendTime(nil, at)); got != want {
			t.Errorf("%v: got %s, want %s", at, got, want)
		}
	}
}

func writeList[R any](w http.ResponseWriter, rows []R, appendRow func([]byte, R) []byte) error {
	a := &api{answers: &room{}}
	return a.writeLong(w, httptest.NewRequest("GET", "/", nil), func(dst []byte) []byte { return appendList(dst, rows, appendRow) })
}

func TestLists(t *testing.T) {
	one := func(dst []byte, n int) []byte { return append(dst, byte('0'+n)) }
	for want, rows := range map[string][]int{"[]": nil, "[1]": {1}, "[1,2,3]": {1, 2, 3}} {
		answer := httptest.NewRecorder()
		_ = writeList(answer, rows, one)
		expect(t, answer, 200, want)
	}
}

// An answer that outgrows the pooled buffers is whole, and the next one too.
func TestLongListsDoNotSpoilBuffers(t *testing.T) {
	for range 3 {
		long := strings.Repeat("x", largestKeptBuffer)
		answer := httptest.NewRecorder()
		_ = writeList(answer, []string{long, long}, appendString)
		expect(t, answer, 200, `["`+long+`","`+long+`"]`)
		answer = httptest.NewRecorder()
		_ = writeList(answer, []string{"short"}, appendString)
		expect(t, answer, 200, `["short"]`)
	}
}

// A record with any names is what encoding/json makes of it.
func FuzzPatientNames(f *testing.F) {
	for _, name := range []string{"Alice", "", `"quoted" \ back`, "<b>&amp;</b>", "tab\there\n\r\x00\x1f\x7f", "李明 🏥", "\u2028\u2029", "\xff\xfe", "\xed\xa0\x80", "\b\f"} {
		f.Add(name, "Smith")
	}
	f.Fuzz(func(t *testing.T, first, last string) {
		if !utf8.ValidString(first) || !utf8.ValidString(last) {
			// The fields let no such text through; it is written as some valid JSON.
			if !json.Valid(appendPatient(nil, commands.Patient{FirstName: first, LastName: last})) {
				t.Errorf("%q %q: not JSON", first, last)
			}
			return
		}
		var want bytes.Buffer
		encoder := json.NewEncoder(&want)
		encoder.SetEscapeHTML(false)
		err := encoder.Encode(struct {
			ID        int64  `json:"id"`
			First     string `json:"first_name"`
			Last      string `json:"last_name"`
			Age       int    `json:"age"`
			Gender    string `json:"gender"`
			CreatedAt string `json:"created_at"`
			AddedBy   int64  `json:"added_by"`
		}{1, first, last, 2, "Other", "2026-11-23T02:35:36.958725Z", 3})
		if err != nil {
			t.Fatal(err)
		}
		got := appendPatient(nil, commands.Patient{ID: 1, FirstName: first, LastName: last, Age: 2, Gender: "Other", CreatedAt: testTime, AddedBy: 3})
		if string(got) != strings.TrimSuffix(want.String(), "\n") {
			t.Errorf("got  %s\nwant %s", got, want.String())
		}
	})
}

func BenchmarkPatientJSON(b *testing.B) {
	dst := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		dst = appendPatient(dst[:0], testPatient)
	}
}
