package httpapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
)

// A browser is led to the page; everybody else gets the JSON of always.
func TestBrowsersAreLedToTheAPIPage(t *testing.T) {
	w := newWorld(t)
	for accept, leads := range map[string]bool{
		"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8": true, // Firefox, Chrome
		"text/html": true,
		"TEXT/HTML ; q=0.5, application/json;q=0.4": true,
		"*/*;q=0.1, text/html; charset=utf-8;q=0.2": true,

		"":                                  false,
		"*/*":                               false, // curl
		"application/json":                  false,
		"application/json, text/html":       false,
		"text/html;q=0.5, application/json": false,
		"text/html;q=0.5, */*":              false,
		"text/html;q=0, */*;q=0":            false,
		"text/html;q=often":                 false,
		"text/*":                            false,
		"application/xml":                   false,
	} {
		for _, method := range []string{"GET", "HEAD"} {
			answer := w.do(method, "/", "", "Accept: "+accept)
			h := answer.Header()
			if leads && (answer.Code != 303 || h.Get("Location") != "/api/docs/") ||
				!leads && (answer.Code != 200 || h.Get("Content-Type") != "application/json") || h.Get("Vary") != "Accept" {
				t.Errorf("%s with %q: %d %v", method, accept, answer.Code, h)
			}
		}
	}
	if answer := w.do("OPTIONS", "/", "", "Accept: text/html"); answer.Code != 200 {
		t.Errorf("OPTIONS: %d", answer.Code)
	}
}

// The page runs its own files alone, each of which is there and may be kept.
func TestAPIPage(t *testing.T) {
	w := newWorld(t)
	answer := w.do("GET", "/api/docs/", "", nobody, "Accept: text/html")
	h, page := answer.Header(), answer.Body.String()
	if answer.Code != 200 || h.Get("Content-Type") != "text/html; charset=utf-8" || h.Get("X-Frame-Options") != "DENY" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d %v", answer.Code, h)
	}
	policy := h.Get("Content-Security-Policy")
	for _, directive := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "object-src 'none'"} {
		if !strings.Contains("; "+policy+";", "; "+directive+";") {
			t.Errorf("no %s in %s", directive, policy)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %s", policy)
	}
	if found := regexp.MustCompile(`<script>|<style|style=| on[a-z]+=|://`).FindString(page); found != "" {
		t.Errorf("%s in the page", found)
	}
	expect(t, w.do("GET", "/api/docs", "", "If-None-Match: "+h.Get("ETag")), 304, "")

	links := regexp.MustCompile(`(?:src|href)="(/[^"]+)"`).FindAllStringSubmatch(page, -1)
	for _, link := range links {
		if !strings.HasPrefix(link[1], "/api/docs/") {
			continue
		}
		file := w.do("GET", link[1], "", nobody, "Accept: */*")
		if kept := file.Header().Get("Cache-Control"); file.Code != 200 || kept != "public, max-age=31536000, immutable" {
			t.Errorf("%s: %d, %s", link[1], file.Code, kept)
		}
		bare, _, _ := strings.Cut(link[1], "?")
		for _, other := range []string{bare, bare + "?v=", bare + "?v=000000000000"} {
			if kept := w.do("GET", other, "", nobody).Header().Get("Cache-Control"); kept != "public, no-cache" {
				t.Errorf("%s: %s", other, kept)
			}
		}
	}
	if len(links) != 8 || !strings.Contains(page, `<a href="/api/openapi.json">`) {
		t.Errorf("%d links: %s", len(links), page)
	}
	for _, name := range []string{"index.html", "update.sh", "swagger-ui.css.gz", "nothing.js", "..", "../docs.go"} {
		answer := w.do("GET", "/api/docs/"+name, "", nobody)
		if answer.Code != 404 || answer.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", name, answer.Code, answer.Header())
		}
	}
}

// What is sent is what npm has, compressed for those who take that.
func TestSwaggerUI(t *testing.T) {
	w := newWorld(t, withOrigins)
	sums, err := os.ReadFile("docs/swagger-ui.sha256")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(sums)), "\n")
	if len(lines) != 2 {
		t.Fatalf("%q", lines)
	}
	for _, line := range lines {
		sum, name, _ := strings.Cut(line, "  ")
		plain, tag := "", ""
		for _, accepted := range []string{"", "identity", "br, gzip;q=0", "gzip", "br;q=1.0, GZIP;q=0.8", "*"} {
			answer := w.do("GET", "/api/docs/"+name, "", nobody, "Accept-Encoding: "+accepted)
			h := answer.Header()
			body := answer.Body.Bytes()
			isPacked := accepted == "gzip" || accepted == "*" || strings.Contains(accepted, "GZIP")
			if isPacked != (h.Get("Content-Encoding") == "gzip") || h.Get("Vary") != "Accept, Origin, Accept-Encoding" {
				t.Errorf("%s for %q: %v", name, accepted, h)
			}
			if isPacked {
				if len(body) > 500_000 || h.Get("ETag") == tag {
					t.Errorf("%s: %d bytes, ETag %s", name, len(body), h.Get("ETag"))
				}
				if body, err = unpacked(body); err != nil {
					t.Fatal(err)
				}
			} else {
				plain, tag = string(body), h.Get("ETag")
			}
			if string(body) != plain {
				t.Errorf("%s for %q: another file", name, accepted)
			}
		}
		if got := sha256.Sum256([]byte(plain)); hex.EncodeToString(got[:]) != sum {
			t.Errorf("%s is not that of npm: run httpapi/docs/update.sh", name)
		}
	}
	for name, text := range map[string]string{"swagger-ui.LICENSE.txt": "Apache License", "swagger-ui-bundle.js.LICENSE.txt": "MIT License"} {
		if answer := w.do("GET", "/api/docs/"+name, "", nobody); answer.Code != 200 || !strings.Contains(answer.Body.String(), text) {
			t.Errorf("%s: %d", name, answer.Code)
		}
	}
}

func unpacked(packed []byte) ([]byte, error) {
	from, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(from)
}
