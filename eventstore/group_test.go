package eventstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore"
	"github.com/carelog/carelog/eventstore/pgtest"
)

// hold makes the appends of a store wait until release: one of them in the
// database, with the append lock, the others for the next group. It appends an
// event before.
func hold(t *testing.T, h *history, s *eventstore.Store, url string) (release func()) {
	t.Helper()
	if _, err := h.append(t.Context(), s, events.AppendCondition{}, event("a.done")); err != nil { // has the appender connected
		t.Fatal(err)
	}
	conn := connect(t, url)
	execute(t, conn, `begin`)
	execute(t, conn, `lock table events`)
	return func() {
		t.Helper()
		execute(t, conn, `commit`)
	}
}

// waitForSession waits until an appender's session is at work.
func waitForSession(t *testing.T, url string) {
	t.Helper()
	conn := connect(t, url)
	for working := false; !working; {
		err := conn.QueryRow(t.Context(), `select exists (select from pg_stat_activity where datname = current_database()
			and application_name like 'carelog appender %' and state = 'active' and wait_event_type = 'Lock')`).Scan(&working)
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFailingMemberOfAGroupFailsAlone(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	h := &history{}
	taken := event("a.done", "x:1")
	if _, err := h.append(t.Context(), s, events.AppendCondition{}, taken); err != nil {
		t.Fatal(err)
	}
	// A fault that the database finds only when it commits.
	admin := connect(t, url)
	execute(t, admin, `create function refuse() returns trigger language plpgsql as $$ begin raise check_violation; end $$`)
	execute(t, admin, `create constraint trigger refuse after insert on events deferrable initially deferred
		for each row when (new.type = 'refused.done') execute function refuse()`)

	raw := func(data, metadata string) events.Event {
		e := event("a.done", "y:1")
		e.Data, e.Metadata = json.RawMessage(data), json.RawMessage(metadata)
		return e
	}
	twice := event("a.done")
	faulty := map[string][]events.Event{
		"an id that is taken":         {{ID: taken.ID, Type: "a.done", SchemaVersion: 1, Data: taken.Data, Metadata: taken.Metadata}},
		"an id twice":                 {twice, twice},
		"no JSON":                     {event("a.done"), raw("{", "{}")},
		"no data":                     {raw("", "{}")},
		"metadata that is no JSON":    {raw("{}", "x")},
		"a NUL byte":                  {raw("{\"a\":\"\x00\"}", "{}")},
		"no UTF-8":                    {raw("{\"a\":\"\xff\"}", "{}")},
		"no UTF-8 in metadata":        {raw("{}", "\"\xc3\x28\"")},
		"nested too deep":             {raw(strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000), "{}")},
		"what the commit itself ends": {event("a.done"), event("refused.done")},
	}
	release := hold(t, h, s, url)
	var writing sync.WaitGroup
	for name, evs := range faulty {
		writing.Go(func() {
			_, err := s.Append(t.Context(), evs, events.AppendCondition{})
			if err == nil || errors.Is(err, events.ErrUnavailable) || errors.Is(err, events.ErrConflict) {
				t.Errorf("%s was answered with %v", name, err)
			}
		})
	}
	conflicts := make([]error, 5)
	for i := range conflicts {
		writing.Go(func() { _, conflicts[i] = h.append(t.Context(), s, none(0, "a.done", "x:1"), event("b.done")) })
	}
	for i := range 40 {
		writing.Go(func() {
			_, err := h.append(t.Context(), s, none(0, "a.done", events.PatientTag(int64(i))), event("a.done"), event("b.done"))
			if err != nil {
				t.Errorf("a good append: %v", err)
			}
		})
	}
	waitForSession(t, url)
	release()
	writing.Wait()
	for _, err := range conflicts {
		if !errors.Is(err, events.ErrConflict) {
			t.Errorf("whose condition fails is answered with %v", err)
		}
	}
	h.check(t, s)
}

// TestMembersOfAGroupStandInTheOrderOfTheirCalls: what one caller appends after
// another stands after it, also within a group.
func TestMembersOfAGroupStandInTheOrderOfTheirCalls(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	release := hold(t, &history{}, s, url)
	first := make(chan events.Position, 1)
	go func() { // this one holds up the others
		position, _ := s.Append(t.Context(), []events.Event{event("a.done")}, events.AppendCondition{})
		first <- position
	}()
	waitForSession(t, url)
	positions := make([]chan events.Position, 100)
	for i := range positions {
		positions[i] = make(chan events.Position, 1)
		go func() {
			position, _ := s.Append(t.Context(), []events.Event{event("a.done"), event("b.done")}, events.AppendCondition{})
			positions[i] <- position
		}()
		s.AwaitWaiting(i + 1)
	}
	release()
	if got := <-first; got != 2 {
		t.Errorf("the first append is at %d", got)
	}
	for i, position := range positions {
		if got, want := <-position, events.Position(2+2*(i+1)); got != want {
			t.Errorf("append %d ends at %d, want %d", i, got, want)
		}
	}
}

func TestACancelledCallerHarmsNobody(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := open(t, url)
	h := &history{}
	release := hold(t, h, s, url)
	begin := func(ctx context.Context, answered chan<- error) {
		_, err := h.append(ctx, s, events.AppendCondition{}, event("a.done"), event("b.done"))
		answered <- err
	}

	taken, leave := context.WithCancel(t.Context())
	takenAnswer := make(chan error, 1)
	go begin(taken, takenAnswer)
	waitForSession(t, url) // with this append under way the others wait
	waiting, leaveToo := context.WithCancel(t.Context())
	waitingAnswers, staying := make(chan error, 10), make(chan error, 10)
	for i := range 10 {
		go begin(waiting, waitingAnswers)
		go begin(t.Context(), staying)
		s.AwaitWaiting(2 * (i + 1))
	}
	leave()
	if err := <-takenAnswer; !errors.Is(err, events.ErrOutcomeUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("who left while the commit was under way is answered %v", err)
	}
	leaveToo()
	for range 10 {
		if err := <-waitingAnswers; !errors.Is(err, context.Canceled) || errors.Is(err, events.ErrOutcomeUnknown) {
			t.Errorf("who left before is answered %v", err)
		}
	}
	release()
	for range 10 {
		if err := <-staying; err != nil {
			t.Errorf("who stayed is answered %v", err)
		}
	}
	h.check(t, s)
	if head, err := s.Head(t.Context()); err != nil || head != 23 {
		t.Errorf("%d events, %v", head, err)
	}
}

func TestWhatCannotBeAppendedIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	with := func(change func(*events.Event)) []events.Event {
		e := event("a.done", "x:1")
		change(&e)
		return []events.Event{event("a.done"), e}
	}
	many := make([]events.Tag, 65)
	for i := range many {
		many[i] = events.PatientTag(int64(i))
	}
	large := make([]events.Event, 400)
	for i := range large {
		large[i] = event("a.done")
		large[i].Data = json.RawMessage(`"` + strings.Repeat("a", 200<<10) + `"`)
	}
	for name, evs := range map[string][]events.Event{
		"nothing":              nil,
		"too many":             make([]events.Event, 100_001),
		"too many bytes":       large,
		"no id":                with(func(e *events.Event) { e.ID = uuid.Nil }),
		"no type":              with(func(e *events.Event) { e.Type = "" }),
		"a type with NUL":      with(func(e *events.Event) { e.Type = "a\x00" }),
		"a type without end":   with(func(e *events.Event) { e.Type = events.Type(strings.Repeat("a", 256)) }),
		"no version":           with(func(e *events.Event) { e.SchemaVersion = 0 }),
		"an enormous version":  with(func(e *events.Event) { e.SchemaVersion = 1 << 40 }),
		"a tag twice":          with(func(e *events.Event) { e.Tags = append(e.Tags, "x:1") }),
		"an empty tag":         with(func(e *events.Event) { e.Tags = append(e.Tags, "") }),
		"a separator in a tag": with(func(e *events.Event) { e.Tags = append(e.Tags, "x:\x1f1") }),
		"a NUL byte in a tag":  with(func(e *events.Event) { e.Tags = append(e.Tags, "x:\x00") }),
		"no UTF-8 in a tag":    with(func(e *events.Event) { e.Tags = append(e.Tags, "x:\xff") }),
		"a tag without end":    with(func(e *events.Event) { e.Tags = append(e.Tags, events.Tag(strings.Repeat("a", 256))) }),
		"too many tags":        with(func(e *events.Event) { e.Tags = many }),
		"an enormous event":    with(func(e *events.Event) { e.Data = json.RawMessage(`"` + strings.Repeat("a", 256<<10) + `"`) }),
	} {
		if _, err := s.Append(t.Context(), evs, events.AppendCondition{}); err == nil || errors.Is(err, events.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, item := range map[string]events.QueryItem{
		"matches everything":   {},
		"a separator in a tag": {Tags: []events.Tag{"x:1", "x:2\x1fx:3"}},
		"no UTF-8 in a tag":    {Tags: []events.Tag{"\xff"}},
		"an empty tag":         {Tags: []events.Tag{""}},
		"a NUL byte in a type": {Types: []events.Type{"\x00"}},
	} {
		condition := events.AppendCondition{FailIfMatch: events.Query{item}}
		if _, err := s.Append(t.Context(), []events.Event{event("a.done")}, condition); err == nil || errors.Is(err, events.ErrConflict) {
			t.Errorf("a condition with %s: %v", name, err)
		}
	}
	if head, err := s.Head(t.Context()); head != 0 || err != nil {
		t.Errorf("%d events, %v", head, err)
	}
}

// TestWhatFitsIsAppended: the largest and the oddest that is taken comes back as
// it was, and conditions find it.
func TestWhatFitsIsAppended(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t))
	odd := event("a.done", events.Tag(strings.Repeat("ä", 127)), `x:"\{},NULL`, "x:'%s")
	odd.Data = json.RawMessage(`{"a":"` + strings.Repeat("b", 255<<10) + `\u0000\ud800"}`)
	mustAppend(t, s, events.AppendCondition{}, event("b.done"), odd)
	if _, err := s.Append(t.Context(), []events.Event{event("b.done")}, none(0, "a.done", odd.Tags...)); !errors.Is(err, events.ErrConflict) {
		t.Errorf("a condition on its tags: %v", err)
	}
	for e, err := range s.Stream(t.Context(), events.Selection{Query: events.Query{{Tags: odd.Tags}}}) {
		if err != nil || e.Position != 2 || string(e.Data) != string(odd.Data) || fmt.Sprint(e.Tags) != fmt.Sprint(odd.Tags) {
			t.Errorf("position %d, %v", e.Position, err)
		}
	}
}
