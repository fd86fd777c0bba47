package httpapi

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// postmanItem is a request of the collection, or a folder of some.
type postmanItem struct {
	Name    string
	Item    []postmanItem
	Request struct {
		Method string
		URL    struct{ Raw string }
	}
	Event []struct {
		Listen string
		Script struct{ Exec []string }
	}
}

// TestPostmanCollectionHasEveryRoute, each with an assertion, and none that is not
// served. (That the requests are answered as they assert is for newman to find out.)
func TestPostmanCollectionHasEveryRoute(t *testing.T) {
	text, err := os.ReadFile("../deploy/postman/carelog.postman_collection.json")
	if err != nil {
		t.Fatal(err)
	}
	var collection postmanItem
	if err := json.Unmarshal(text, &collection); err != nil {
		t.Fatal(err)
	}
	var sent []string
	var walk func([]postmanItem)
	walk = func(items []postmanItem) {
		for _, i := range items {
			if walk(i.Item); i.Request.Method == "" {
				continue
			}
			path, _, _ := strings.Cut(strings.TrimPrefix(i.Request.URL.Raw, "{{baseUrl}}"), "?")
			sent = append(sent, i.Request.Method+" "+strings.TrimSuffix(path, "/")+"/")
			asserts := false
			for _, e := range i.Event {
				asserts = asserts || e.Listen == "test" && strings.Contains(strings.Join(e.Script.Exec, "\n"), "pm.test(")
			}
			if !asserts {
				t.Errorf("%s asserts nothing", i.Name)
			}
		}
	}
	walk(collection.Item)
	// Requests that are to be refused are among them, as one to the method of no route.
	for _, rt := range allRoutes() {
		pattern := regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(rt.pattern), `[^/]+`)
		for method := range rt.methods {
			found := false
			for _, request := range sent {
				found = found || regexp.MustCompile("^"+method+" "+pattern+"$").MatchString(request)
			}
			if !found {
				t.Errorf("the collection has no %s %s", method, rt.pattern)
			}
		}
	}
	if len(sent) < 50 {
		t.Errorf("only %d requests", len(sent))
	}
}
