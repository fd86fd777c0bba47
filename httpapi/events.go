package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

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
	after  place
	limit  int // 0: no limit
}

// listEvents answers GET /api/events/: the events that the user may see, as
// CloudEvents in order of position. Lines and a page are of what there is, up to the head
// of the log; a stream goes on with what happens.
func (a *api) listEvents(w http.ResponseWriter, r *http.Request) error {
	asked, err := a.eventsAsked(r)
	if err != nil {
		return err
	}
	head, err := a.head(r.Context())
	if err != nil {
		return err
	}
	if asked.after.position > head.position {
		return a.wentBack()
	}
	if err := a.isThere(r.Context(), asked.after); err != nil {
		return err
	}
	form := askedForm(r, eventForms)
	switch {
	case r.Method == http.MethodHead && form != "":
		w.Header().Set("Content-Type", form)
		w.WriteHeader(http.StatusOK)
		return nil
	case form == streamType:
		return a.streamEvents(w, r, asked)
	case form == linesType:
		return a.writeEventLines(w, r, asked, head)
	}
	return a.writeEventPage(w, r, asked, head)
}

// place is where an event stands in the log.
type place struct {
	position events.Position // 0: before the first
	id       uuid.UUID       // the nil UUID when it is not known
}

// head is where the last event stands.
func (a *api) head(ctx context.Context) (head place, err error) {
	if head.position, err = a.log.Head(ctx); err != nil || head.position == 0 {
		return head, err
	}
	head.id, err = a.idAt(ctx, head.position)
	return head, err
}

func (a *api) idAt(ctx context.Context, position events.Position) (uuid.UUID, error) {
	id, err := a.feed.ID(ctx, position)
	if errors.Is(err, feed.ErrWentBack) {
		err = a.wentBack()
	}
	return id, err
}

// isThere makes sure that the log has an event where it stood. Positions alone do not tell
// when the log was put back to an earlier state and has grown since. While it has the
// event, it has all that were before that.
func (a *api) isThere(ctx context.Context, event place) error {
	if event.id == uuid.Nil {
		return nil
	}
	there, err := a.idAt(ctx, event.position)
	if err == nil && there != event.id {
		err = a.wentBack()
	}
	return err
}

// wentBack is the answer to who has got events that are not in the log: it was put back
// to an earlier state, or is another one, which its source tells.
func (a *api) wentBack() error {
	return newError(http.StatusConflict,
		"detail", "The log does not have the event to go on after: it was put back to an earlier state, or is another one. Start over from the first event.",
		"code", "went_back", "source", a.feed.Source())
}

// writeEventPage answers {"results": [...], "next": the position to go on after, "next_id":
// the id of the event there, "head": that of the log's last event, "source": the log, as in
// its events}: whoever has next at the head has seen everything.
func (a *api) writeEventPage(w http.ResponseWriter, r *http.Request, asked eventsAsked, head place) error {
	var documents [][]byte
	next := head
	for e, err := range a.feed.Read(r.Context(), asked.filter, asked.after.position, head.position) {
		if err != nil {
			return err
		}
		documents = append(documents, e.Document)
		if len(documents) == asked.limit {
			next = place{e.Position, e.ID}
			break
		}
	}
	if err := a.isThere(r.Context(), next); err != nil { // or else the log went back meanwhile
		return err
	}
	return a.writeLong(w, r, func(dst []byte) []byte {
		dst = append(dst, `{"results":`...)
		dst = appendList(dst, documents, func(dst, document []byte) []byte { return append(dst, document...) })
		dst = append(dst, `,"next":`...)
		dst = strconv.AppendInt(dst, int64(next.position), 10)
		if next.position > 0 {
			dst = append(dst, `,"next_id":"`...)
			dst = append(dst, next.id.String()...)
			dst = append(dst, '"')
		}
		dst = append(dst, `,"head":`...)
		dst = strconv.AppendInt(dst, int64(head.position), 10)
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

// eventsAsked reads ?after=&after_id=&types=&tags=&limit=. Types and tags are separated by
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
	asked.after.position = events.Position(after)
	if id, given := query.get("after_id"); given {
		if asked.after.id, err = uuid.Parse(id.text); err != nil || after == 0 {
			return eventsAsked{}, newFieldError("after_id", "Give the id of the event at the position that is given as after.")
		}
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		position, err := strconv.ParseInt(last, 10, 64)
		if err != nil || position < 0 {
			return eventsAsked{}, newDetail(http.StatusBadRequest, "Last-Event-ID is not a position.")
		}
		asked.after = place{position: events.Position(position)}
	}
	if asked.limit, err = eventLimit(query, askedForm(r, eventForms)); err != nil {
		return eventsAsked{}, err
	}
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

// eventLimit reads ?limit= as the form of the answer has it; 0: none.
func eventLimit(query body, form string) (int, error) {
	_, given := query.get("limit")
	switch {
	case form == streamType && given:
		return 0, newFieldError("limit", "A stream has no limit.")
	case form != "" && !given:
		return 0, nil
	}
	limit, err := wholeNumber(query, "limit", 1, defaultEntries)
	if form == "" {
		limit = min(limit, maxLimit)
	}
	return int(limit), err
}

func isControl(c rune) bool { return c < ' ' || c == 0x7F }

// askedForm is the media type that the Accept header names, of those that a route has
// besides JSON, unless JSON is worth more to it by name; empty for JSON.
func askedForm(r *http.Request, forms []string) (form string) {
	accept := r.Header["Accept"]
	worth := weight(accept, "application/json")
	for _, f := range forms {
		if w := weight(accept, f); w > worth || w == worth && w > 0 && form == "" {
			form, worth = f, w
		}
	}
	return form
}

// chunk is how many bytes of events are sent at a time, at least, while there are more.
const chunk = 32 << 10

// writeEventLines answers with one CloudEvent a line. What was begun and fails is
// cut off, so that nobody takes it for whole.
func (a *api) writeEventLines(w http.ResponseWriter, r *http.Request, asked eventsAsked, head place) error {
	out, err := a.beginStream(w, r, linesType)
	if err != nil {
		return err
	}
	defer out.end()
	n := 0
	for e, err := range a.feed.Read(out.ctx, asked.filter, asked.after.position, head.position) {
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
	if err := a.isThere(out.ctx, head); err != nil { // the log went back meanwhile
		a.cutOff(r, err)
	}
	return out.flushAt(1)
}
