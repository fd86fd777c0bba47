package httpapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
	"github.com/carelog/carelog/projections/feed"
)

// The forms in which GET /api/events/ answers where they are asked for by name;
// else it answers with a page in JSON.
const (
	linesType  = "application/x-ndjson"
	streamType = "text/event-stream"
)

const eventsPattern = "/api/events/"

var eventForms = []string{streamType, linesType}

// maxTags is how many tags an event can be asked to have: each is looked up.
const maxTags = 8

// eventsAsked is what a request asks of the feed.
type eventsAsked struct {
	user   projections.Session
	looked time.Time // when the user's right to see was last looked at
	filter feed.Filter
	after  events.Position
	limit  int // 0: no limit; a stream has none
}

// listEvents answers GET /api/events/: the events that the user may see, as
// CloudEvents in order of position. A page is {"results": [...], "next": the
// position to go on after, "head": that of the log's last event, "source": the log, as in
// its events}: whoever has next at the head has seen everything. Lines are whole up to the head; a stream goes on with
// what happens.
func (a *api) listEvents(w http.ResponseWriter, r *http.Request) error {
	asked, err := a.eventsAsked(r)
	if err != nil {
		return err
	}
	head, err := a.log.Head(r.Context())
	if err != nil {
		return err
	}
	form := askedForm(r, eventForms)
	if r.Method == http.MethodHead && form != "" {
		w.Header().Set("Content-Type", form)
		w.WriteHeader(http.StatusOK)
		return nil
	}
	switch form {
	case streamType:
		return a.streamEvents(w, r, asked, head)
	case linesType:
		return a.writeEventLines(w, r, asked, head)
	}
	var documents [][]byte
	next := max(head, asked.after)
	for e, err := range a.feed.Read(r.Context(), asked.filter, asked.after, head) {
		if err != nil {
			return err
		}
		documents = append(documents, e.Document)
		if len(documents) == asked.limit {
			next = e.Position
			break
		}
	}
	return a.writeLong(w, r, func(dst []byte) []byte {
		dst = append(dst, `{"results":`...)
		dst = appendList(dst, documents, func(dst, document []byte) []byte { return append(dst, document...) })
		dst = append(dst, `,"next":`...)
		dst = strconv.AppendInt(dst, int64(next), 10)
		dst = append(dst, `,"head":`...)
		dst = strconv.AppendInt(dst, int64(head), 10)
		dst = append(dst, `,"source":"`...)
		dst = append(dst, a.feed.Source()...)
		return append(dst, `"}`...)
	})
}

// eventList is list for the events. Streams have places of their own.
func (a *api) eventList(serve handler) handler {
	page, stream := a.list(serve), a.admitted(a.admissions.streams, a.atPosition(serve))
	return func(w http.ResponseWriter, r *http.Request) error {
		if askedForm(r, eventForms) == streamType {
			return stream(w, r)
		}
		return page(w, r)
	}
}

// eventsAsked reads ?after=&types=&tags=&limit=. Types and tags are separated by
// commas: an event has any of the types, and all of the tags.
func (a *api) eventsAsked(r *http.Request) (eventsAsked, error) {
	viewer, err := a.viewer(r.Context(), userOf(r))
	if err != nil {
		return eventsAsked{}, err
	}
	asked := eventsAsked{user: userOf(r), looked: time.Now(), filter: feed.Filter{Viewer: viewer}}
	query, err := parseForm(r.URL.RawQuery, decoderFor(""))
	if err != nil {
		return eventsAsked{}, err
	}
	after, err := wholeNumber(query, "after", 0, 0)
	if err != nil {
		return eventsAsked{}, err
	}
	asked.after = events.Position(after)
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		position, err := strconv.ParseInt(last, 10, 64)
		if err != nil || position < 0 {
			return eventsAsked{}, newDetail(http.StatusBadRequest, "Last-Event-ID is not a position.")
		}
		asked.after = events.Position(position)
	}
	initial := int64(defaultEntries)
	if askedForm(r, eventForms) != "" {
		initial = 0
	}
	limit, err := wholeNumber(query, "limit", 1, initial)
	if err != nil {
		return eventsAsked{}, err
	}
	asked.limit = int(min(limit, maxLimit))
	if types, given := query.get("types"); given {
		for name := range strings.SplitSeq(types.text, ",") {
			t := events.Type(strings.TrimSpace(name))
			if !slices.Contains(a.types, t) {
				return eventsAsked{}, newFieldError("types", `"`+string(t)+`" is not a type of events.`)
			}
			if !slices.Contains(asked.filter.Types, t) {
				asked.filter.Types = append(asked.filter.Types, t)
			}
		}
	}
	if tags, given := query.get("tags"); given {
		if strings.Count(tags.text, ",") >= maxTags {
			return eventsAsked{}, newFieldError("tags", "Ensure there are no more than "+strconv.Itoa(maxTags)+" tags.")
		}
		for tag := range strings.SplitSeq(tags.text, ",") {
			tag = strings.TrimSpace(tag)
			if name, value, ok := strings.Cut(tag, ":"); !ok || name == "" || value == "" || strings.ContainsFunc(tag, isControl) {
				return eventsAsked{}, newFieldError("tags", "Give tags like patient:42.")
			}
			asked.filter.Tags = append(asked.filter.Tags, events.Tag(tag))
		}
	}
	return asked, nil
}

func isControl(c rune) bool { return c < ' ' || c == 0x7F }

// askedForm is the media type that the Accept header names, of those that a route has
// besides JSON; empty for JSON.
func askedForm(r *http.Request, forms []string) string {
	for _, line := range r.Header["Accept"] {
		for accepted := range strings.SplitSeq(line, ",") {
			accepted, _, _ = strings.Cut(accepted, ";")
			for _, f := range forms {
				if strings.EqualFold(strings.TrimSpace(accepted), f) {
					return f
				}
			}
		}
	}
	return ""
}

// chunk is how many bytes of events are sent at a time, at least, while there are more.
const chunk = 32 << 10

// writeEventLines answers with one CloudEvent a line. What was begun and fails is
// cut off, so that nobody takes it for whole.
func (a *api) writeEventLines(w http.ResponseWriter, r *http.Request, asked eventsAsked, head events.Position) error {
	out, err := a.beginStream(w, r, linesType)
	if err != nil {
		return err
	}
	defer out.end()
	n := 0
	for e, err := range a.feed.Read(out.ctx, asked.filter, asked.after, head) {
		if err == nil {
			err = a.lookNowAndThen(out.ctx, &asked)
		}
		if err != nil {
			a.cutOff(r, err)
		}
		out.buffer = append(append(out.buffer, e.Document...), '\n')
		if err := out.flushAt(chunk); err != nil {
			a.cutOff(r, err)
		}
		if n++; n == asked.limit {
			break
		}
	}
	return out.flushAt(1)
}
