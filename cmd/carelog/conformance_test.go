package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// conformanceCases are requests to, and answers of, the application that
// Carelog replaces, as scenarios with users of their own. ${…} in a request
// names what an earlier answer held; "<id>" and the like in an answer stand for
// any such value.
const conformanceCases = "../../httpapi/testdata/cases.json"

type scenario struct {
	Name  string   `json:"name"`
	Users []string `json:"users"`
	Steps []struct {
		Name    string            `json:"name"`
		As      string            `json:"as"`
		Method  string            `json:"method"`
		Path    string            `json:"path"`
		Headers map[string]string `json:"headers"`
		JSON    json.RawMessage   `json:"json"`
		Raw     *string           `json:"raw"`
		Save    string            `json:"save"`
		Expect  struct {
			Status  int               `json:"status"`
			JSON    json.RawMessage   `json:"json"`
			Headers map[string]string `json:"headers"`
		} `json:"expect"`
	} `json:"steps"`
}

// TestConformance replays every recorded case against the real program, twice
// on the same database.
func TestConformance(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(conformanceCases)
	if err != nil {
		t.Fatal(err)
	}
	var scenarios []scenario
	if err := json.Unmarshal(text, &scenarios); err != nil {
		t.Fatal(err)
	}
	server := start(t, privateConfig(t))
	steps := 0
	for round := range 2 {
		for i, s := range scenarios {
			steps += len(s.Steps)
			t.Run(fmt.Sprintf("round %d/%s", round+1, s.Name), func(t *testing.T) {
				replay(t, server, s, fmt.Sprintf("%xr%dx%d", time.Now().UnixNano(), round, i))
			})
		}
	}
	if steps < 2*550 {
		t.Errorf("only %d steps were replayed", steps)
	}
}

func replay(t *testing.T, server *running, s scenario, run string) {
	names := map[string]string{"run": run}
	for _, user := range s.Users {
		enter(t, server, user, names)
	}
	for _, step := range s.Steps {
		t.Run(step.Name, func(t *testing.T) {
			var body io.Reader
			header := http.Header{"Accept": {"application/json"}}
			switch {
			case step.JSON != nil:
				body = strings.NewReader(fill(t, string(step.JSON), names))
				header.Set("Content-Type", "application/json")
			case step.Raw != nil:
				body = strings.NewReader(fill(t, *step.Raw, names))
			}
			if step.As != "" {
				header.Set("Authorization", "Bearer "+names[step.As+".access"])
			}
			for name, value := range step.Headers {
				header.Set(name, fill(t, value, names))
			}
			answer := server.send(t, step.Method, fill(t, step.Path, names), header, body)
			if step.Save != "" {
				saveAnswer(step.Save, answer.body, names)
			}
			if answer.status != step.Expect.Status {
				t.Fatalf("status %d where %d was expected: %s", answer.status, step.Expect.Status, answer.body)
			}
			if step.Expect.JSON != nil {
				if got := answer.header.Get("Content-Type"); got != "application/json" {
					t.Errorf("content type %q", got)
				}
				want := fill(t, string(step.Expect.JSON), names)
				if err := differs(parseOrdered(t, []byte(want)), parseOrdered(t, answer.body), answer.status < 300); err != nil {
					t.Errorf("%v\nanswer: %s", err, answer.body)
				}
			}
			for name, want := range step.Expect.Headers {
				if got := answer.header.Get(name); got != want {
					t.Errorf("header %s: %q where %q was expected", name, got, want)
				}
			}
		})
	}
}

// enter registers a user and logs in; tokens that only a forger would make
// become names too.
func enter(t *testing.T, server *running, user string, names map[string]string) {
	t.Helper()
	email, password := user+"-"+names["run"]+"@example.com", "correct horse battery staple"
	access, refresh := server.register(t, user+" Tester", email, password)
	id := userID(t, access)
	now := time.Now().Unix()
	claims := func(more map[string]any) map[string]any {
		all := map[string]any{"user_id": id, "jti": strings.Repeat("f", 32), "iat": now - 900}
		for name, value := range more {
			all[name] = value
		}
		return all
	}
	noUser := claims(map[string]any{"token_type": "access", "exp": now + 600})
	delete(noUser, "user_id")
	for name, value := range map[string]string{
		"access": access, "refresh": refresh, "id": id, "email": email, "password": password,
		"expired":      sign(t, claims(map[string]any{"token_type": "access", "exp": now - 600}), server.secret, "HS256"),
		"forged":       sign(t, claims(map[string]any{"token_type": "access", "exp": now + 600}), "not the key at all, surely not it", "HS256"),
		"alg_none":     sign(t, claims(map[string]any{"token_type": "access", "exp": now + 600}), "", "none"),
		"no_type":      sign(t, claims(map[string]any{"exp": now + 600}), server.secret, "HS256"),
		"no_user":      sign(t, noUser, server.secret, "HS256"),
		"unknown_user": sign(t, claims(map[string]any{"user_id": 1 << 40, "token_type": "access", "exp": now + 600}), server.secret, "HS256"),
	} {
		names[user+"."+name] = value
	}
}

// userID is the user that a token was issued to.
func userID(t testing.TB, token string) string {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		UserID any `json:"user_id"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(claims.UserID)
}

func sign(t testing.TB, claims map[string]any, key, algorithm string) string {
	t.Helper()
	encode := func(value any) string {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := encode(map[string]string{"alg": algorithm, "typ": "JWT"}) + "." + encode(claims)
	if algorithm == "none" {
		return signed + "."
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

var (
	quotedID  = regexp.MustCompile(`"\$\{(\w+\.id)\}"`)
	reference = regexp.MustCompile(`\$\{([\w.]+)\}`)
)

// fill puts values in place of ${…}; an id that is a whole JSON text becomes a
// number.
func fill(t *testing.T, text string, names map[string]string) string {
	t.Helper()
	text = quotedID.ReplaceAllString(text, "$${${1}}")
	return reference.ReplaceAllStringFunc(text, func(found string) string {
		value, known := names[found[2:len(found)-1]]
		if !known {
			t.Fatalf("nothing was saved as %s", found)
		}
		return value
	})
}

func saveAnswer(name string, body []byte, names map[string]string) {
	var saved struct {
		ID      *json.Number `json:"id"`
		Access  string       `json:"access"`
		Refresh string       `json:"refresh"`
	}
	if json.Unmarshal(body, &saved) != nil {
		return
	}
	if saved.ID != nil {
		names[name+".id"] = saved.ID.String()
	}
	names[name+".access"], names[name+".refresh"] = saved.Access, saved.Refresh
}

// member of a JSON object, whose order counts.
type member struct {
	key   string
	value any
}

func parseOrdered(t *testing.T, text []byte) any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	value, err := parseValue(decoder)
	if err != nil {
		t.Fatalf("not JSON: %v: %s", err, text)
	}
	return value
}

func parseValue(decoder *json.Decoder) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		object := []member{}
		for decoder.More() {
			key, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			value, err := parseValue(decoder)
			if err != nil {
				return nil, err
			}
			object = append(object, member{key.(string), value})
		}
		_, err = decoder.Token()
		return object, err
	case json.Delim('['):
		list := []any{}
		for decoder.More() {
			value, err := parseValue(decoder)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err = decoder.Token()
		return list, err
	}
	return token, nil
}

var wildcards = map[string]*regexp.Regexp{
	"<id>":               regexp.MustCompile(`^[1-9][0-9]*$`),
	"<timestamp>":        regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`),
	"<jwt>":              regexp.MustCompile(`^[\w-]+\.[\w-]+\.[\w-]+$`),
	"<json parse error>": regexp.MustCompile(`^JSON parse error - `),
	"<any>":              regexp.MustCompile(``),
}

// differs tells how an answer differs from what was recorded. The order of keys
// counts in answers of success.
func differs(want, got any, ordered bool) error {
	switch want := want.(type) {
	case []member:
		object, ok := got.([]member)
		if !ok || len(object) != len(want) {
			return fmt.Errorf("%v where %v was expected", got, want)
		}
		for i, w := range want {
			g := object[i]
			for j := 0; !ordered && j < len(object); j++ {
				if object[j].key == w.key {
					g = object[j]
				}
			}
			if g.key != w.key {
				return fmt.Errorf("key %q where %q was expected", g.key, w.key)
			}
			if err := differs(w.value, g.value, ordered); err != nil {
				return fmt.Errorf("%s: %w", w.key, err)
			}
		}
		return nil
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return fmt.Errorf("%v where %v was expected", got, want)
		}
		for i := range want {
			if err := differs(want[i], list[i], ordered); err != nil {
				return fmt.Errorf("element %d: %w", i, err)
			}
		}
		return nil
	case string:
		if pattern, ok := wildcards[want]; ok {
			_, number := got.(json.Number)
			if !pattern.MatchString(fmt.Sprint(got)) || want == "<id>" && !number {
				return fmt.Errorf("%v where %s was expected", got, want)
			}
			return nil
		}
	}
	if want != got {
		return fmt.Errorf("%#v where %#v was expected", got, want)
	}
	return nil
}
