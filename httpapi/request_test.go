package httpapi

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

func TestRequestIDs(t *testing.T) {
	w := newWorld(t)
	fresh := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	for sent, kept := range map[string]bool{
		"a": true, "A-z_0.9": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a b": false, "a\nb": false, "a\"b": false, "é": false, "a/b": false, "${jndi:x}": false, "\x00": false,
	} {
		got := w.do("GET", "/livez", "", "X-Request-Id: "+sent).Header().Get("X-Request-Id")
		if kept && got != sent || !kept && !fresh.MatchString(got) {
			t.Errorf("%q: %q", sent, got)
		}
	}
	one, two := w.do("GET", "/livez", ""), w.do("GET", "/livez", "")
	if one.Header().Get("X-Request-Id") == two.Header().Get("X-Request-Id") {
		t.Error("two requests have one id")
	}
}

func TestTraceParents(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for sent, want := range map[string]string{
		good:                                     good,
		"":                                       "",
		strings.ToUpper(good):                    "",
		strings.Replace(good, "00-", "ff-", 1):   "",
		strings.Replace(good, "00-4", "01-4", 1): "", // of a version to come it cannot be told what it holds
		good + "-x":                              "",
		strings.Replace(good, "4b", "4-", 1):     "",
		strings.Replace(good, "4b", "4g", 1):     "",
		"00-" + strings.Repeat("0", 32) + good[35:]:                 "",
		good[:36] + strings.Repeat("0", 16) + "-01":                 "",
		"00-4bf92f3577b34da6a3ce929d0e0e473600f067aa0ba902b7-01---": "",
	} {
		w := newWorld(t)
		w.do("POST", "/api/patients/", goodPatient, "Traceparent: "+sent)
		if got := w.commands.caller.TraceParent; got != want {
			t.Errorf("%q: %q", sent, got)
		}
	}
}

// One line for a request, whatever became of it, with nothing that could be
// about a person.
func TestAccessLog(t *testing.T) {
	for _, test := range []struct {
		method, path, body string
		headers            []string
		want               map[string]any
	}{
		{"GET", "/api/patients/42/?name=secret", "", nil,
			map[string]any{"method": "GET", "route": "/api/patients/{id}/", "status": 200., "bytes": float64(len(patientJSON)), "user_id": 1.}},
		{"HEAD", "/api/patients/42/", "", nil, map[string]any{"method": "HEAD", "status": 200., "bytes": 0.}},
		{"POST", "/api/patients", strings.ReplaceAll(goodPatient, "A", "secret"), nil,
			map[string]any{"method": "POST", "route": "/api/patients/", "status": 201.}},
		{"DELETE", "/api/patients/42/", "", nil, map[string]any{"status": 204., "bytes": 0.}},
		{"GET", "/secret/path", "", nil, map[string]any{"route": "none", "status": 404., "user_id": 0.}},
		{"SECRET", "/api/patients/", "", []string{"Authorization: Bearer secret"}, map[string]any{"method": "other", "status": 401., "user_id": 0.}},
		{"GET", "/" + strings.Repeat("secret", 2000), "", nil, map[string]any{"route": "none", "status": 414.}},
	} {
		w := newWorld(t)
		w.do(test.method, test.path, test.body, append(test.headers, "X-Request-Id: r-1", "User-Agent: secret", "Referer: https://secret/", "Cookie: secret=1")...)
		lines := w.log.lines("")
		if len(lines) != 1 {
			t.Fatalf("%s %.40s: logged %q", test.method, test.path, lines)
		}
		var line map[string]any
		if err := json.Unmarshal([]byte(lines[0]), &line); err != nil {
			t.Fatal(err)
		}
		test.want["msg"], test.want["request_id"] = "request", "r-1"
		for name, want := range test.want {
			if line[name] != want {
				t.Errorf("%s %.40s: %s is %v, want %v", test.method, test.path, name, line[name], want)
			}
		}
		if _, ok := line["duration"]; !ok || strings.Contains(strings.ToLower(lines[0]), "secret") {
			t.Errorf("logged %s", lines[0])
		}
	}
}
