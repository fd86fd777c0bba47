package httpapi

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/carelog/carelog/projections"
)

// list serves the numbers 1 to 7 as a list.
func list(t *testing.T, target string, change ...func(*http.Request)) string {
	t.Helper()
	all := []int{1, 2, 3, 4, 5, 6, 7}
	request := httptest.NewRequest("GET", "/", nil)
	request.Host = "example.com:8000"
	request.URL.Path, request.URL.RawQuery, _ = strings.Cut(target, "?")
	for _, c := range change {
		c(request)
	}
	answer := httptest.NewRecorder()
	err := serveList(&api{}, answer, request,
		func(context.Context, projections.Session) ([]int, error) { return all, nil },
		func(_ context.Context, _ projections.Session, limit, offset int64) (projections.Page[int], error) {
			return pageOf(all, limit, offset), nil
		},
		func(dst []byte, n int) []byte { return strconv.AppendInt(dst, int64(n), 10) })
	if err != nil {
		t.Fatal(err)
	}
	return answer.Body.String()
}

// Recorded from Django REST Framework 3.16's LimitOffsetPagination with a
// max_limit of 1000.
func TestPagesAreThoseOfTheReference(t *testing.T) {
	for _, c := range []struct{ query, want string }{
		{``, `[1,2,3,4,5,6,7]`},
		{`x=1`, `[1,2,3,4,5,6,7]`},
		{`limit=`, `[1,2,3,4,5,6,7]`},
		{`limit=0`, `[1,2,3,4,5,6,7]`},
		{`limit=-1`, `[1,2,3,4,5,6,7]`},
		{`limit=abc`, `[1,2,3,4,5,6,7]`},
		{`limit=1.5`, `[1,2,3,4,5,6,7]`},
		{`limit=2`, `{"count":7,"next":"http://example.com:8000/api/patients/?limit=2&offset=2","previous":null,"results":[1,2]}`},
		{`limit=%202%20`, `{"count":7,"next":"http://example.com:8000/api/patients/?limit=2&offset=2","previous":null,"results":[1,2]}`},
		{`limit=+2`, `{"count":7,"next":"http://example.com:8000/api/patients/?limit=2&offset=2","previous":null,"results":[1,2]}`},
		{`limit=%2B2`, `{"count":7,"next":"http://example.com:8000/api/patients/?limit=2&offset=2","previous":null,"results":[1,2]}`},
		{`limit=2&offset=2`, `{"count":7,"next":"http://example.com:8000/api/patients/?limit=2&offset=4","previous":"http://example.com:8000/api/patients/?limit=2","results":[3,4]}`},
		{`limit=2&offset=1`, `{"count":7,"next":"http://example.com:8000/api/patients/?limit=2&offset=3","previous":"http://example.com:8000/api/patients/?limit=2","results":[2,3]}`},
		{`limit=2&offset=6`, `{"count":7,"next":null,"previous":"http://example.com:8000/api/patients/?limit=2&offset=4","results":[7]}`},
		{`limit=2&offset=7`, `{"count":7,"next":null,"previous":"http://example.com:8000/api/patients/?limit=2&offset=5","results":[]}`},
		{`limit=2&offset=8`, `{"count":7,"next":null,"previous":"http://example.com:8000/api/patients/?limit=2&offset=6","results":[]}`},
		{`limit=3&offset=5`, `{"count":7,"next":null,"previous":"http://example.com:8000/api/patients/?limit=3&offset=2","results":[6,7]}`},
		{`limit=7`, `{"count":7,"next":null,"previous":null,"results":[1,2,3,4,5,6,7]}`},
		{`limit=8`, `{"count":7,"next":null,"previous":null,"results":[1,2,3,4,5,6,7]}`},
		{`limit=1000`, `{"count":7,"next":null,"previous":null,"results":[1,2,3,4,5,6,7]}`},
		{`limit=1001&offset=1`, `{"count":7,"next":null,"previous":"http://example.com:8000/api/patients/?limit=1000","results":[2,3,4,5,6,7]}`},
		{`limit=99999999999999999999`, `{"count":7,"next":null,"previous":null,"results":[1,2,3,4,5,6,7]}`},
		{`limit=2&offset=-1`, `{"count":7,"next":"http://example.com:8000/api/patients/?limit=2&offset=2","previous":null,"results":[1,2]}`},
		{`limit=2&offset=abc`, `{"count":7,"next":"http://example.com:8000/api/patients/?limit=2&offset=2","previous":null,"results":[1,2]}`},
		{`limit=2&offset=`, `{"count":7,"next":"http://example.com:8000/api/patients/?limit=2&offset=2","previous":null,"results":[1,2]}`},
		{`offset=2`, `[1,2,3,4,5,6,7]`},
		{`limit=1&limit=3`, `{"count":7,"next":"http://example.com:8000/api/patients/?limit=3&offset=3","previous":null,"results":[1,2,3]}`},
		{`limit=3&offset=1&offset=4`, `{"count":7,"next":null,"previous":"http://example.com:8000/api/patients/?limit=3&offset=1","results":[5,6,7]}`},
		{`z=1&limit=2&a=2&offset=2&m=`, `{"count":7,"next":"http://example.com:8000/api/patients/?a=2&limit=2&m=&offset=4&z=1","previous":"http://example.com:8000/api/patients/?a=2&limit=2&m=&z=1","results":[3,4]}`},
		{`limit=2&b=2&b=1&a`, `{"count":7,"next":"http://example.com:8000/api/patients/?a=&b=2&b=1&limit=2&offset=2","previous":null,"results":[1,2]}`},
		{`limit=2&q=%C3%A9+%26x%3D~*%2F`, `{"count":7,"next":"http://example.com:8000/api/patients/?limit=2&offset=2&q=%C3%A9+%26x%3D~%2A%2F","previous":null,"results":[1,2]}`},
		{`limit=2&format=json`, `{"count":7,"next":"http://example.com:8000/api/patients/?format=json&limit=2&offset=2","previous":null,"results":[1,2]}`},
		{`&limit=2&&`, `{"count":7,"next":"http://example.com:8000/api/patients/?limit=2&offset=2","previous":null,"results":[1,2]}`},
		{`limit=2&q=%zz%`, `{"count":7,"next":"http://example.com:8000/api/patients/?limit=2&offset=2&q=%25zz%25","previous":null,"results":[1,2]}`},
		{`Limit=2`, `[1,2,3,4,5,6,7]`},
		{`limit=2&%20a=1`, `{"count":7,"next":"http://example.com:8000/api/patients/?+a=1&limit=2&offset=2","previous":null,"results":[1,2]}`},
		{`limit=2&q=a%00b%22`, `{"count":7,"next":"http://example.com:8000/api/patients/?limit=2&offset=2&q=a%00b%22","previous":null,"results":[1,2]}`},
		{`limit=007&offset=00`, `{"count":7,"next":null,"previous":null,"results":[1,2,3,4,5,6,7]}`},
		{`limit=2;offset=3`, `[1,2,3,4,5,6,7]`},
		{`limit=2&q=a=b=c`, `{"count":7,"next":"http://example.com:8000/api/patients/?limit=2&offset=2&q=a%3Db%3Dc","previous":null,"results":[1,2]}`},
		{`limit=2&offset=2&offset`, `{"count":7,"next":"http://example.com:8000/api/patients/?limit=2&offset=2","previous":null,"results":[1,2]}`},
	} {
		if got := list(t, "/api/patients/?"+c.query); got != c.want {
			t.Errorf("?%s\n got %s\nwant %s", c.query, got, c.want)
		}
	}
}

func TestLinksOfPages(t *testing.T) {
	for want, c := range map[string]struct {
		target string
		change func(*http.Request)
	}{
		"http://example.com:8000/api/patients?limit=2&offset=2": {"/api/patients?limit=2", func(*http.Request) {}},
		"https://example.com/api/doctors/?limit=2&offset=2":     {"/api/doctors/?limit=2", func(r *http.Request) { r.Host, r.TLS = "example.com", &tls.ConnectionState{} }},
		"https://[::1]:8443/api/doctors/?limit=2&offset=2": {"/api/doctors/?limit=2", func(r *http.Request) {
			r.Host = "[::1]:8443"
			r.Header.Set("X-Forwarded-Proto", "https")
		}},
		"http://example.com:8000/api/doctors/?limit=2&offset=2": {"/api/doctors/?limit=2", func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "gopher") }},
		"/api/doctors/?limit=2&offset=2":                        {"/api/doctors/?limit=2", func(r *http.Request) { r.Host = "" }},
	} {
		if got := list(t, c.target, c.change); !strings.Contains(got, `"next":"`+want+`"`) {
			t.Errorf("want %s in %s", want, got)
		}
	}
	const farthest = `{"count":7,"next":null,"previous":"http://example.com:8000/api/patients/?limit=1&offset=9223372036854774806","results":[]}`
	if got := list(t, "/api/patients/?limit=1&offset=99999999999999999999"); got != farthest {
		t.Errorf("the farthest page: %s", got)
	}
}

// Every list can be read in pages.
func TestPages(t *testing.T) {
	w := newWorld(t)
	page := func(path, results string) string {
		return `{"count":1,"next":null,"previous":"http://example.com` + path + `?limit=1","results":[` + results + `]}`
	}
	expect(t, w.do("GET", "/api/patients/?limit=1&offset=1", ""), 200, `{"count":2,"next":null,"previous":"http://example.com/api/patients/?limit=1","results":[`+patientJSON+`]}`)
	expect(t, w.do("GET", "/api/patients?limit=1", ""), 200, `{"count":2,"next":"http://example.com/api/patients?limit=1&offset=1","previous":null,"results":[`+patientJSON+`]}`)
	expect(t, w.do("GET", "/api/doctors/?limit=1&offset=1", ""), 200, page("/api/doctors/", ""))
	expect(t, w.do("GET", "/api/patients/mappings/?limit=1&offset=1", ""), 200, page("/api/patients/mappings/", ""))
	expect(t, w.do("GET", "/api/patients/mappings/42/?limit=9", ""), 200, `{"count":1,"next":null,"previous":null,"results":[`+mappingJSON+`]}`)
	expect(t, w.do("GET", "/api/patients/mappings/43/?limit=9", ""), 200, `{"count":0,"next":null,"previous":null,"results":[]}`)
	expect(t, w.do("GET", "/api/patients/?limit=1", "", "Authorization: Bearer "+w.token(3)), 401, `{"detail":"User not found","code":"user_not_found"}`)
	expect(t, w.do("GET", "/api/patients/?limit=1"+strings.Repeat("&a", 1000), ""), 400, `{"detail":"The form has more than 1000 fields."}`)
	if head := w.do("HEAD", "/api/patients/?limit=1", ""); head.Body.Len() != 0 || head.Header().Get("Content-Length") == "" {
		t.Errorf("HEAD: %d bytes, %v", head.Body.Len(), head.Header())
	}
}
