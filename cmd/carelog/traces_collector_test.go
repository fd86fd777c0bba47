package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector takes OTLP over HTTP.
type collector struct {
	url   string
	mu    sync.Mutex
	spans []collected
}

// collected is a span, and which process has sent it.
type collected struct {
	*tracepb.Span
	instance string
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var sent tracepb.TracesData // looks like a request to export on the wire
		if err == nil {
			err = proto.Unmarshal(body, &sent)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, from := range sent.ResourceSpans {
			about := map[string]string{}
			for _, a := range from.Resource.Attributes {
				about[a.Key] = a.Value.GetStringValue()
			}
			if about["service.name"] != "carelog" {
				t.Errorf("spans of %q", about)
			}
			for _, scope := range from.ScopeSpans {
				for _, span := range scope.Spans {
					c.spans = append(c.spans, collected{span, about["service.instance.id"]})
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// all are the spans of a trace, the earliest first.
func (c *collector) all(trace string) (spans []collected) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, span := range c.spans {
		if hex.EncodeToString(span.TraceId) == trace {
			spans = append(spans, span)
		}
	}
	slices.SortFunc(spans, func(a, b collected) int { return int(int64(a.StartTimeUnixNano) - int64(b.StartTimeUnixNano)) })
	return spans
}

// named is the one span of this name.
func named(t *testing.T, spans []collected, name string) collected {
	t.Helper()
	var found []collected
	for _, span := range spans {
		if span.Name == name {
			found = append(found, span)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d spans %q in\n%s", len(found), name, drawn(spans))
	}
	return found[0]
}

func (s collected) has(key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return strings.Trim(strings.SplitN(a.Value.String(), ":", 2)[1], `"`)
		}
	}
	return ""
}

// drawn is a picture of a trace.
func drawn(spans []collected) string {
	var text strings.Builder
	var below func(parent, indent string)
	below = func(parent, indent string) {
		for _, span := range spans {
			if hex.EncodeToString(span.ParentSpanId) == parent {
				began := time.Duration(span.StartTimeUnixNano - spans[0].StartTimeUnixNano)
				fmt.Fprintf(&text, "%-34s %8v + %v\n", indent+span.Name, began.Round(10*time.Microsecond),
					time.Duration(span.EndTimeUnixNano-span.StartTimeUnixNano).Round(10*time.Microsecond))
				below(hex.EncodeToString(span.SpanId), indent+"  ")
			}
		}
	}
	below(clientSpan, "")
	return text.String()
}
