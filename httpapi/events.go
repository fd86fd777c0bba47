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
	after  events.Position
	last   uuid.UUID // the id of the event there; the nil UUID when it is not told
	limit  int       // 0: no limit
}

// listEvents answers GET /api/events/: the events that the user may see, as
// CloudEvents in order of position. A page is {"results": [...], "next": the
// position to go on after, "next_id": the id of the event there, "head": that of the log's
// last event, "source": the log, as in its events}: whoever has next at the head has seen
// everything. Lines are whole up to the head; a stream goes on with what happens.
func (a *api) listEvents(w http.ResponseWriter, r *http.Request) error {
	asked, err := a.eventsAsked(r)
	if err != nil {
		return err
	}
	head, err := a.log.Head(r.Context())
	if err != nil {
		return err
	}
	if err := a.isThere(r.Context(), asked, head); err != nil {
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
		return a.streamEvents(w, r, asked)
	case linesType:
		return a.writeEventLines(w, r, asked, head)
	}
	var documents [][]byte
	next, nextID := head, uuid.Nil
	for e, err := range a.feed.Read(r.Context(), asked.filter, asked.after, head) {
		if err != nil {
			return err
		}
		documents = append(documents, e.Document)
		if len(documents) == asked.limit {
			next, nextID = e.Position, e.ID
			break
		}
	}
	if nextID == uuid.Nil && next > 0 {
		if nextID, err = a.idAt(r.Context(), next); err != nil {
			return err
		}
	}
	return a.writeLong(w, r, func(dst []byte) []byte {
		dst = append(dst, `{"results":`...)
		dst = appendList(dst, documents, func(dst, document []byte) []byte { return append(dst, document...) })
		dst = append(dst, `,"next":`...)
		dst = strconv.AppendInt(dst, int64(next), 10)
		if next > 0 {
			dst = append(dst, `,"next_id":"`...)
			dst = append(dst, nextID.String()...)
			dst = append(dst, '"')
		}
		dst = append(dst, `,"head":`...)
		dst = strconv.AppendInt(dst, int64(head), 10)
		dst = append(dst, `,"source":"`...)
		dst = append(dst, a.feed.Source()...)
		return append(dst, `"}`...)
	})
}

// isThere makes sure that the log has what is asked for to go on after. Positions alone
// do not tell when the log was put back to an earlier state and has grown since.
func (a *api) isThere(ctx context.Context, asked eventsAsked, head events.Position) error {
	if asked.after > head {
		return a.wentBack()
	}
	if asked.last == uuid.Nil {
		return nil
	}
	there, err := a.idAt(ctx, asked.after)
	if err == nil && there != asked.last {
		err = a.wentBack()
	}
	return err
}

func (a *api) idAt(ctx context.Context, position events.Position) (uuid.UUID, error) {
	id, err := a.feed.ID(ctx, position)
	if errors.Is(err, feed.ErrWentBack) {
		err = a.wentBack()
	}
	return id, err
}

// wentBack is the answer to who has got events that are not in the log: it was put back
// to an earlier state, or is another one, which its source tells.
func (a *api) wentBack() error {
	return newError(http.StatusConflict,
		"detail", "The log does not have the event to go on after: it was put back to an earlier state, or is another one. Start over from the first event.",
		"code", "went_back", "source", a.feed.Source())
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
	asked.after = events.Position(after)
	if id, given := query.get("after_id"); given {
		if asked.last, err = uuid.Parse(id.text); err != nil || after == 0 {
			return eventsAsked{}, newFieldError("after_id", "Give the id of the event at the position that is given as after.")
		}
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		position, err := strconv.ParseInt(last, 10, 64)
		if err != nil || position < 0 {
			return eventsAsked{}, newDetail(http.StatusBadRequest, "Last-Event-ID is not a position.")
		}
		asked.after, asked.last = events.Position(position), uuid.Nil
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
