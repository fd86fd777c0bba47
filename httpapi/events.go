package httpapi

import (
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
	user    projections.Session
	checked time.Time // when the user's right to see was last looked at
	filter  feed.Filter
	after   feed.Place
	limit   int // 0: no limit
}

// listEvents answers GET /api/events/: the events that the user may see, as
// CloudEvents in order of position. Lines and a page are of what there is, up to the head
// of the log; a stream goes on with what happens.
func (a *api) listEvents(w http.ResponseWriter, r *http.Request) error {
	err := a.writeEvents(w, r)
	if errors.Is(err, feed.ErrWentBack) {
		err = a.wentBack()
	}
	return err
}

func (a *api) writeEvents(w http.ResponseWriter, r *http.Request) error {
	asked, err := a.readEventsAsked(r)
	if err != nil {
		return err
	}
	head, err := a.feed.Head(r.Context())
	if err != nil {
		return err
	}
	if asked.after.Position > head.Position {
		return feed.ErrWentBack
	}
	if err := a.feed.Check(r.Context(), asked.after); err != nil {
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

// eventParameters are all that the query may have; the last two are read elsewhere.
var eventParameters = []string{"after", "after_id", "types", "tags", "limit", ticketParameter, formatParameter}

// readEventsAsked reads ?after=&after_id=&types=&tags=&limit= and Last-Event-ID. Types and
// tags are separated by commas: an event has any of the types, and all of the tags.
func (a *api) readEventsAsked(r *http.Request) (asked eventsAsked, err error) {
	asked = eventsAsked{user: userOf(r), checked: time.Now()}
	if asked.filter.Viewer, err = a.viewer(r.Context(), asked.user); err != nil {
		return asked, err
	}
	query, err := parseForm(r.URL.RawQuery, decoderFor(""))
	if err != nil {
		return asked, err
	}
	if err := checkParameters(query); err != nil {
		return asked, err
	}
	if asked.after, err = afterEvent(query, r.Header.Get("Last-Event-ID")); err != nil {
		return asked, err
	}
	if asked.limit, err = eventLimit(query, askedForm(r, eventForms)); err != nil {
		return asked, err
	}
	if asked.filter.Types, err = a.eventTypes(query); err != nil {
		return asked, err
	}
	asked.filter.Tags, err = eventTags(query)
	return asked, err
}

// checkParameters refuses what would let more through than was meant: a filter that is
// misspelt, or is given twice, of which one would count.
func checkParameters(query body) error {
	given := map[string]bool{}
	for _, m := range query.members {
		switch {
		case !slices.Contains(eventParameters, m.name):
			return newDetail(http.StatusBadRequest, "There is no parameter "+strconv.Quote(m.name)+"; there are "+strings.Join(eventParameters, ", ")+".")
		case given[m.name]:
			return newFieldError(m.name, "Give this once, with commas between several.")
		}
		given[m.name] = true
	}
	return nil
}

// afterEvent is the event to go on after. The last one that a browser has got counts for
// more than the query, which is that of when it began; where they agree its id is known.
func afterEvent(query body, last string) (after feed.Place, err error) {
	position, err := wholeNumber(query, "after", 0, 0)
	if err != nil {
		return after, err
	}
	after.Position = events.Position(position)
	if id, given := query.get("after_id"); given {
		after.ID, err = uuid.Parse(id.text)
		if err != nil || after.ID == uuid.Nil || position == 0 {
			return after, newFieldError("after_id", "Give the id of the event at the position that is given as after.")
		}
	}
	if last == "" {
		return after, nil
	}
	position, err = strconv.ParseInt(last, 10, 64)
	if err != nil || position < 0 {
		return after, newDetail(http.StatusBadRequest, "Last-Event-ID is not a position.")
	}
	if events.Position(position) != after.Position {
		after = feed.Place{Position: events.Position(position)}
	}
	return after, nil
}

func (a *api) eventTypes(query body) (types []events.Type, err error) {
	asked, given := query.get("types")
	if !given {
		return nil, nil
	}
	for name := range strings.SplitSeq(asked.text, ",") {
		t := events.Type(strings.TrimSpace(name))
		if !slices.Contains(a.types, t) {
			return nil, newFieldError("types", `"`+string(t)+`" is not a type of events, as patient.registered is.`)
		}
		if !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	return types, nil
}

func eventTags(query body) (tags []events.Tag, err error) {
	asked, given := query.get("tags")
	if !given {
		return nil, nil
	}
	if strings.Count(asked.text, ",") >= maxTags {
		return nil, newFieldError("tags", "Ensure there are no more than "+strconv.Itoa(maxTags)+" tags.")
	}
	for tag := range strings.SplitSeq(asked.text, ",") {
		tag = strings.TrimSpace(tag)
		if name, value, ok := strings.Cut(tag, ":"); !ok || name == "" || value == "" || strings.ContainsFunc(tag, isControl) {
			return nil, newFieldError("tags", "Give tags like patient:42.")
		}
		tags = append(tags, events.Tag(tag))
	}
	return tags, nil
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
