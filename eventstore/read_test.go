package eventstore_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/eventstore/pgtest"
)

// selects tells whether an event belongs to a selection.
func selects(s events.Selection, e events.Recorded) bool {
	m, _ := e.DecodeMetadata()
	matches := func(want, got string) bool { return want == "" || want == got }
	return (len(s.Query) == 0 || s.Query.Matches(e.Type, e.Tags)) &&
		(s.Kind == "" || e.Type.Entity() == s.Kind) && (len(s.Types) == 0 || slices.Contains(s.Types, e.Type)) &&
		e.Position > s.After && (s.Until == 0 || e.Position <= s.Until) &&
		(s.Actor.UserID == 0 || s.Actor.UserID == m.Actor.UserID) &&
		matches(s.Actor.Tool, m.Actor.Tool) && matches(s.Actor.Operator, m.Actor.Operator)
}

// TestStreamAnswersWhatIsSelected compares streams of random selections with what
// each event says about itself.
func TestStreamAnswersWhatIsSelected(t *testing.T) {
	s := open(t, pgtest.New(t))
	r := rand.New(rand.NewPCG(seed(t), 0))
	types := []events.Type{events.PatientRegisteredType, events.PatientAmendedType, events.DoctorRegisteredType, events.MappingCreatedType}
	actors := []events.Actor{{UserID: 1}, {UserID: 12}, {Tool: "carelog users", Operator: "root"}, {Tool: "carelog users", Operator: "o'hara"}}
	for range 300 {
		e := event(types[r.IntN(len(types))])
		switch e.Type.Entity() {
		case events.Mapping:
			e.Tags = []events.Tag{events.MappingTag(r.Int64N(3)), events.PatientTag(r.Int64N(3)), events.DoctorTag(r.Int64N(3))}
		case events.Doctor:
			e.Tags = []events.Tag{events.DoctorTag(r.Int64N(3))}
		default:
			e.Tags = []events.Tag{events.PatientTag(r.Int64N(3)), events.OwnerTag(r.Int64N(3))}
		}
		metadata, err := json.Marshal(events.Metadata{Actor: actors[r.IntN(len(actors))]})
		if err != nil {
			t.Fatal(err)
		}
		e.Metadata = metadata
		mustAppend(t, s, events.AppendCondition{}, e)
	}
	log := readLog(t, s)
	found := 0
	for range 500 {
		var selected events.Selection
		switch r.IntN(3) {
		case 0:
			selected.Kind = []events.Kind{events.Patient, events.Doctor, events.Mapping, events.User}[r.IntN(4)]
			selected.Types = types[:r.IntN(len(types))]
		case 1:
			for range 1 + r.IntN(3) {
				item := events.QueryItem{Tags: []events.Tag{events.PatientTag(r.Int64N(3)), events.DoctorTag(r.Int64N(3)), events.OwnerTag(r.Int64N(3))}[:r.IntN(3)]}
				if len(item.Tags) == 0 || r.IntN(2) == 0 {
					item.Types = types[:1+r.IntN(3)]
				}
				selected.Query = append(selected.Query, item)
			}
		}
		if r.IntN(2) == 0 {
			selected.Actor = actors[r.IntN(len(actors))]
		}
		if r.IntN(2) == 0 {
			selected.After = events.Position(r.IntN(300))
		}
		if r.IntN(2) == 0 {
			selected.Until = events.Position(r.IntN(310))
		}
		var got, want []events.Position
		for e, err := range s.Stream(t.Context(), selected) {
			if err != nil {
				t.Fatalf("%+v: %v", selected, err)
			}
			got = append(got, e.Position)
		}
		for _, e := range log {
			if selects(selected, e) {
				want = append(want, e.Position)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%+v:\n got %v\nwant %v", selected, got, want)
		}
		found += len(got)
	}
	if found < 1000 {
		t.Errorf("the selections found %d events in all", found)
	}
	for _, err := range s.Stream(t.Context(), events.Selection{Kind: events.Doctor, Query: events.Query{{Tags: []events.Tag{"a:1"}}}}) {
		if err == nil {
			t.Error("kind and query are taken together")
		}
	}
}

// TestStreamGoesOnBeyondWhatIsLookedUpAtOnce: more matches than are looked up at a
// time, and than are read at a time.
func TestStreamGoesOnBeyondWhatIsLookedUpAtOnce(t *testing.T) {
	url := pgtest.New(t)
	s := open(t, url)
	const n = 100_500
	conn := connect(t, url)
	execute(t, conn, `insert into events (position, id, type, schema_version, tags, data, metadata, salt, recorded_at)
		select n, gen_random_uuid(), 'doctor.amended', 1, array['doctor:' || n % 2], '{}',
		    json_build_object('actor', json_build_object('user_id', 1, 'tool', 't' || n % 50250)), '', now() from generate_series(1, $1) n`, n)
	execute(t, conn, `insert into event_tags select tags[1], type, position from events`)
	for name, c := range map[string]struct {
		selected events.Selection
		step     events.Position
	}{
		"kind":   {events.Selection{Kind: events.Doctor}, 1},
		"query":  {events.Selection{Query: events.Query{{Tags: []events.Tag{"doctor:1"}}, {Tags: []events.Tag{"doctor:0"}}}}, 1},
		"one":    {events.Selection{Query: events.Query{{Tags: []events.Tag{"doctor:0"}}}}, 2},
		"actor":  {events.Selection{Actor: events.Actor{UserID: 1}}, 1},
		"seldom": {events.Selection{Actor: events.Actor{Tool: "t0"}, Until: n}, 50_250},
	} {
		var last events.Position
		for e, err := range s.Stream(t.Context(), c.selected) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Position != last+c.step {
				t.Fatalf("%s: %d after %d", name, e.Position, last)
			}
			last = e.Position
		}
		if last != n {
			t.Errorf("%s: the last is %d", name, last)
		}
	}
}

// TestTheLogIsOnePositionAtATime: what PositionAt has answered of a time stays the
// answer, although events are appended all the while.
func TestTheLogIsOnePositionAtATime(t *testing.T) {
	url := pgtest.New(t)
	s := open(t, url)
	if at, err := s.PositionAt(t.Context(), time.Now().Add(-time.Minute)); at != 0 || err != nil {
		t.Errorf("of an empty log: %d, %v", at, err)
	}
	if _, err := s.PositionAt(t.Context(), time.Now().Add(time.Minute)); !errors.Is(err, events.ErrFuture) {
		t.Errorf("of a time to come: %v", err)
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if _, err := s.Append(t.Context(), []events.Event{event("patient.amended", "patient:1")}); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	answers := map[time.Time]events.Position{}
	clock := connect(t, url)
	for range times(200) {
		var now time.Time
		if err := clock.QueryRow(t.Context(), `select clock_timestamp()`).Scan(&now); err != nil {
			t.Fatal(err)
		}
		at, err := s.PositionAt(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		answers[now] = at
	}
	close(stop)
	writers.Wait()
	log := readLog(t, s)
	for at, got := range answers {
		var want events.Position
		for _, e := range log {
			if !e.RecordedAt.After(at) {
				want = e.Position
			}
		}
		if got != want {
			t.Errorf("at %v: position %d, and %d when all is there", at, got, want)
		}
	}
}
