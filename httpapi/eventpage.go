package httpapi

import (
	"net/http"
	"strconv"

	"github.com/carelog/carelog/projections/feed"
)

// writeEventPage answers {"results": [...], "next": the position to go on after, "next_id":
// the id of the event there, "head": that of the log's last event, "source": the log, as in
// its events, "all": whether the user sees all events}: whoever has next at the head has
// seen everything.
func (a *api) writeEventPage(w http.ResponseWriter, r *http.Request, asked eventsAsked, head feed.Place) error {
	var documents [][]byte
	next := head
	for e, err := range a.feed.Read(r.Context(), asked.filter, asked.after.Position, head.Position) {
		if err != nil {
			return err
		}
		documents = append(documents, e.Document)
		if len(documents) == asked.limit {
			next = e.Place()
			break
		}
	}
	if err := a.feed.Check(r.Context(), next); err != nil { // or else the log went back meanwhile
		return err
	}
	return a.writeLong(w, r, func(dst []byte) []byte {
		dst = append(dst, `{"results":`...)
		dst = appendList(dst, documents, func(dst, document []byte) []byte { return append(dst, document...) })
		dst = append(dst, `,"next":`...)
		dst = strconv.AppendInt(dst, int64(next.Position), 10)
		if next.Position > 0 {
			dst = append(dst, `,"next_id":"`...)
			dst = append(dst, next.ID.String()...)
			dst = append(dst, '"')
		}
		dst = append(dst, `,"head":`...)
		dst = strconv.AppendInt(dst, int64(head.Position), 10)
		dst = append(dst, `,"source":"`...)
		dst = append(dst, a.feed.Source()...)
		dst = append(dst, `","all":`...)
		dst = strconv.AppendBool(dst, asked.filter.Viewer.All)
		return append(dst, '}')
	})
}

// writeEventLines answers with one CloudEvent a line. What was begun and fails is
// cut off, so that nobody takes it for whole.
func (a *api) writeEventLines(w http.ResponseWriter, r *http.Request, asked eventsAsked, head feed.Place) error {
	out, err := a.beginStream(w, r, linesType)
	if err != nil {
		return err
	}
	defer out.end()
	if err := a.sendLines(out, asked, head); err != nil {
		panic(a.cutOff(r, err))
	}
	return nil
}

func (a *api) sendLines(out *outgoing, asked eventsAsked, head feed.Place) error {
	n := 0
	for e, err := range a.feed.Read(out.ctx, asked.filter, asked.after.Position, head.Position) {
		if err == nil {
			err = a.recheckEachSecond(out.ctx, &asked)
		}
		if err != nil {
			return err
		}
		out.buffer = append(append(out.buffer, e.Document...), '\n')
		if err := out.flushAt(chunk); err != nil {
			return err
		}
		if n++; n == asked.limit {
			break
		}
	}
	if err := a.feed.Check(out.ctx, head); err != nil { // or else the log went back meanwhile
		return err
	}
	return out.flushAt(1)
}
