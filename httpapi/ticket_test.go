package httpapi

import (
	"encoding/json"
	"testing"
	"time"
)

// TestATicketEnds: half a minute after it was given out, unused.
func TestATicketEnds(t *testing.T) {
	now := testTime
	w := newWorld(t, func(c *Config) { c.Now = func() time.Time { return now } })
	var answer struct{ Ticket string }
	got := w.do("POST", "/api/events/ticket/", "")
	if err := json.Unmarshal(got.Body.Bytes(), &answer); err != nil || got.Code != 201 {
		t.Fatal(got.Code, got.Body, err)
	}
	now = now.Add(ticketLifetime)
	got = w.do("GET", "/api/events/?ticket="+answer.Ticket, "", nobody, "Accept: text/event-stream")
	expect(t, got, 401, `{"detail":"The ticket is not valid: ask for a new one.","code":"token_not_valid"}`)
	if len(w.accounts.rotated) != 0 {
		t.Error("it was used up")
	}
}
